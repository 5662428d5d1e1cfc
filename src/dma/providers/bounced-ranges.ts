/**
 * The ranges of one mapping of which a device has a copy, and where: copied and given back by bytes of the list,
 * whole or in parts. [DMAAPI]
 * @module
 */
import { alignUp, type DmaAddr, dmaAddr, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { ByteSet } from '#emu/dma/checker/byte-set.ts';
import { type BouncePool, SLOT_BYTES } from './bounce-pool.ts';

/**
 * One piece of memory and its copy, as so many numbers: its first byte's position in the list, its size, the memory, the
 * copy, and what was lent for it, which may have more around the copy. Records of their own take as long as all the rest
 * of a long list.
 */
const [SIZE, SOURCE, BOUNCE, LENT, LENT_BYTES, FIELDS] = [1, 2, 3, 4, 5, 6];

export class BouncedRanges {
  readonly #pool: BouncePool;
  /** By offset, disjoint. */
  readonly #pieces: number[] = [];

  constructor(pool: BouncePool) {
    this.#pool = pool;
  }

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  /** Lends room for bytes behind those so far; where the device finds them, or null when the pool is full. */
  add(offset: number, source: PhysAddr, sizeBytes: number, alignBytes: number): DmaAddr | null {
    const bounce = this.#pool.lend(source, sizeBytes, alignBytes);
    if (bounce === null) return null;
    this.#pieces.push(offset, sizeBytes, source, bounce, bounce, sizeBytes);
    return dmaAddr(bounce);
  }

  /**
   * As {@link add}, in granules of its own, whose bytes around the copy are zero: the device may see all of them. Returns
   * where the first of the granules is.
   */
  addWhole(offset: number, source: PhysAddr, sizeBytes: number, granule: number): PhysAddr | null {
    const inGranule = source & (granule - 1);
    const lentBytes = alignUp(inGranule + sizeBytes, granule);
    const lent = this.#pool.lend(offsetBy(source, -inGranule), lentBytes, granule);
    if (lent === null) return null;
    this.#pool.memory.fill(lent, lentBytes, 0);
    this.#pieces.push(offset, sizeBytes, source, lent + inGranule, lent, lentBytes);
    return lent;
  }

  /** Copies bytes `start` to `end` of the list to where the device finds them. */
  copyIn(start: number, end: number): void {
    const pieces = this.#pieces;
    this.#each(start, end, (at, from, to) => {
      const skip = from - pieces[at]!;
      this.#pool.copyIn(pieces[at + BOUNCE]! + skip, pieces[at + SOURCE]! + skip, to - from);
    });
  }

  /** Copies bytes `start` to `end` of the list from where the device left them. */
  copyOut(start: number, end: number): void {
    const pieces = this.#pieces;
    this.#each(start, end, (at, from, to) => {
      const skip = from - pieces[at]!;
      this.#pool.copyOut(pieces[at + BOUNCE]! + skip, pieces[at + SOURCE]! + skip, to - from);
    });
  }

  /** Gives everything back. */
  release(): void {
    const pieces = this.#pieces;
    for (let at = 0; at < pieces.length; at += FIELDS) {
      this.#pool.takeBack(pieces[at + LENT]!, pieces[at + LENT_BYTES]!);
    }
    pieces.length = 0;
  }

  /** Gives back the slots of bytes `start` to `end` in which no byte is needed: `ended`, with these bytes, has all. */
  releasePart(start: number, end: number, ended: ByteSet): void {
    this.#each(start, end, (at, from, to) => this.#releaseIn(at, from, to, ended));
  }

  #releaseIn(at: number, from: number, to: number, ended: ByteSet): void {
    const pool = this.#pool;
    const start = this.#pieces[at + BOUNCE]!;
    const limit = start + this.#pieces[at + SIZE]!;
    const shift = start - this.#pieces[at]!;
    const isEnded = (slot: number): boolean =>
      ended.covers(Math.max(slot, start) - shift, Math.min(slot + SLOT_BYTES, limit) - shift);
    let first = pool.slotOf(from + shift);
    let last = pool.slotOf(to - 1 + shift);
    // Only at the ends can a slot have bytes of other parts.
    if (!isEnded(first)) first += SLOT_BYTES;
    if (first <= last && !isEnded(last)) last -= SLOT_BYTES;
    if (first <= last) pool.takeBack(first, last + SLOT_BYTES - first);
  }

  /** Visits the pieces with bytes of a span: where each is, and which bytes. */
  #each(start: number, end: number, visit: (at: number, from: number, to: number) => void): void {
    const pieces = this.#pieces;
    for (let at = this.#firstEndingAfter(start); at < pieces.length; at += FIELDS) {
      const offset = pieces[at]!;
      if (offset >= end) return;
      visit(at, Math.max(start, offset), Math.min(end, offset + pieces[at + SIZE]!));
    }
  }

  /** Where the first piece with a byte at or behind `offset` is. */
  #firstEndingAfter(offset: number): number {
    const pieces = this.#pieces;
    let low = 0;
    let high = pieces.length / FIELDS;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = middle * FIELDS;
      if (pieces[at]! + pieces[at + SIZE]! > offset) high = middle;
      else low = middle + 1;
    }
    return low * FIELDS;
  }
}
