/**
 * What a topology file says about a machine: data only, checked by topology-check.ts, built by builder.ts.
 * @module
 */
import type { DmaAddr, PhysAddr } from '#emu/base/units.ts';
import type { CheckerAction } from '#emu/dma/checker/checker.ts';
import type { CpuIdentity, HostBridgeRule } from '#emu/dma/p2p/host-bridge-list.ts';
import type { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import type { ErrorSpec } from '#emu/host/checks/error-check.ts';
import type { IommuOptions } from '#emu/iommu/iommu.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import type { LinkSpec } from '#emu/pcie/link/link.ts';
import type { PeerPolicy } from '#emu/pcie/root/peer-policy.ts';
import type { PeerReadTable } from '#emu/pcie/root/peer-reads.ts';

/**
 * ACS Control that host software sets on a port: what Linux sets once an IOMMU driver asks for isolation
 * (SV, RR, CR, UF), nothing, or these bits as far as the port is capable. [PCIE] 7.7.11.3
 */
export type AcsPolicy = 'linux' | 'off' | number;

/** Sizes of resizable BARs: the largest that each can have, or in bytes by the name of the function. [PCIE] 7.8.6 */
export type BarSizes = 'largest' | Readonly<Record<string, number>>;

/** What may be plugged into a port. */
export type Plug = DeviceSpec | MultiFunctionSpec | SwitchSpec;

/** A device of several functions, made by {@link multiFunction}. */
export interface MultiFunctionSpec {
  readonly kind: 'functions';
  /** Function 0 first; each has a name of its own. 1 to 8, with ARI to 256. */
  readonly functions: readonly DeviceSpec[];
  /** Alternative Routing-ID Interpretation: function numbers of 8 bits. Default: with more than 8 functions. [PCIE] 6.13 */
  readonly ari?: boolean;
  readonly name?: never;
}

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
  /** `AcsBit`s that the port is capable of; default all. */
  readonly acsCapable?: number;
  /** Whether devices come and go while the machine runs: a slot with an attention button and a power controller. */
  readonly hotplug?: boolean | HotPlugSpec;
}

/** A slot for hot-plug, and the room that host software keeps for what may come. [PCIE] 6.7 */
export interface HotPlugSpec {
  /** Devices may be pulled at any time, so that the port takes it for no error. Default false. */
  readonly surprise?: boolean;
  /** Bus numbers kept for the port; default 8. */
  readonly buses?: number;
  /** Window for 32-bit and non-prefetchable BARs, a power of two of at least 1 MiB; default 16 MiB. */
  readonly lowBytes?: number;
  /** Window for 64-bit prefetchable BARs, a power of two of at least 1 MiB; default 4 GiB. */
  readonly highBytes?: number;
}

/** What a port keeps for what may come. */
export type HotPlugRoom = Readonly<Record<'buses' | 'low' | 'high', number>>;

const MiB = 2 ** 20;

/** The room of a port for hot-plug; null for any other port. */
export const hotPlugRoom = ({ hotplug = false }: PortSpec): HotPlugRoom | null => {
  if (hotplug === false) return null;
  const {
    buses = 8,
    lowBytes = 16 * MiB,
    highBytes = 4096 * MiB,
  } = hotplug === true ? {} : hotplug;
  return { buses, low: lowBytes, high: highBytes };
};

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

/** Sizes and times of the IOMMU, and how its driver unmaps. */
export interface IommuSpec extends Omit<IommuOptions, 'path' | 'onInterrupt' | 'addressBits'> {
  /**
   * `strict` (default): unmap completes when no cache holds the addresses. `lazy`: at once, and a device may reach the
   * memory until 256 more unmaps or 10 ms bring a flush. [DMAAPI]
   */
  readonly flush?: FlushPolicy;
  /**
   * Whether I/O virtual addresses keep clear of the windows of the host bridges; default true. `false` injects the fault that
   * a switch routes a request for memory to the peer whose bus address it happens to be. [DMAAPI]
   */
  readonly reserveWindows?: boolean;
}

/** The ways of host software to make memory accessible to devices; `auto` is `iommu` where there is one, else `direct`. */
export const DMA_PROVIDERS = ['auto', 'direct', 'iommu', 'bounce', 'legacy'] as const;
export type DmaProviderName = (typeof DMA_PROVIDERS)[number];

/** How host software makes memory accessible to devices. */
export interface DmaSpec {
  /**
   * Default `auto`. `direct`: physical and bus addresses; an IOMMU lets everything pass. `bounce`: as direct, with
   * copies of what a device does not reach. `legacy`: with the addresses of auto, through scatterlists.
   */
  readonly provider?: DmaProviderName;
  /** Memory below 4 GiB for copies, a multiple of 256 KiB; default 64 MiB. With `bounce` only. */
  readonly bounceBytes?: number;
  /** Copy all host memory, also what the device reaches. With `bounce` only. */
  readonly forceBounce?: boolean;
  /** By device name, also of devices that come later. With every provider but `legacy`. */
  readonly devices?: Readonly<Record<string, DeviceDmaSpec>>;
}

/** What firmware says of a device that maps memory. [DMAAPI] */
export interface DeviceDmaSpec {
  /** Whether its requests see what is in the caches of the CPU; default true. */
  readonly coherent?: boolean;
  /** Whether it may be hostile, as one outside the case: it sees no byte that is not mapped. Behind an IOMMU only; default false. */
  readonly untrusted?: boolean;
}

/**
 * What the root complex does with requests that enter by a root port of `from` and leave by one of `to`. Root
 * ports are counted over all host bridges in the order of the specification; default all.
 */
export interface PeerRule extends PeerPolicy {
  readonly from?: number | readonly number[];
  readonly to?: number | readonly number[];
}

/** Bus addresses minus CPU addresses, for both MMIO windows or for each; a multiple of 1 MiB. */
export type BusOffset = number | { readonly low?: number; readonly high?: number };

/** A host bridge: a root bus of its own, with a part of the machine's bus numbers and MMIO windows. */
export interface HostBridgeSpec {
  /** First part of the paths below it; default `rc0`, `rc1`, ... */
  readonly name?: string;
  readonly rootPorts: readonly PortSpec[];
  /** Default 0: devices see MMIO where the CPU sees it. Memory and the doorbell always stand where the CPU has them. */
  readonly busOffset?: BusOffset;
  /** Who function 0 of its root bus says it is; default one that Linux lets forward peers. */
  readonly identity?: { readonly vendorId: number; readonly deviceId: number };
}

export interface MachineSpec {
  readonly name?: string;
  readonly memory?: MemorySpec;
  /** Default off. */
  readonly iommu?: boolean | IommuSpec;
  readonly dma?: DmaSpec;
  /**
   * What the root complex really does between root ports: all (default true), none, one policy, or rule by rule
   * over a default of true, later rules over earlier ones. What software believes is `hostBridgeAllowList`.
   */
  readonly peerForwarding?: boolean | PeerPolicy | readonly PeerRule[];
  /** How many reads the root complex can take over, for policies that split them. */
  readonly peerReads?: PeerReadTable;
  /** Host bridges that software trusts to forward peers, in place of Linux's list. */
  readonly hostBridgeAllowList?: readonly HostBridgeRule[];
  /** Some processors are trusted whatever their host bridges are; default one that is not. */
  readonly cpu?: CpuIdentity;
  /**
   * Whether wrong use of mappings is looked for, by drivers and by devices. What it finds ends the run, or is collected
   * in `machine.checker.reports`. Default on in scenarios, else off.
   */
  readonly checker?: boolean | { readonly onError?: CheckerAction };
  /** Of ports that say nothing: default `linux` with an IOMMU, else `off`. */
  readonly acs?: AcsPolicy;
  /** 64-bit prefetchable window, a power of two; default 256 GiB. */
  readonly mmioWindowBytes?: number;
  /** Which sizes host software gives to resizable BARs; default those that they have after a reset. */
  readonly barSizes?: BarSizes;
  /** Upper bound of Max_Payload_Size, which host software otherwise sets to the least supported. */
  readonly maxPayloadBytes?: number;
  /** Max_Read_Request_Size that host software sets; default 512. */
  readonly maxReadRequestBytes?: number;
  /** From the tail of a TLP at a root port to the decision, ps. */
  readonly rootLatencyPs?: number;
  /** Largest completion that the root complex sends, bytes: 64 to 4096; default Max_Payload_Size. */
  readonly rootCompletionBytes?: 64 | 128 | 256 | 512;
  /** Doorbell write to the start of its handler, ps; default 0. */
  readonly interruptLatencyPs?: number;
  /** Error registers of the hardware and the service that reads them; default all. `false`: no service. */
  readonly errors?: boolean | ErrorSpec;
  /** Root ports of the only host bridge; or `hostBridges`. */
  readonly rootPorts?: readonly PortSpec[];
  readonly hostBridges?: readonly HostBridgeSpec[];
}

/** The host bridges of a machine, whichever way they are given. */
export const hostBridgesOf = ({
  hostBridges,
  rootPorts = [],
}: MachineSpec): readonly HostBridgeSpec[] => hostBridges ?? [{ rootPorts }];

/** First part of the paths below a host bridge. */
export const hostBridgeName = ({ name }: HostBridgeSpec, index: number): string =>
  name ?? `rc${index}`;

/** Root ports of all host bridges in order. */
export const rootPortsOf = (spec: MachineSpec): readonly PortSpec[] =>
  hostBridgesOf(spec).flatMap(({ rootPorts }) => rootPorts);

/** Peer forwarding that is not simply on or off, as rules. */
export const asRules = (rules: PeerPolicy | readonly PeerRule[]): readonly PeerRule[] =>
  isRuleList(rules) ? rules : [rules];

/** `Array.isArray` does not narrow read-only arrays. */
const isRuleList = (rules: PeerPolicy | readonly PeerRule[]): rules is readonly PeerRule[] =>
  Array.isArray(rules);

/** Describes a switch with one upstream port and the given downstream ports. */
export const pcieSwitch = (spec: Omit<SwitchSpec, 'kind'>): SwitchSpec => ({
  ...spec,
  kind: 'switch',
});

/** Describes a device of several functions, each as it would be alone. */
export const multiFunction = (
  functions: readonly DeviceSpec[],
  options: Pick<MultiFunctionSpec, 'ari'> = {},
): MultiFunctionSpec => ({ ...options, functions, kind: 'functions' });

export const isMultiFunction = (plug: Plug): plug is MultiFunctionSpec => 'functions' in plug;
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
  /** 32-bit and non-prefetchable BARs, of all host bridges. */
  readonly low: Span;
  /** 64-bit prefetchable BARs, of all host bridges. */
  readonly high: Span;
  readonly doorbell: Span;
  readonly iommu: Span;
  readonly hostBridges: readonly HostBridgeMap[];
}

/** What a host bridge forwards, as firmware tells software. */
export interface HostBridgeMap {
  /** Bus numbers, both inclusive. */
  readonly rootBus: number;
  readonly lastBus: number;
  readonly low: BusSpan;
  readonly high: BusSpan;
}

export interface Span {
  readonly base: PhysAddr;
  readonly sizeBytes: number;
}

/** A span that stands at `busBase` on a bus. */
export interface BusSpan extends Span {
  readonly busBase: DmaAddr;
}
