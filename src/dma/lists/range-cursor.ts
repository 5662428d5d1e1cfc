/**
 * Walks a range list, or a byte range of it, without allocating: the fields are the current range.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { offsetBy } from '#emu/base/units.ts';
import { type Chunk, corruptEntry, type RangeChain } from './range-chain.ts';

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
  /** Position of the next entry in the chunk. */
  #at = 0;
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
    const { layout } = chain;
    this.length = 0;
    this.#left = sizeBytes;
    this.#at = layout.firstAt;
    this.#skip = 0;
    this.#chunk = null;
    if (sizeBytes === 0) return;
    const chunk = offset === 0 ? chain.head! : chain.chunkAtByte(offset);
    this.#chunk = chunk;
    this.#at = this.#seek(chunk, offset - chunk.firstByte);
  }

  /** Moves to the next range; false at the end. @throws INVARIANT where the list is corrupt */
  next(): boolean {
    if (this.#left === 0 || this.#chunk === null) return false;
    let chunk = this.#chunk;
    const { layout } = chunk;
    let { words } = chunk;
    let at = this.#at;
    if (at >= chunk.endAt) {
      chunk = chunk.follow();
      this.#chunk = chunk;
      words = chunk.words;
      at = layout.firstAt;
    }
    const flags = layout.flags(words, at);
    const whole = layout.length(words, at);
    if (whole === 0 || flags >= layout.flagsLimit) throw corruptEntry(chunk, at);
    const length = whole - this.#skip;
    this.address = offsetBy(this.#zero, layout.address(words, at) + this.#skip);
    this.flags = flags;
    this.length = Math.min(length, this.#left);
    this.#left -= this.length;
    this.#skip = 0;
    this.#at = layout.after(words, at);
    return true;
  }

  /** Position of the entry that holds the chunk's byte number `offset`; leaves its bytes before that in `#skip`. */
  #seek(chunk: Chunk, offset: number): number {
    const { layout, words } = chunk;
    let at = layout.firstAt;
    let skip = offset;
    for (;;) {
      const length = layout.length(words, at);
      if (length === 0 || at >= chunk.endAt) {
        // Only a broken chain leads beyond the chunk where a byte must be, and following it says how.
        if (at >= chunk.endAt) chunk.follow();
        throw corruptEntry(chunk, at);
      }
      if (skip < length) break;
      skip -= length;
      at = layout.after(words, at);
    }
    this.#skip = skip;
    return at;
  }
}
