/**
 * Host memory set aside for the PRP list or SGL segment of one command.
 * @module
 */
import type { DmaAddr, PhysAddr } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';

/** Whole pages that are contiguous for the driver and for the device. */
export interface ListPlace {
  readonly memory: SparseMemory;
  /** Where the driver writes, and where the device reads. */
  readonly address: PhysAddr;
  readonly dma: DmaAddr;
  readonly sizeBytes: number;
}
