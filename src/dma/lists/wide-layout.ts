/**
 * Ranges of 16 bytes with a 64-bit length whose top bits are the flags: no range is cut, and 11 bits of
 * flags are left besides the chain's. The last slot of a block is the link. [PHYR]
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import { ADDR_LIMIT, PAGE_SIZE, u64 } from '#emu/base/units.ts';
import { CHAIN_FLAG, slotBlockWords } from './packed-layout.ts';
import { type RangeLayout, SLOT_WORDS } from './range-layout.ts';

/** The upper word of a length: 20 bits of it (52 are enough for any), flags, and bit 31, the chain's. */
const LENGTH_HI = new Bits(19, 0);
const FLAGS = new Bits(30, 20);
const LENGTH = 2;
const TOP = 3;

class WideLayout implements RangeLayout {
  readonly name = 'wide16';
  readonly flagsLimit: number = FLAGS.max + 1;
  readonly firstAt = 0;
  readonly linkWords: number = SLOT_WORDS;

  blockWords(ordinal: number): number {
    return slotBlockWords(ordinal);
  }
  /** 52 bits hold every length but that of the whole address space. */
  longest(address: number): number {
    return ADDR_LIMIT - PAGE_SIZE - (address & (PAGE_SIZE - 1));
  }

  address(words: Uint32Array, at: number): number {
    return u64(words[at]!, words[at + 1]!);
  }
  length(words: Uint32Array, at: number): number {
    return u64(words[at + LENGTH]!, LENGTH_HI.get(words[at + TOP]!));
  }
  /** The chain's bit is among them, so that a link is never taken for a range. */
  flags(words: Uint32Array, at: number): number {
    return words[at + TOP]! >>> FLAGS.shift;
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
    words[at + TOP] = LENGTH_HI.of(length * 2 ** -32) | FLAGS.of(flags);
    return at + SLOT_WORDS;
  }
  erase(words: Uint32Array, at: number): void {
    words.fill(0, at, at + SLOT_WORDS);
  }

  link(words: Uint32Array): number {
    const at = words.length - SLOT_WORDS;
    return words[at + TOP] === CHAIN_FLAG && words[at + LENGTH] === 0
      ? this.address(words, at)
      : -1;
  }
  setLink(words: Uint32Array, ordinal: number): void {
    const at = words.length - SLOT_WORDS;
    words[at] = ordinal;
    words[at + TOP] = CHAIN_FLAG;
  }
}

export const wideLayout: RangeLayout = new WideLayout();
