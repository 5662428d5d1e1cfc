/**
 * Ranges of 16 bytes with a 64-bit length whose top bits are the flags: no range is cut, and 11 bits of
 * flags are left besides the chain's. [PHYR]
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import { ADDR_LIMIT, PAGE_SIZE, u64 } from '#emu/base/units.ts';
import { type RangeLayout, SLOT_WORDS } from './range-layout.ts';
import { LENGTH_WORD, SlotLayout, TOP_WORD } from './slot-layout.ts';

/** The top word: 20 bits of the length (52 are enough for any), flags, and bit 31, the chain's. */
const LENGTH_HI = new Bits(19, 0);
const FLAGS = new Bits(30, 20);

class WideLayout extends SlotLayout implements RangeLayout {
  readonly name = 'wide16';
  readonly flagsLimit: number = FLAGS.max + 1;

  /** 52 bits hold every length but that of the whole address space. */
  longest(address: number): number {
    return ADDR_LIMIT - PAGE_SIZE - (address & (PAGE_SIZE - 1));
  }
  length(words: Uint32Array, at: number): number {
    return u64(words[at + LENGTH_WORD]!, LENGTH_HI.get(words[at + TOP_WORD]!));
  }
  /** The chain's bit is among them, so that a link is never taken for a range. */
  flags(words: Uint32Array, at: number): number {
    return words[at + TOP_WORD]! >>> FLAGS.shift;
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
    words[at + TOP_WORD] = LENGTH_HI.of(length * 2 ** -32) | FLAGS.of(flags);
    return at + SLOT_WORDS;
  }
}

export const wideLayout: RangeLayout = new WideLayout();
