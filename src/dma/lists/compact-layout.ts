/**
 * Ranges of 8, 16 or 24 bytes, each as short as its values allow, in blocks of 512 bytes: 8 bytes of link, then
 * 63, 31 or 21 entries. For lists that live long; a range is found by walking its block. [PHYR]
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import { ADDR_LIMIT, PAGE_SIZE, u64 } from '#emu/base/units.ts';
import { FLAGS_LIMIT, PROVIDER_INDEX, type RangeLayout } from './range-layout.ts';

const BLOCK_WORDS = 128;
/** The smallest entry, the unit of all. */
const UNIT_WORDS = 2;
/** Second word of every entry: its size in units, where 0 fills up the end of a block, and its low flags. */
const UNITS = new Bits(1, 0);
const LOW_FLAGS = new Bits(3, 2);
/** 8 bytes: a page number, and the length beside UNITS and LOW_FLAGS. */
const SHORT_LENGTH = new Bits(31, 4);
/** 16 bytes: 36 bits of length and the provider, then the address. */
const MIDDLE_LENGTH_HI = new Bits(7, 4);
const MIDDLE_PROVIDER = new Bits(31, 8);
/** 24 bytes: 60 bits of length, the address, the provider in a word of its own and all other flags in another. */
const LONG_LENGTH_HI = new Bits(31, 4);
const LONG_PROVIDER = 4;
const LONG_EXTRA = 5;

const SHORT_LENGTH_LIMIT = 2 ** 28;
const SHORT_ADDRESS_LIMIT = 2 ** 44;
const MIDDLE_LENGTH_LIMIT = 2 ** 36;
/** Flags that 16 bytes and, without the provider, 8 bytes have bits for. */
const LOW = LOW_FLAGS.max;
const EXTRA = ~(LOW | PROVIDER_INDEX.mask) & (FLAGS_LIMIT - 1);

/** Units of the shortest entry that holds a range. */
function unitsFor(address: number, length: number, flags: number): number {
  if (
    flags <= LOW &&
    length < SHORT_LENGTH_LIMIT &&
    (address & (PAGE_SIZE - 1)) === 0 &&
    address < SHORT_ADDRESS_LIMIT
  ) {
    return 1;
  }
  return (flags & EXTRA) === 0 && length < MIDDLE_LENGTH_LIMIT ? 2 : 3;
}

class CompactLayout implements RangeLayout {
  readonly name = 'compact8';
  readonly flagsLimit = FLAGS_LIMIT;
  readonly firstAt = UNIT_WORDS;
  /** The link stands in front. */
  readonly linkWords = 0;

  blockWords(): number {
    return BLOCK_WORDS;
  }
  longest(): number {
    return ADDR_LIMIT;
  }

  address(words: Uint32Array, at: number): number {
    return UNITS.get(words[at + 1]!) === 1
      ? words[at]! * PAGE_SIZE
      : u64(words[at + 2]!, words[at + 3]!);
  }
  length(words: Uint32Array, at: number): number {
    const head = words[at + 1]!;
    const units = UNITS.get(head);
    if (units === 1) return SHORT_LENGTH.get(head);
    if (units === 0) return 0;
    return u64(words[at]!, (units === 2 ? MIDDLE_LENGTH_HI : LONG_LENGTH_HI).get(head));
  }
  flags(words: Uint32Array, at: number): number {
    const head = words[at + 1]!;
    const low = LOW_FLAGS.get(head);
    const units = UNITS.get(head);
    if (units === 1) return low;
    if (units === 2) return low | PROVIDER_INDEX.of(MIDDLE_PROVIDER.get(head));
    return (low | PROVIDER_INDEX.of(words[at + LONG_PROVIDER]!) | words[at + LONG_EXTRA]!) >>> 0;
  }
  after(words: Uint32Array, at: number): number {
    return at + UNITS.get(words[at + 1]!) * UNIT_WORDS;
  }
  position(words: Uint32Array, slot: number): number {
    let at = UNIT_WORDS;
    for (let i = 0; i < slot && at < BLOCK_WORDS; i++) at = this.after(words, at);
    return at;
  }

  put(
    words: Uint32Array,
    at: number,
    limit: number,
    address: number,
    length: number,
    flags: number,
  ): number {
    const units = unitsFor(address, length, flags);
    const end = at + units * UNIT_WORDS;
    if (end > limit) return -1;
    const head = UNITS.of(units) | LOW_FLAGS.of(flags);
    if (units === 1) {
      words[at] = address / PAGE_SIZE;
      words[at + 1] = head | SHORT_LENGTH.of(length);
      return end;
    }
    const lengthHi = length * 2 ** -32;
    const provider = PROVIDER_INDEX.get(flags);
    words[at] = length;
    words[at + 2] = address;
    words[at + 3] = address * 2 ** -32;
    if (units === 2) {
      words[at + 1] = head | MIDDLE_LENGTH_HI.of(lengthHi) | MIDDLE_PROVIDER.of(provider);
    } else {
      words[at + 1] = head | LONG_LENGTH_HI.of(lengthHi);
      words[at + LONG_PROVIDER] = provider;
      words[at + LONG_EXTRA] = flags & EXTRA;
    }
    return end;
  }
  erase(words: Uint32Array, at: number): void {
    words.fill(0, at);
  }

  link(words: Uint32Array): number {
    return words[1] === 0 && words[0] !== 0 ? words[0]! : -1;
  }
  setLink(words: Uint32Array, ordinal: number): void {
    words[0] = ordinal;
  }
}

export const compactLayout: RangeLayout = new CompactLayout();
