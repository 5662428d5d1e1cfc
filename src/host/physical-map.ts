/**
 * The host's physical address map: which spans exist and where; nothing is placed inside them here.
 * @module
 */
import { alignUp, physAddr } from '#emu/base/units.ts';
import type { MachineSpec, PhysicalMap, Span } from './machine-spec.ts';

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

const span = (base: number, sizeBytes: number): Span => ({ base: physAddr(base), sizeBytes });

/** Map of a checked specification: the 64-bit window stands at 256 GiB, or above DRAM, naturally aligned. */
export function physicalMap(spec: MachineSpec): PhysicalMap {
  const dramBytes = spec.memory?.sizeBytes ?? DEFAULT_DRAM_BYTES;
  const windowBytes = spec.mmioWindowBytes ?? DEFAULT_MMIO_WINDOW_BYTES;
  const lowest = Math.max(HIGH_BASE, DRAM_BASE + dramBytes);
  return {
    dram: span(DRAM_BASE, dramBytes),
    low: span(LOW_BASE, GiB),
    high: span(alignUp(lowest, windowBytes), windowBytes),
    doorbell: span(DOORBELL_BASE, 4 * KiB),
    iommu: span(IOMMU_BASE, 4 * KiB),
  };
}
