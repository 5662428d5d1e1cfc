/**
 * Writes PRP entries for the data of a command: PRP1 and PRP2, and the list pages when two are not
 * enough. [NVME] 4.1.1
 * @module
 */

import { PRP_SIZE } from '#devices/nvme/spec.ts';
import { type DmaAddr, dmaAddr, PAGE_SIZE, type PhysAddr, pageOffset } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { PageCursor } from './page-cursor.ts';

const ENTRIES = PAGE_SIZE / PRP_SIZE;
const DWORD_MASK = 3;

/** Pages of PRP lists that the largest transfer of `sizeBytes` may need, whatever its offset. */
export function listPages(sizeBytes: number): number {
  const entries = Math.ceil(sizeBytes / PAGE_SIZE);
  // All but the last page spend an entry on the link to the next one.
  return Math.max(1, Math.ceil((entries - 1) / (ENTRIES - 1)));
}

export class PrpBuilder {
  /** What goes into the command. */
  prp1: DmaAddr = dmaAddr(0);
  prp2: DmaAddr = dmaAddr(0);
  readonly #memory: SparseMemory;

  constructor(memory: SparseMemory) {
    this.#memory = memory;
  }

  /**
   * Describes the next `sizeBytes` (> 0) of `cursor`. The list, if there is one, goes to the contiguous
   * pages at `list`, which the device sees at `listDma`. False when PRPs cannot describe the data: a
   * piece that ends inside a page before the end, begins inside one after the start, or the list is too short.
   */
  build(cursor: PageCursor, sizeBytes: number, list: PhysAddr, listDma: DmaAddr): boolean {
    if (!cursor.next(sizeBytes) || cursor.address & DWORD_MASK) return false;
    this.prp1 = dmaAddr(cursor.address);
    this.prp2 = dmaAddr(0);
    const left = sizeBytes - cursor.sizeBytes;
    if (left === 0) return true;
    if (pageOffset(cursor.address + cursor.sizeBytes) !== 0) return false;
    if (left > PAGE_SIZE) {
      this.prp2 = listDma;
      return this.#list(cursor, left, list, listDma);
    }
    if (!nextPage(cursor, left)) return false;
    this.prp2 = dmaAddr(cursor.address);
    return true;
  }

  #list(cursor: PageCursor, sizeBytes: number, list: PhysAddr, listDma: DmaAddr): boolean {
    let entry = 0;
    for (let left = sizeBytes; left > 0; left -= cursor.sizeBytes) {
      if (entry % ENTRIES === ENTRIES - 1 && left > PAGE_SIZE) {
        this.#memory.setU64(list + entry * PRP_SIZE, listDma + (entry + 1) * PRP_SIZE);
        entry++;
      }
      if (!nextPage(cursor, left)) return false;
      this.#memory.setU64(list + entry * PRP_SIZE, cursor.address);
      entry++;
    }
    return true;
  }
}

/** Finds the next whole page, or the last part of one. */
const nextPage = (cursor: PageCursor, left: number): boolean =>
  cursor.next(left) &&
  pageOffset(cursor.address) === 0 &&
  cursor.sizeBytes === Math.min(left, PAGE_SIZE);
