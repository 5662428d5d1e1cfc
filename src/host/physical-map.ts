/**
 * The host's physical address map: which spans exist and where, and how host bridges share them; nothing is
 * placed inside them here.
 * @module
 */
import { alignUp, dmaAddr, physAddr } from '#emu/base/units.ts';
import {
  type BusOffset,
  type BusSpan,
  type HostBridgeMap,
  hostBridgesOf,
  type MachineSpec,
  type PhysicalMap,
  type Span,
} from './machine-spec.ts';

const KiB = 2 ** 10;
const GiB = 2 ** 30;

export const DEFAULT_DRAM_BYTES: number = 4 * GiB;
export const DEFAULT_MMIO_WINDOW_BYTES: number = 256 * GiB;
/** Most DRAM that a machine may have; leaves room for windows within Sv48 address spaces. */
export const MAX_DRAM_BYTES: number = 2 ** 44;
export const MAX_MMIO_WINDOW_BYTES: number = 2 ** 45;
const DRAM_BASE = 0x8000_0000;
const LOW_BASE = 0x4000_0000;
const HIGH_BASE = 0x40_0000_0000;
/** Interrupt file: a 4-byte write of an interrupt number raises it. */
const DOORBELL_BASE = 0x2800_0000;
const IOMMU_BASE = 0x1000_0000;
const BUSES = 256;
/** Leaves each 64 MiB of the 32-bit window and 16 bus numbers. */
export const MAX_HOST_BRIDGES = 16;

const span = (base: number, sizeBytes: number): Span => ({ base: physAddr(base), sizeBytes });

/** Map of a checked specification: the 64-bit window stands at 256 GiB, or above DRAM, naturally aligned. */
export function physicalMap(spec: MachineSpec): PhysicalMap {
  const dramBytes = spec.memory?.sizeBytes ?? DEFAULT_DRAM_BYTES;
  const windowBytes = spec.mmioWindowBytes ?? DEFAULT_MMIO_WINDOW_BYTES;
  const lowest = Math.max(HIGH_BASE, DRAM_BASE + dramBytes);
  const low = span(LOW_BASE, GiB);
  const high = span(alignUp(lowest, windowBytes), windowBytes);
  return {
    dram: span(DRAM_BASE, dramBytes),
    low,
    high,
    doorbell: span(DOORBELL_BASE, 4 * KiB),
    iommu: span(IOMMU_BASE, 4 * KiB),
    hostBridges: shares(spec, low, high),
  };
}

/** Equal shares of buses and windows, powers of two, so that windows keep their natural alignment. */
function shares(spec: MachineSpec, low: Span, high: Span): HostBridgeMap[] {
  const bridges = hostBridgesOf(spec);
  let parts = 1;
  while (parts < bridges.length) parts *= 2;
  const buses = BUSES / parts;
  return bridges.map(({ busOffset = 0 }, i) => ({
    rootBus: i * buses,
    lastBus: (i + 1) * buses - 1,
    low: share(low, parts, i, offsetOf(busOffset, 'low')),
    high: share(high, parts, i, offsetOf(busOffset, 'high')),
  }));
}

const offsetOf = (offset: BusOffset, window: 'low' | 'high'): number =>
  typeof offset === 'number' ? offset : (offset[window] ?? 0);

function share(whole: Span, parts: number, index: number, busOffset: number): BusSpan {
  const sizeBytes = whole.sizeBytes / parts;
  const base = whole.base + index * sizeBytes;
  return { ...span(base, sizeBytes), busBase: dmaAddr(base + busOffset) };
}
