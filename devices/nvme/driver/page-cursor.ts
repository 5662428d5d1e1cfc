/**
 * Walks a DMA range list in pieces that lie in one page each, as PRP entries want them. [NVME] 4.1.1
 * @module
 */
import { PAGE_SIZE, pageOffset } from '#emu/base/units.ts';
import { type DmaRangeList, dmaCursor } from '#emu/dma/dma-range-list.ts';

export class PageCursor {
  /** The piece last found. */
  address = 0.5;
  sizeBytes = 0;
  readonly #ranges = dmaCursor();
  /** Where the range under the cursor goes on, and how far it goes. */
  #at = 0.5;
  #left = 0;

  /** Starts at byte `offset` of the list. @throws USAGE beyond its end */
  start(ranges: DmaRangeList, offset: number): void {
    ranges.open(this.#ranges, offset);
    this.#left = 0;
  }

  /**
   * Finds the next piece: up to the end of its page, at most `limitBytes`, over ranges that follow on from
   * each other. False at the end of the list.
   */
  next(limitBytes: number): boolean {
    if (this.#left === 0 && !this.#open()) return false;
    this.address = this.#at;
    this.sizeBytes = 0;
    const limit = Math.min(limitBytes, PAGE_SIZE - pageOffset(this.address));
    this.#take(limit);
    while (this.sizeBytes < limit && this.#open()) {
      if (this.#at !== this.address + this.sizeBytes) break;
      this.#take(limit);
    }
    return true;
  }

  #open(): boolean {
    if (!this.#ranges.next()) return false;
    this.#at = this.#ranges.address;
    this.#left = this.#ranges.length;
    return true;
  }

  #take(limit: number): void {
    const size = Math.min(this.#left, limit - this.sizeBytes);
    this.sizeBytes += size;
    this.#at += size;
    this.#left -= size;
  }
}
