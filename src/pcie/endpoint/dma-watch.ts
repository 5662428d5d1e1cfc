/**
 * Who is told of every transfer that a function begins; null where nobody looks. An interface only. [PCIE] 2.2
 * @module
 */
import type { DmaAddr } from '#emu/base/units.ts';

export interface DmaWatch {
  /** The function at `path` begins a transfer. What is thrown here ends the run. */
  accessed(path: string, address: DmaAddr, sizeBytes: number, isWrite: boolean): void;
}
