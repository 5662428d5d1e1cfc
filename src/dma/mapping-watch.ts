/**
 * What the checker sees of a function's mappings, and of what the function does. Interfaces only; null where nobody
 * checks, so that it costs nothing. [DMAAPI]
 * @module
 */
import type { DmaAddr } from '#emu/base/units.ts';
import type { MappingRecord } from './mapping-record.ts';

/** Addresses that two-step calls hold. */
export interface WatchedState {
  readonly address: DmaAddr;
  readonly sizeBytes: number;
  /** What is wrong with an access of the device to the bytes, which lie in the state; null when nothing is. */
  fault(offset: number, sizeBytes: number): string | null;
}

export interface MappingWatch {
  mapped(mapping: MappingRecord): void;
  /** Before an unmap starts. */
  unmapping(mapping: MappingRecord): void;
  stateAllocated(state: WatchedState): void;
  stateReleased(state: WatchedState): void;
  /** Call sites for a report of wrong use of a mapping or a state: where it was made and ended, and this call. */
  sites(subject: object | null): string;
}
