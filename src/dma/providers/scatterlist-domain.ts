/**
 * One function's address space by a provider from before range lists: scatterlists are all that it maps. An interface
 * only; ListWrapper serves range lists through it. [DMAAPI]
 * @module
 */
import type { DmaAddr, PhysAddr } from '#emu/base/units.ts';
import type { ScatterList } from '#emu/dma/lists/scatter-list.ts';
import type { Direction, MapRefusal } from '#emu/dma/mapping.ts';
import type { Pending } from '#emu/sim/pending.ts';

export interface ScatterlistDomain {
  /**
   * Fills the device's side of `scatter`, whose entries are memory of one kind each, and its `mappedCount`; null.
   * Or refuses, and leaves nothing mapped.
   */
  mapScatterlist(scatter: ScatterList, direction: Direction, attrs?: number): MapRefusal | null;
  /** Ends that; `done` is completed when no access by it is possible any more. */
  unmapScatterlist(scatter: ScatterList, direction: Direction, done: Pending<void>): void;
  mapDoorbell(address: PhysAddr): DmaAddr;
  /** As DmaDomain's. */
  detach?(done: Pending<void>): void;
  /** As DmaDomain's. */
  cutOff?(): void;
  /** Exclusive bound of coherent memory; absent where it may lie anywhere. */
  readonly coherentLimit?: number | undefined;
}
