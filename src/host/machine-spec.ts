/**
 * What a topology file says about a machine: data only, checked by topology-check.ts, built by builder.ts.
 * @module
 */
import type { PhysAddr } from '#emu/base/units.ts';
import type { IommuOptions } from '#emu/iommu/iommu.ts';
import type { DeviceSpec } from '#emu/pcie/device-spec.ts';
import type { LinkSpec } from '#emu/pcie/link.ts';

/**
 * ACS Control that host software sets on a port: what Linux sets once an IOMMU driver asks for isolation
 * (SV, RR, CR, UF), nothing, or these bits as far as the port is capable. [PCIE] 7.7.11.3
 */
export type AcsPolicy = 'linux' | 'off' | number;

/** What may be plugged into a port. */
export type Plug = DeviceSpec | SwitchSpec;

/** A root port or the downstream port of a switch. */
export interface PortSpec {
  /** Default `port0`, `port1`, ... below the root complex and `down0`, `down1`, ... below a switch. */
  readonly name?: string;
  /** Default gen 4, width 16. */
  readonly link?: LinkSpec;
  /** A link joins two ends: an array of more than one is refused. */
  readonly device?: Plug | readonly Plug[];
  /** Default: the machine's. */
  readonly acs?: AcsPolicy;
  /** Egress Control Vector, a bit for each port of the same component, used with the EC bit of `acs`. */
  readonly acsEgress?: number;
}

/** A switch, made by {@link pcieSwitch}. */
export interface SwitchSpec {
  readonly kind: 'switch';
  readonly name?: string;
  readonly ports: readonly PortSpec[];
  /** From the first byte at a port to the decision where it goes, ps. */
  readonly latencyPs?: number;
  /** Forward before the tail has arrived; default true. */
  readonly cutThrough?: boolean;
}

export interface MemorySpec {
  /** DRAM, a multiple of 1 MiB; default 4 GiB. Nothing is resident until touched. */
  readonly sizeBytes?: number;
  /** From accepting a read to its data, ps. */
  readonly latencyPs?: number;
  readonly bytesPerSecond?: number;
}

/** Sizes and times of the IOMMU. */
export type IommuSpec = Omit<IommuOptions, 'path' | 'onInterrupt' | 'addressBits'>;

/** Whether requests that enter by root port `from` may leave by `to`; indices of `rootPorts`. */
export interface PeerRule {
  readonly from: number;
  readonly to: number;
  readonly allowed: boolean;
}

export interface MachineSpec {
  readonly name?: string;
  readonly memory?: MemorySpec;
  /** Default off. */
  readonly iommu?: boolean | IommuSpec;
  /** Between root ports: all (default true), none, or rule by rule over a default of true. */
  readonly peerForwarding?: boolean | readonly PeerRule[];
  /** Of ports that say nothing: default `linux` with an IOMMU, else `off`. */
  readonly acs?: AcsPolicy;
  /** 64-bit prefetchable window, a power of two; default 256 GiB. */
  readonly mmioWindowBytes?: number;
  /** Upper bound of Max_Payload_Size, which host software otherwise sets to the least supported. */
  readonly maxPayloadBytes?: number;
  /** Max_Read_Request_Size that host software sets; default 512. */
  readonly maxReadRequestBytes?: number;
  /** From the tail of a TLP at a root port to the decision, ps. */
  readonly rootLatencyPs?: number;
  /** Doorbell write to the start of its handler, ps; default 0. */
  readonly interruptLatencyPs?: number;
  readonly rootPorts: readonly PortSpec[];
}

/** Describes a switch with one upstream port and the given downstream ports. */
export const pcieSwitch = (spec: Omit<SwitchSpec, 'kind'>): SwitchSpec => ({
  ...spec,
  kind: 'switch',
});

export const isSwitch = (plug: Plug): plug is SwitchSpec => 'ports' in plug;

/** The device of a checked port, if any. */
export const plugOf = (port: PortSpec): Plug | undefined => {
  const { device } = port;
  return isPlugList(device) ? device[0] : device;
};

/** `Array.isArray` does not narrow read-only arrays. */
export const isPlugList = (device: PortSpec['device']): device is readonly Plug[] =>
  Array.isArray(device);

/** Where host physical addresses lead. Ends are exclusive. */
export interface PhysicalMap {
  readonly dram: Span;
  /** 32-bit and non-prefetchable BARs. */
  readonly low: Span;
  /** 64-bit prefetchable BARs. */
  readonly high: Span;
  readonly doorbell: Span;
  readonly iommu: Span;
}

export interface Span {
  readonly base: PhysAddr;
  readonly sizeBytes: number;
}
