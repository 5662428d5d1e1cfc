/**
 * The explanation of a pair on one booted machine, as the object that `emu p2p explain --json` prints. docs/cli.md
 * describes it. [P2PDMA]
 * @module
 */
import { type Bdf, formatBdf, hex } from '#emu/base/units.ts';
import type { MapType } from '#emu/dma/mapping.ts';
import { explainP2p, HopRole, type P2pHop } from '#emu/dma/p2p/p2p-explain.ts';
import type { Machine } from '#emu/host/machine.ts';
import { hostBridgeName, hostBridgesOf } from '#emu/host/machine-spec.ts';
import type { ResultError } from '#emu/scenario/result.ts';
import { type AddressKind, addressKindOf, type ProbeResult, probe } from './p2p-probe.ts';
import { acsNames, conclude, effectOf, type Subject } from './p2p-words.ts';

export interface PathEntry {
  /** Path of the port, bridge or device; name of a host bridge. */
  readonly port: string;
  readonly bdf: string;
  readonly role: HopRole;
  /** ACS Control bits that are set; null without the capability. */
  readonly acs: readonly string[] | null;
  readonly effect: string;
}

export interface HostBridgeEntry {
  readonly name: string;
  readonly bdf: string;
  /** Vendor and device, as lspci prints them. */
  readonly id: string;
}

/** A probe with its addresses in hex. */
export type ProbeEntry = Omit<ProbeResult, 'address' | 'cpuAddress'> & {
  readonly address: string | null;
  readonly cpuAddress: string | null;
};

export interface P2pReport {
  readonly schema: 1;
  readonly file: string;
  readonly machine: string;
  readonly requester: string;
  readonly provider: string;
  readonly path: readonly PathEntry[];
  readonly distance: number;
  readonly hostBridges: readonly HostBridgeEntry[];
  readonly allowListed: boolean;
  /** Why, in a sentence without full stop. */
  readonly allowReason: string;
  readonly iommu: boolean;
  readonly mapType: MapType;
  /** Null where nothing may be mapped. */
  readonly addressKind: AddressKind | null;
  readonly verdict: string;
  readonly cause: string;
  /** Null where nothing needs to be. */
  readonly change: string | null;
  readonly probe: { readonly forward: ProbeEntry; readonly backward: ProbeEntry };
  readonly ok: boolean;
  readonly error?: ResultError;
}

/** Explains and probes the pair both ways on a booted machine that has both devices. */
export async function p2pReport(
  machine: Machine,
  file: string,
  requester: string,
  provider: string,
): Promise<P2pReport> {
  const { pci, spec } = machine;
  const ids = [provider, requester].map((name) => machine.function(name).bdf);
  const explanation = explainP2p(pci, ids[0]!, ids[1]!, spec.hostBridgeAllowList, spec.cpu);
  const iommu = machine.iommu !== null;
  const nameOf = (id: Bdf): string => shortName(machine, id);
  const pathOf = (id: Bdf): string => nodeOf(machine, id)?.path ?? formatBdf(id);
  const subject: Subject = { requester, provider, iommu, explanation, nameOf, pathOf };
  const forward = await probe(machine, requester, provider);
  const backward = await probe(machine, provider, requester);
  const { route, hops, hostBridges, listed } = explanation;
  return {
    schema: 1,
    file,
    machine: machine.name,
    requester,
    provider,
    path: hops.map((hop) => pathEntry(machine, hop, subject)),
    distance: route.distance,
    hostBridges: hostBridges.map(({ index, bdf, vendorId, deviceId }) => ({
      name: hostName(machine, index),
      bdf: formatBdf(bdf),
      id: `${hex4(vendorId)}:${hex4(deviceId)}`,
    })),
    allowListed: listed.allowed,
    allowReason: listed.reason,
    iommu,
    mapType: route.type,
    addressKind: addressKindOf(route.type, iommu),
    ...conclude(subject, [forward, backward]),
    probe: { forward: probeEntry(forward), backward: probeEntry(backward) },
    ok: forward.ok && backward.ok,
  };
}

const probeEntry = (result: ProbeResult): ProbeEntry => ({
  ...result,
  address: result.address === null ? null : hex(result.address),
  cpuAddress: result.cpuAddress === null ? null : hex(result.cpuAddress),
});

function pathEntry(machine: Machine, hop: P2pHop, subject: Subject): PathEntry {
  const effect = effectOf(hop, subject);
  const bdf = formatBdf(hop.bdf);
  if (hop.role === HopRole.HostBridge) {
    const found = subject.explanation.hostBridges.find((bridge) => bridge.bdf === hop.bdf);
    const port = hostName(machine, found?.index ?? 0);
    return { port, bdf, role: hop.role, acs: null, effect };
  }
  const port = subject.pathOf(hop.bdf);
  const acs = hop.acs === null ? null : acsNames(hop.acs);
  return { port, bdf, role: hop.role, acs, effect };
}

const nodeOf = (machine: Machine, id: Bdf) => machine.pci.nodes.find(({ bdf }) => bdf === id);

function hostName({ spec }: Machine, index: number): string {
  const bridge = hostBridgesOf(spec)[index];
  return bridge === undefined ? `rc${index}` : hostBridgeName(bridge, index);
}

/** Devices and switches by name, ports with what they belong to. */
function shortName(machine: Machine, id: Bdf): string {
  const node = nodeOf(machine, id);
  if (node === undefined) return formatBdf(id);
  return node.place?.isPort ? node.path.split('.').slice(-2).join('.') : node.name;
}

const hex4 = (id: number): string => id.toString(16).padStart(4, '0');
