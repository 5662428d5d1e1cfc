/**
 * What the checker sees of a function's mappings, and of what the function does. Interfaces only; null where nobody
 * checks, so that it costs nothing. [DMAAPI]
 * @module
 */
import type { DmaAddr } from '#emu/base/units.ts';
import type { MappingRecord } from '#emu/dma/mapping-record.ts';
import type { CheckerClass } from './checker-class.ts';
import type { Fault } from './checker-faults.ts';

/** Addresses that two-step calls hold. */
export interface WatchedState {
  readonly address: DmaAddr;
  readonly sizeBytes: number;
  /** What is wrong with an access of the device to the bytes, which lie in the state; null when nothing is. */
  fault(offset: number, sizeBytes: number, isWrite: boolean): Fault | null;
}

export interface MappingWatch {
  mapped(mapping: MappingRecord): void;
  /** Before an unmap starts. */
  unmapping(mapping: MappingRecord): void;
  stateAllocated(state: WatchedState): void;
  stateReleased(state: WatchedState): void;
  /** The driver lets go of the function: what it left is told. */
  unbound(): void;
  /**
   * Takes note of a wrong call about a mapping or a state, which the caller throws; where that was made and ended, and this
   * call, for the message.
   */
  misused(kind: CheckerClass, what: string, subject: object | null): string;
  /** The mapping or state that has `address`, or the one that had it last; null for none. */
  at(address: DmaAddr): { readonly subject: object; readonly isLive: boolean } | null;
}
