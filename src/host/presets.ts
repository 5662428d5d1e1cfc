/**
 * Timing of real hosts, by name: what was measured on them and fixed as inputs, with the source. A preset is
 * spread into a machine's specification and into its links. docs/timing.md tells how far each can be trusted.
 * @module
 */
import type { LinkSpec } from '#emu/pcie/link/link.ts';
import type { IommuSpec, MachineSpec } from './machine-spec.ts';

export interface HostPreset {
  /** What was timed. */
  readonly summary: string;
  /** Where the figures were published, and which of them were fixed. */
  readonly source: string;
  /** To be spread into a {@link MachineSpec}. */
  readonly machine: Pick<
    MachineSpec,
    'memory' | 'rootLatencyPs' | 'rootCompletionBytes' | 'peerForwarding' | 'peerReads'
  > & { readonly iommu?: IommuSpec };
  /** To be spread into a {@link LinkSpec}. */
  readonly link: Partial<LinkSpec>;
}

export const PRESET_NAMES = [
  'ideal',
  'broadwell-e5v4',
  'broadwell-e5v4-warm',
  'broadwell-e5v4-remote',
  'broadwell-e5v4-iommu',
  'broadwell-e5v4-peer',
  'intel-root-peer',
  'epyc-9554-peer',
] as const;
export type PresetName = (typeof PRESET_NAMES)[number];

const ns = (value: number): number => value * 1000;
const PCIE_BENCH = 'pcie-bench measurements, github.com/pcie-bench/data';

/** Skip ordered sets, Acks and UpdateFCs take their share of a real link. */
const REAL_LINK: Partial<LinkSpec> = { overheads: true };
const ROOT_NS = 100;
/** A Xeon E5 v4 answers a read of 64 bytes from DRAM after 480 ns on a x8 link of generation 3. */
const BROADWELL_DRAM_NS = 343;
const broadwell = (memoryNs: number): HostPreset['machine'] => ({
  rootLatencyPs: ns(ROOT_NS),
  memory: { latencyPs: ns(memoryNs), bytesPerSecond: 60e9 },
});

/** By name. */
export const PRESETS: Readonly<Record<PresetName, HostPreset>> = {
  ideal: {
    summary: 'a link and nothing else: no flight time, no latency, no overhead but framing',
    source: 'PCI Express Base Specification 4.2, closed forms',
    machine: { rootLatencyPs: 0, memory: { latencyPs: 0, bytesPerSecond: 1e12 } },
    link: { propagationPs: 0 },
  },
  'broadwell-e5v4': {
    summary: 'Xeon E5-2630 v4, reads from DRAM',
    source: `${PCIE_BENCH}: round trip of 64-byte reads 480 ns`,
    machine: broadwell(BROADWELL_DRAM_NS),
    link: REAL_LINK,
  },
  'broadwell-e5v4-warm': {
    summary: 'the same, reads that hit the last-level cache',
    source: `${PCIE_BENCH}: a hit saves 67 ns`,
    machine: broadwell(BROADWELL_DRAM_NS - 67),
    link: REAL_LINK,
  },
  'broadwell-e5v4-remote': {
    summary: 'the same, memory of the other socket',
    source: `${PCIE_BENCH}: the other socket adds 107 ns`,
    machine: broadwell(BROADWELL_DRAM_NS + 107),
    link: REAL_LINK,
  },
  'broadwell-e5v4-iommu': {
    summary: 'the same with the IOMMU on',
    source: `${PCIE_BENCH}: 64 translations, a walk of 280 ns, one walk begun every 52 ns`,
    machine: {
      ...broadwell(BROADWELL_DRAM_NS),
      // Four accesses a walk; five walks of 264 ns proceed at a time, one ends every 53 ns.
      iommu: { iotlbEntries: 64, memoryPs: ns(66), walkers: 5 },
    },
    link: REAL_LINK,
  },
  'intel-root-peer': {
    summary: 'a Xeon root complex that turns peer reads into reads of 64 bytes of its own',
    source: 'NetTLP captures, root-complex/mrd-512byte-rc.pcap',
    machine: { peerForwarding: { splitReadBytes: 64 } },
    link: REAL_LINK,
  },
  'broadwell-e5v4-peer': {
    summary: 'Xeon E5-2650 v4, peer writes through the root complex',
    source: 'forums.developer.nvidia.com t/55564: at most 7.1 GB/s from several drives to a P40',
    machine: { peerForwarding: { bytesPerSecond: 7.1e9 } },
    link: REAL_LINK,
  },
  'epyc-9554-peer': {
    summary: 'EPYC 9554, peer writes through the root complex at the rate of the link',
    source: 'gds-report.pages.dev/theory',
    machine: { peerForwarding: true },
    link: REAL_LINK,
  },
};
