/**
 * The ranges of one mapping of which a device has a copy, and where: copied and given back by bytes of the list,
 * whole or in parts. [DMAAPI]
 * @module
 */
import { type DmaAddr, dmaAddr, type PhysAddr } from '#emu/base/units.ts';
import { type BouncePool, SLOT_BYTES } from './bounce-pool.ts';
import type { ByteSet } from './byte-set.ts';

/** One piece of memory and its copy. */
interface Piece {
  /** First byte's position in the list. */
  readonly offset: number;
  readonly sizeBytes: number;
  readonly source: PhysAddr;
  readonly bounce: PhysAddr;
}

export class BouncedRanges {
  readonly #pool: BouncePool;
  /** By offset, disjoint. */
  readonly #pieces: Piece[] = [];

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
    this.#pieces.push({ offset, sizeBytes, source, bounce });
    return dmaAddr(bounce);
  }

  /** Copies bytes `start` to `end` of the list to where the device finds them. */
  copyIn(start: number, end: number): void {
    this.#each(start, end, ({ bounce, source, offset }, from, to) =>
      this.#pool.copyIn(bounce + from - offset, source + from - offset, to - from),
    );
  }

  /** Copies bytes `start` to `end` of the list from where the device left them. */
  copyOut(start: number, end: number): void {
    this.#each(start, end, ({ bounce, source, offset }, from, to) =>
      this.#pool.copyOut(bounce + from - offset, source + from - offset, to - from),
    );
  }

  /** Gives everything back. */
  release(): void {
    for (const { bounce, sizeBytes } of this.#pieces) this.#pool.takeBack(bounce, sizeBytes);
    this.#pieces.length = 0;
  }

  /** Gives back the slots of bytes `start` to `end` in which no byte is needed: `ended`, with these bytes, has all. */
  releasePart(start: number, end: number, ended: ByteSet): void {
    this.#each(start, end, (piece, from, to) => this.#releaseIn(piece, from, to, ended));
  }

  #releaseIn({ offset, sizeBytes, bounce }: Piece, from: number, to: number, ended: ByteSet): void {
    const pool = this.#pool;
    const shift = bounce - offset;
    const [start, limit] = [bounce, bounce + sizeBytes];
    const isEnded = (slot: number): boolean =>
      ended.covers(Math.max(slot, start) - shift, Math.min(slot + SLOT_BYTES, limit) - shift);
    let first = pool.slotOf(from + shift);
    let last = pool.slotOf(to - 1 + shift);
    // Only at the ends can a slot have bytes of other parts.
    if (!isEnded(first)) first += SLOT_BYTES;
    if (first <= last && !isEnded(last)) last -= SLOT_BYTES;
    if (first <= last) pool.takeBack(first, last + SLOT_BYTES - first);
  }

  /** Visits the pieces with bytes of a span, and which bytes. */
  #each(start: number, end: number, visit: (piece: Piece, from: number, to: number) => void): void {
    const pieces = this.#pieces;
    for (let i = this.#firstEndingAfter(start); i < pieces.length; i++) {
      const piece = pieces[i]!;
      if (piece.offset >= end) return;
      const limit = piece.offset + piece.sizeBytes;
      visit(piece, Math.max(start, piece.offset), Math.min(end, limit));
    }
  }

  /** Index of the first piece with a byte at or behind `offset`. */
  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const piece = this.#pieces[middle]!;
      if (piece.offset + piece.sizeBytes > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
