/**
 * Storage of a range list: 16 bytes a range in chunks of fixed sizes, each ended by a link to the next, so that no
 * list needs one block of memory. Knows nothing of what an address means. [PHYR]
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { ADDR_LIMIT, hex, PAGE_SIZE, u64 } from '#emu/base/units.ts';

/** Bytes that one range occupies: 64-bit address, 32-bit length, 32-bit flags. [PHYR] */
export const RANGE_BYTES = 16;
/** Longest range: the largest multiple of a page that 32 bits hold. */
export const MAX_RANGE_BYTES = 0xffff_f000;
/** Flag of a link: the slot holds the ordinal of the next chunk instead of a range. */
export const CHAIN_FLAG = 0x8000_0000;

const WORDS = RANGE_BYTES / 4;
const LENGTH = 2;
const FLAGS = 3;
/** Slots of the first, the second and every further chunk, the link's included. 256 slots are one page. */
const CHUNK_SLOTS: readonly number[] = [4, 32, 256];

/** One block of slots. */
export class Chunk {
  readonly words: Uint32Array;
  /** Position in the list: of the chunk, of its first range, and of that range's first byte. */
  readonly ordinal: number;
  readonly firstRange: number;
  readonly firstByte: number;
  /** Ranges it can hold; the slot behind them is the link's. */
  readonly capacity: number;
  next: Chunk | null = null;

  constructor(ordinal: number, firstRange: number, firstByte: number) {
    const slots = CHUNK_SLOTS[Math.min(ordinal, CHUNK_SLOTS.length - 1)]!;
    this.words = new Uint32Array(slots * WORDS);
    this.capacity = slots - 1;
    this.ordinal = ordinal;
    this.firstRange = firstRange;
    this.firstByte = firstByte;
  }

  address(slot: number): number {
    return u64(this.words[slot * WORDS]!, this.words[slot * WORDS + 1]!);
  }
  length(slot: number): number {
    return this.words[slot * WORDS + LENGTH]!;
  }
  flags(slot: number): number {
    return this.words[slot * WORDS + FLAGS]!;
  }

  put(slot: number, address: number, length: number, flags: number): void {
    const at = slot * WORDS;
    this.words[at] = address;
    this.words[at + 1] = address * 2 ** -32;
    this.words[at + LENGTH] = length;
    this.words[at + FLAGS] = flags;
  }

  setLength(slot: number, length: number): void {
    this.words[slot * WORDS + LENGTH] = length;
  }

  /** Follows the link. @throws INVARIANT when the chain is cut, runs in a circle or is overwritten */
  follow(): Chunk {
    const { next, capacity } = this;
    const isLink =
      this.flags(capacity) === CHAIN_FLAG && this.address(capacity) === this.ordinal + 1;
    if (isLink && next !== null && next.ordinal === this.ordinal + 1) return next;
    throw new EmuError('INVARIANT', 'a range list has a broken chain', { chunk: this.ordinal });
  }
}

export class RangeChain {
  #count = 0;
  #sizeBytes = 0;
  #head: Chunk | null = null;
  #tail: Chunk | null = null;
  /** Chunk of the latest access by index: sequential access by index costs no walk. */
  #hint: Chunk | null = null;
  /** Ranges that an alias shares: they no longer grow. */
  #sharedCount = 0;
  #isSealed = false;

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

  /** Chunk that holds range `index`. @throws USAGE out of range */
  chunkOf(index: number): Chunk {
    if (!(Number.isInteger(index) && index >= 0 && index < this.#count)) {
      throw usage(`range ${index}: expected an index below ${this.#count}`);
    }
    let chunk = this.#hint !== null && this.#hint.firstRange <= index ? this.#hint : this.#head!;
    while (index >= chunk.firstRange + chunk.capacity) chunk = chunk.follow();
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
    const alias = new RangeChain();
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
    if (!(Number.isInteger(flags) && flags >= 0 && flags < CHAIN_FLAG)) {
      throw usage(`range flags ${flags}: expected 31 bits`);
    }
    if (this.#isSealed)
      throw usage('a mapped range list takes no more ranges', { address: hex(address) });
  }

  /** Bytes taken by the last range. */
  #extendLast(address: number, sizeBytes: number, flags: number): number {
    const chunk = this.#tail;
    if (chunk === null || this.#count === this.#sharedCount) return 0;
    const slot = this.#count - 1 - chunk.firstRange;
    const last = chunk.address(slot);
    const length = chunk.length(slot);
    if (last + length !== address || chunk.flags(slot) !== flags) return 0;
    const taken = Math.min(sizeBytes, longestPiece(last) - length);
    chunk.setLength(slot, length + taken);
    this.#sizeBytes += taken;
    return taken;
  }

  #push(address: number, sizeBytes: number, flags: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const piece = Math.min(sizeBytes - done, longestPiece(address + done));
      const chunk = this.#room();
      chunk.put(this.#count - chunk.firstRange, address + done, piece, flags);
      this.#count++;
      this.#sizeBytes += piece;
      done += piece;
    }
  }

  /** The last chunk, with a free slot. */
  #room(): Chunk {
    const tail = this.#tail;
    if (tail !== null && this.#count < tail.firstRange + tail.capacity) return tail;
    const ordinal = tail === null ? 0 : tail.ordinal + 1;
    const chunk = new Chunk(ordinal, this.#count, this.#sizeBytes);
    if (tail === null) {
      this.#head = chunk;
    } else {
      tail.put(tail.capacity, ordinal, 0, CHAIN_FLAG);
      tail.next = chunk;
    }
    this.#tail = chunk;
    return chunk;
  }
}

/** Longest range that starts at `address`: its end is on a page boundary. */
const longestPiece = (address: number): number => MAX_RANGE_BYTES - (address & (PAGE_SIZE - 1));
