/**
 * The scatterlist entry as a structure: page link, offset and length for the CPU, address and length for the
 * device, all in one entry of 24 or 32 bytes. [DMAAPI], [PHYR]
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import { PAGE_SIZE, u64 } from '#emu/base/units.ts';

/** Low bits of a page link, which are free since pages are aligned: the entry is a link; it is the last. */
const CHAIN = new Bits(0);
const END = new Bits(1);
const MARKS = new Bits(1, 0);
/** Word positions in an entry. */
const [OFFSET, LENGTH, DMA_ADDRESS, DMA_LENGTH, DMA_FLAGS] = [2, 3, 4, 6, 7];
const BUS_ADDRESS = new Bits(0);

/** What an entry can be; both bits at once are none of these. */
export const Mark = { Memory: 0, Link: CHAIN.mask, LastMemory: END.mask } as const;

/** Entries of `entryBytes`; `slots` of them fill a page, and its last is the link where the list goes on. */
export class ScatterLayout {
  readonly name: string;
  readonly entryBytes: number;
  readonly entryWords: number;
  readonly slots: number;
  /** Whether the device's length and flags have room of their own. */
  readonly hasDmaLength: boolean;

  constructor(name: string, entryBytes: 24 | 32) {
    this.name = name;
    this.entryBytes = entryBytes;
    this.entryWords = entryBytes / 4;
    this.slots = Math.floor(PAGE_SIZE / entryBytes);
    this.hasDmaLength = entryBytes === 32;
  }

  /** Model: a page is named by its physical address, since there is no page structure. */
  setCpu(words: Uint32Array, at: number, address: number, length: number): void {
    const offset = address & (PAGE_SIZE - 1);
    words[at] = (address - offset) | END.of(END.get(words[at]!));
    words[at + 1] = address * 2 ** -32;
    words[at + OFFSET] = offset;
    words[at + LENGTH] = length;
  }
  address(words: Uint32Array, at: number): number {
    return u64(words[at]! & -PAGE_SIZE, words[at + 1]!) + words[at + OFFSET]!;
  }
  length(words: Uint32Array, at: number): number {
    return words[at + LENGTH]!;
  }

  setDma(words: Uint32Array, at: number, address: number, length: number, isBus: boolean): void {
    words[at + DMA_ADDRESS] = address;
    words[at + DMA_ADDRESS + 1] = address * 2 ** -32;
    if (!this.hasDmaLength) return;
    words[at + DMA_LENGTH] = length;
    words[at + DMA_FLAGS] = isBus ? BUS_ADDRESS.mask : 0;
  }
  dmaAddress(words: Uint32Array, at: number): number {
    return u64(words[at + DMA_ADDRESS]!, words[at + DMA_ADDRESS + 1]!);
  }
  dmaLength(words: Uint32Array, at: number): number {
    return words[at + (this.hasDmaLength ? DMA_LENGTH : LENGTH)]!;
  }
  isBusAddress(words: Uint32Array, at: number): boolean {
    return this.hasDmaLength && BUS_ADDRESS.get(words[at + DMA_FLAGS]!) === 1;
  }

  /** Makes an entry the link to block `ordinal`. Model: blocks are numbered pages. */
  setLink(words: Uint32Array, at: number, ordinal: number): void {
    words[at] = ordinal * PAGE_SIZE + CHAIN.mask;
    words[at + 1] = ordinal * (PAGE_SIZE * 2 ** -32);
  }
  /** Ordinal of the block that a link names, or -1 when the entry is none. */
  link(words: Uint32Array, at: number): number {
    if (this.mark(words, at) !== Mark.Link) return -1;
    return Math.floor(u64(words[at]!, words[at + 1]!) / PAGE_SIZE);
  }
  setEnd(words: Uint32Array, at: number): void {
    words[at] = END.put(words[at]!, 1);
  }
  /** What the entry is marked as. */
  mark(words: Uint32Array, at: number): number {
    return MARKS.get(words[at]!);
  }
}

/** The two sizes that 64-bit systems have. */
export const ScatterLayouts = {
  /** Without room for the device's length and flags: nothing can be joined, no bus address be marked. */
  sg24: new ScatterLayout('sg24', 24),
  sg32: new ScatterLayout('sg32', 32),
} as const;
