/**
 * What a way to store ranges must offer, so that chains, cursors and lists work with every one of them: entries
 * in blocks of words, positions in words, a link to the next block. Interface and flag bits only. [PHYR]
 * @module
 */
import { Bits } from '#emu/base/layout.ts';

/** Longest range of 32-bit lengths: their largest multiple of a page. */
export const MAX_RANGE_BYTES = 0xffff_f000;
/** Flags that a list may use at most: bit 31 marks a chain's link where a layout keeps flags in 32 bits. */
export const FLAGS_LIMIT = 0x8000_0000;
/** Bytes of a slot that holds 64 bits of address, and 64 of length and flags. [PHYR] */
export const RANGE_BYTES = 16;
/** The same in words. */
export const SLOT_WORDS: number = RANGE_BYTES / 4;

/**
 * Bits of a range's flags with the number of the provider whose memory it is; 0: host memory, or to be
 * found by address. Every layout carries it: in the 64-bit-length one it must be below 128. [P2PDMA]
 */
export const PROVIDER_INDEX: Bits = new Bits(27, 4);

/** A stateless codec. `words` is a block, `at` the position of an entry in it. */
export interface RangeLayout {
  /** Stands in tables and messages. */
  readonly name: string;
  /** Exclusive bound of the flags it can store. */
  readonly flagsLimit: number;
  /** Position of a block's first entry. */
  readonly firstAt: number;
  /** Words of the block number `ordinal`, and of them those behind the last entry. */
  blockWords(ordinal: number): number;
  readonly linkWords: number;
  /** Longest range that starts at `address`; longer ones are cut, on a page. */
  longest(address: number): number;

  address(words: Uint32Array, at: number): number;
  /** Bytes; 0 where no entry is. */
  length(words: Uint32Array, at: number): number;
  flags(words: Uint32Array, at: number): number;
  /** Position behind the entry. */
  after(words: Uint32Array, at: number): number;
  /** Position of the block's entry number `slot`. */
  position(words: Uint32Array, slot: number): number;

  /** Writes an entry; the position behind it, or -1 when it does not fit in front of `limit`. */
  put(
    words: Uint32Array,
    at: number,
    limit: number,
    address: number,
    length: number,
    flags: number,
  ): number;
  /** Takes the last entry away. */
  erase(words: Uint32Array, at: number): void;
  /** Ordinal of the next block as the link says, or -1 when there is no link. */
  link(words: Uint32Array): number;
  setLink(words: Uint32Array, ordinal: number): void;
}
