/**
 * The default way to store ranges: 16 bytes each, with a 64-bit address, 32 bits of length and 32 of flags. [PHYR]
 * @module
 */
import { PAGE_SIZE } from '#emu/base/units.ts';
import { FLAGS_LIMIT, MAX_RANGE_BYTES, type RangeLayout, SLOT_WORDS } from './range-layout.ts';
import { LENGTH_WORD, SlotLayout, TOP_WORD } from './slot-layout.ts';

class PackedLayout extends SlotLayout implements RangeLayout {
  readonly name = 'packed16';
  readonly flagsLimit = FLAGS_LIMIT;

  longest(address: number): number {
    return MAX_RANGE_BYTES - (address & (PAGE_SIZE - 1));
  }
  length(words: Uint32Array, at: number): number {
    return words[at + LENGTH_WORD]!;
  }
  flags(words: Uint32Array, at: number): number {
    return words[at + TOP_WORD]!;
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
    words[at + LENGTH_WORD] = length;
    words[at + TOP_WORD] = flags;
    return at + SLOT_WORDS;
  }
}

export const packedLayout: RangeLayout = new PackedLayout();
