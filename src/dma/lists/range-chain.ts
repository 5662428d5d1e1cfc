/**
 * Storage of a range list: blocks of fixed sizes, each with a link to the next, so that no list needs one block
 * of memory. How a range is stored is its layout's; what an address means is the list's. [PHYR]
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { ADDR_LIMIT, hex } from '#emu/base/units.ts';
import { blockWords } from './block-words.ts';
import { packedLayout } from './packed-layout.ts';
import type { RangeLayout } from './range-layout.ts';

export { MAX_RANGE_BYTES, RANGE_BYTES } from './range-layout.ts';

/** One block of entries. */
export class Chunk {
  readonly words: Uint32Array;
  /** Position in the list: of the chunk, of its first range, and of that range's first byte. */
  readonly ordinal: number;
  readonly firstRange: number;
  readonly firstByte: number;
  readonly layout: RangeLayout;
  /** Ranges in it. */
  count = 0;
  /** Position that entries do not reach beyond; behind the last of them once the chunk is full. */
  endAt: number;
  next: Chunk | null = null;

  constructor(layout: RangeLayout, ordinal: number, firstRange: number, firstByte: number) {
    const size = layout.blockWords(ordinal);
    this.words = blockWords(size);
    this.endAt = size - layout.linkWords;
    this.layout = layout;
    this.ordinal = ordinal;
    this.firstRange = firstRange;
    this.firstByte = firstByte;
  }

  /** Follows the link. @throws INVARIANT when the chain is cut, runs in a circle or is overwritten */
  follow(): Chunk {
    const { next, ordinal, words } = this;
    const link = this.layout.link(words);
    if (link === ordinal + 1 && next !== null && next.ordinal === link) return next;
    throw new EmuError('INVARIANT', `a range list's chain ${this.#fault(link)}`, {
      chunk: ordinal,
      firstRange: this.firstRange,
      link,
    });
  }

  #fault(link: number): string {
    const { next, ordinal } = this;
    if (next === null) return `is cut behind chunk ${ordinal}`;
    if (next.ordinal <= ordinal) {
      return `runs in a circle: chunk ${ordinal} is followed by ${next.ordinal}`;
    }
    const found = link < 0 ? 'is overwritten' : `names chunk ${link}`;
    return `is broken: the link of chunk ${ordinal} ${found}, and chunk ${next.ordinal} follows`;
  }
}

/** What is wrong with the entry at `at`, which no list writes. */
export function corruptEntry(chunk: Chunk, at: number, range?: number): EmuError {
  const { layout, words, ordinal } = chunk;
  return new EmuError('INVARIANT', `chunk ${ordinal} of a range list is corrupt at word ${at}`, {
    chunk: ordinal,
    word: at,
    ...(range === undefined ? {} : { range }),
    address: hex(layout.address(words, at)),
    length: layout.length(words, at),
    flags: hex(layout.flags(words, at)),
  });
}

export class RangeChain {
  readonly layout: RangeLayout;
  #count = 0;
  #sizeBytes = 0;
  #head: Chunk | null = null;
  #tail: Chunk | null = null;
  /** Positions in the tail: of the last entry, and behind it. */
  #lastAt = 0;
  #endAt = 0;
  #entryWords = 0;
  #storedWords = 0;
  /** Chunk of the latest access by index: sequential access by index costs no walk. */
  #hint: Chunk | null = null;
  /** Ranges that an alias shares: they no longer grow. */
  #sharedCount = 0;
  #isSealed = false;

  constructor(layout: RangeLayout = packedLayout) {
    this.layout = layout;
  }

  get count(): number {
    return this.#count;
  }
  get sizeBytes(): number {
    return this.#sizeBytes;
  }
  /** First chunk, or null for an empty list. */
  get head(): Chunk | null {
    return this.#head;
  }
  /** Bytes of its own that the entries take; 0 for an alias. */
  get metadataBytes(): number {
    return this.#entryWords * 4;
  }
  /** As {@link metadataBytes}, with links, padding and room not used yet. */
  get storageBytes(): number {
    return this.#storedWords * 4;
  }

  /**
   * Appends a range, as a longer last range where it continues that one with the same flags, and as several
   * where it is too long. Where a list is cut does not depend on how it was appended. @throws USAGE
   */
  append(address: number, sizeBytes: number, flags: number): void {
    this.#check(address, sizeBytes, flags);
    const merged = this.#extendLast(address, sizeBytes, flags);
    if (merged < sizeBytes) this.#push(address + merged, sizeBytes - merged, flags);
  }

  /** As {@link append}, never joined to the last range. @throws USAGE */
  appendApart(address: number, sizeBytes: number, flags: number): void {
    this.#check(address, sizeBytes, flags);
    this.#push(address, sizeBytes, flags);
  }

  address(index: number): number {
    const { words, firstRange } = this.chunkOf(index);
    return this.layout.address(words, this.layout.position(words, index - firstRange));
  }
  length(index: number): number {
    const { words, firstRange } = this.chunkOf(index);
    return this.layout.length(words, this.layout.position(words, index - firstRange));
  }
  flags(index: number): number {
    const { words, firstRange } = this.chunkOf(index);
    return this.layout.flags(words, this.layout.position(words, index - firstRange));
  }

  /** Chunk that holds range `index`. @throws USAGE out of range */
  chunkOf(index: number): Chunk {
    if (!(Number.isInteger(index) && index >= 0 && index < this.#count)) {
      throw usage(`range ${index}: expected an index below ${this.#count}`);
    }
    let chunk = this.#hint !== null && this.#hint.firstRange <= index ? this.#hint : this.#head!;
    while (index >= chunk.firstRange + chunk.count) chunk = chunk.follow();
    this.#hint = chunk;
    return chunk;
  }

  /** Chunk that holds the byte at `offset`, which must be below `sizeBytes`. */
  chunkAtByte(offset: number): Chunk {
    let chunk = this.#hint !== null && this.#hint.firstByte <= offset ? this.#hint : this.#head!;
    while (chunk.next !== null && chunk.next.firstByte <= offset) chunk = chunk.follow();
    // An alias may end before the chain does.
    this.#hint = chunk;
    return chunk;
  }

  /** A list of the ranges so far that shares their storage and takes no more. Costs the same for any length. */
  alias(): RangeChain {
    const alias = new RangeChain(this.layout);
    alias.#count = this.#count;
    alias.#sizeBytes = this.#sizeBytes;
    alias.#head = this.#head;
    alias.#tail = this.#tail;
    alias.#isSealed = true;
    this.#sharedCount = this.#count;
    return alias;
  }

  #check(address: number, sizeBytes: number, flags: number): void {
    const isRange =
      Number.isInteger(address) &&
      Number.isInteger(sizeBytes) &&
      address >= 0 &&
      sizeBytes > 0 &&
      address + sizeBytes <= ADDR_LIMIT;
    if (!isRange) {
      throw usage(
        `range of ${sizeBytes} bytes at ${address}: expected a positive size and an end of at most 2^52`,
      );
    }
    const { flagsLimit, name } = this.layout;
    if (!(Number.isInteger(flags) && flags >= 0 && flags < flagsLimit)) {
      throw usage(`range flags ${flags}: layout ${name} takes less than ${hex(flagsLimit)}`);
    }
    if (this.#isSealed)
      throw usage('a mapped range list takes no more ranges', { address: hex(address) });
  }

  /** Bytes taken by the last range. */
  #extendLast(address: number, sizeBytes: number, flags: number): number {
    const chunk = this.#tail;
    if (chunk === null || this.#count === this.#sharedCount) return 0;
    const { layout } = this;
    const { words } = chunk;
    const at = this.#lastAt;
    const last = layout.address(words, at);
    const length = layout.length(words, at);
    if (last + length !== address || layout.flags(words, at) !== flags) return 0;
    const taken = Math.min(sizeBytes, layout.longest(last) - length);
    if (taken > 0) this.#rewriteLast(chunk, last, length + taken, flags);
    this.#sizeBytes += taken;
    return taken;
  }

  /** Replaces the last entry; a longer one may have to go to a chunk of its own. */
  #rewriteLast(chunk: Chunk, address: number, length: number, flags: number): void {
    const at = this.#lastAt;
    const end = this.layout.put(chunk.words, at, chunk.endAt, address, length, flags);
    if (end >= 0) {
      this.#entryWords += end - this.#endAt;
      this.#endAt = end;
      return;
    }
    const before = this.#sizeBytes - this.layout.length(chunk.words, at);
    this.layout.erase(chunk.words, at);
    this.#entryWords -= this.#endAt - at;
    this.#endAt = at;
    chunk.count--;
    this.#grow(this.#count - 1, before);
    this.#put(address, length, flags);
  }

  #push(address: number, sizeBytes: number, flags: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const piece = Math.min(sizeBytes - done, this.layout.longest(address + done));
      if (this.#tail === null || !this.#put(address + done, piece, flags)) {
        this.#grow(this.#count, this.#sizeBytes);
        this.#put(address + done, piece, flags);
      }
      this.#count++;
      this.#sizeBytes += piece;
      done += piece;
    }
  }

  /** Writes an entry behind the last; false when the tail has no room. */
  #put(address: number, length: number, flags: number): boolean {
    const tail = this.#tail!;
    const at = this.#endAt;
    const end = this.layout.put(tail.words, at, tail.endAt, address, length, flags);
    if (end < 0) return false;
    tail.count++;
    this.#lastAt = at;
    this.#endAt = end;
    this.#entryWords += end - at;
    return true;
  }

  /** Adds a chunk, whose first range will be number `firstRange`. */
  #grow(firstRange: number, firstByte: number): void {
    const { layout } = this;
    const tail = this.#tail;
    const ordinal = tail === null ? 0 : tail.ordinal + 1;
    const chunk = new Chunk(layout, ordinal, firstRange, firstByte);
    if (tail === null) {
      this.#head = chunk;
    } else {
      layout.setLink(tail.words, ordinal);
      tail.endAt = this.#endAt;
      tail.next = chunk;
    }
    this.#tail = chunk;
    this.#endAt = layout.firstAt;
    this.#storedWords += chunk.words.length;
  }
}
