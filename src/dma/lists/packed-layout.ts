/**
 * The default way to store ranges: 16 bytes each, with a 64-bit address, 32 bits of length and 32 of flags. The
 * last slot of a block is the link. [PHYR]
 * @module
 */
import { PAGE_SIZE, u64 } from '#emu/base/units.ts';
import { FLAGS_LIMIT, MAX_RANGE_BYTES, type RangeLayout, SLOT_WORDS } from './range-layout.ts';

/** Flag of a link: the slot holds the ordinal of the next block instead of a range. */
export const CHAIN_FLAG: number = FLAGS_LIMIT;
/** Slots of the first, the second and every further block, the link's included. 256 slots are one page. */
const BLOCK_SLOTS: readonly number[] = [4, 32, 256];
const LENGTH = 2;
const FLAGS = 3;

/** Words of block `ordinal` of a layout with 16-byte slots: short lists take little, long ones pages. */
export const slotBlockWords = (ordinal: number): number =>
  BLOCK_SLOTS[Math.min(ordinal, BLOCK_SLOTS.length - 1)]! * SLOT_WORDS;

class PackedLayout implements RangeLayout {
  readonly name = 'packed16';
  readonly flagsLimit = FLAGS_LIMIT;
  readonly firstAt = 0;
  readonly linkWords: number = SLOT_WORDS;

  blockWords(ordinal: number): number {
    return slotBlockWords(ordinal);
  }
  longest(address: number): number {
    return MAX_RANGE_BYTES - (address & (PAGE_SIZE - 1));
  }

  address(words: Uint32Array, at: number): number {
    return u64(words[at]!, words[at + 1]!);
  }
  length(words: Uint32Array, at: number): number {
    return words[at + LENGTH]!;
  }
  flags(words: Uint32Array, at: number): number {
    return words[at + FLAGS]!;
  }
  after(_words: Uint32Array, at: number): number {
    return at + SLOT_WORDS;
  }
  position(_words: Uint32Array, slot: number): number {
    return slot * SLOT_WORDS;
  }

  put(
    words: Uint32Array,
    at: number,
    limit: number,
    address: number,
    length: number,
    flags: number,
  ): number {
    if (at === limit) return -1;
    words[at] = address;
    words[at + 1] = address * 2 ** -32;
    words[at + LENGTH] = length;
    words[at + FLAGS] = flags;
    return at + SLOT_WORDS;
  }
  erase(words: Uint32Array, at: number): void {
    words.fill(0, at, at + SLOT_WORDS);
  }

  link(words: Uint32Array): number {
    const at = words.length - SLOT_WORDS;
    return this.flags(words, at) === CHAIN_FLAG && this.length(words, at) === 0
      ? this.address(words, at)
      : -1;
  }
  setLink(words: Uint32Array, ordinal: number): void {
    const at = words.length - SLOT_WORDS;
    words[at] = ordinal;
    words[at + FLAGS] = CHAIN_FLAG;
  }
}

export const packedLayout: RangeLayout = new PackedLayout();
