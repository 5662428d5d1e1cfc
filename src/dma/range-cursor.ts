/**
 * Walks a range list, or a byte range of it, without allocating: the fields are the current range.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { offsetBy } from '#emu/base/units.ts';
import type { Chunk, RangeChain } from './range-chain.ts';

/** A range as a record, for iteration where its cost does not matter. */
export interface Range<A extends number> {
  readonly address: A;
  readonly length: number;
  readonly flags: number;
}

/** Reusable; its owner opens it on a list with the list's `open`. */
export class RangeCursor<A extends number> {
  /**
   * The current range, cut to the bytes asked for. Valid after {@link next} returned true. Only declared: a
   * field that starts undefined boxes every double stored later, which costs half of a step.
   */
  declare address: A;
  length = 0.5;
  flags = 0;
  readonly #zero: A;
  #chunk: Chunk | null = null;
  #slot = 0;
  /** Bytes before the first wanted one in the next range, and wanted bytes left. */
  #skip = 0.5;
  #left = 0.5;

  /** @param zero the address 0, which gives the fields their type */
  constructor(zero: A) {
    this.address = offsetBy(zero, 0.5);
    this.#zero = zero;
  }

  /** For lists: stands before the range that holds byte `offset`. @throws USAGE beyond the list */
  start(chain: RangeChain, offset: number, sizeBytes: number): void {
    const isInside = offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= chain.sizeBytes;
    if (!(isInside && Number.isInteger(offset) && Number.isInteger(sizeBytes))) {
      throw usage(`${sizeBytes} bytes from ${offset}: expected a part of ${chain.sizeBytes} bytes`);
    }
    this.length = 0;
    this.#left = sizeBytes;
    this.#slot = 0;
    this.#skip = 0;
    this.#chunk = null;
    if (sizeBytes === 0) return;
    const chunk = offset === 0 ? chain.head! : chain.chunkAtByte(offset);
    this.#chunk = chunk;
    this.#skip = offset - chunk.firstByte;
    while (this.#skip >= this.#chunk.length(this.#slot)) {
      this.#skip -= this.#chunk.length(this.#slot);
      this.#slot++;
    }
  }

  /** Moves to the next range; false at the end. */
  next(): boolean {
    if (this.#left === 0 || this.#chunk === null) return false;
    let chunk = this.#chunk;
    if (this.#slot === chunk.capacity) {
      chunk = chunk.follow();
      this.#chunk = chunk;
      this.#slot = 0;
    }
    const slot = this.#slot++;
    const length = chunk.length(slot) - this.#skip;
    this.address = offsetBy(this.#zero, chunk.address(slot) + this.#skip);
    this.flags = chunk.flags(slot);
    this.length = Math.min(length, this.#left);
    this.#left -= this.length;
    this.#skip = 0;
    return true;
  }
}
