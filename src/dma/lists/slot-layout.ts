/**
 * What ways to store ranges in slots of 16 bytes share: 64 bits of address in front, and the last slot of a block as
 * the link to the next. What the other 64 bits mean is the way's own. [PHYR]
 * @module
 */
import { u64 } from '#emu/base/units.ts';
import { FLAGS_LIMIT, SLOT_WORDS } from './range-layout.ts';

/** Words of a slot behind its address. */
export const LENGTH_WORD = 2;
export const TOP_WORD = 3;
/** Top word of a link: the slot holds the ordinal of the next block instead of a range. */
const LINK: number = FLAGS_LIMIT;
/** Slots of the first, the second and every further block, the link's included. 256 slots are one page. */
const BLOCK_SLOTS: readonly number[] = [4, 32, 256];

/** The shared part of a stateless codec: everything but lengths, flags and {@link RangeLayout.put}. */
export class SlotLayout {
  readonly firstAt = 0;
  readonly linkWords: number = SLOT_WORDS;

  /** Short lists take little, long ones pages. */
  blockWords(ordinal: number): number {
    return BLOCK_SLOTS[Math.min(ordinal, BLOCK_SLOTS.length - 1)]! * SLOT_WORDS;
  }

  address(words: Uint32Array, at: number): number {
    return u64(words[at]!, words[at + 1]!);
  }
  after(_words: Uint32Array, at: number): number {
    return at + SLOT_WORDS;
  }
  position(_words: Uint32Array, slot: number): number {
    return slot * SLOT_WORDS;
  }
  erase(words: Uint32Array, at: number): void {
    words.fill(0, at, at + SLOT_WORDS);
  }

  link(words: Uint32Array): number {
    const at = words.length - SLOT_WORDS;
    return words[at + TOP_WORD] === LINK && words[at + LENGTH_WORD] === 0
      ? this.address(words, at)
      : -1;
  }
  setLink(words: Uint32Array, ordinal: number): void {
    const at = words.length - SLOT_WORDS;
    words[at] = ordinal;
    words[at + TOP_WORD] = LINK;
  }
}
