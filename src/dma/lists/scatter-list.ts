/**
 * A scatterlist as drivers use it today: one list that holds memory as the CPU sees it and, once mapped, addresses
 * for the device, in chained pages. For providers that know nothing else, and for comparison. [DMAAPI]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { PAGE_SIZE } from '#emu/base/units.ts';
import type { MappingRecord } from '#emu/dma/mapping-record.ts';
import { blockWords } from './block-words.ts';
import { DmaFlag, DmaRangeList } from './dma-range-list.ts';
import { PhyRangeList, phyCursor } from './phy-range-list.ts';
import { MAX_RANGE_BYTES, type RangeLayout } from './range-layout.ts';
import { ScatterCursor } from './scatter-cursor.ts';
import { type ScatterLayout, ScatterLayouts } from './scatter-layout.ts';

/** One page of entries, or what is needed of the last. */
export interface ScatterBlock {
  readonly ordinal: number;
  readonly words: Uint32Array;
  /** Entries for memory; a link may follow. */
  readonly entries: number;
  next: ScatterBlock | null;
}

export class ScatterList {
  readonly layout: ScatterLayout;
  /** Entries: what the CPU's side has, and has to be given to unmapping. */
  readonly count: number;
  readonly head: ScatterBlock;
  /** Of the provider that has mapped it, or null. */
  mapping: MappingRecord | null = null;
  /** Entries that the device's side has. */
  #mappedCount = 0;
  #storageBytes = 0;

  /** Allocates a list for exactly `count` entries. @throws USAGE */
  constructor(count: number, layout: ScatterLayout = ScatterLayouts.sg32) {
    if (!(Number.isInteger(count) && count > 0)) {
      throw usage(`scatterlist of ${count} entries: expected at least one`);
    }
    this.count = count;
    this.layout = layout;
    this.head = this.#allocate();
  }

  /** A list with an entry for each range; those longer than an entry can say take several. @throws USAGE when empty */
  static from(list: PhyRangeList, layout?: ScatterLayout): ScatterList {
    PhyRangeList.check(list, 'scatterlist');
    const scatter = new ScatterList(entriesFor(list), layout);
    const entries = scatter.cursor();
    const ranges = phyCursor();
    for (list.open(ranges); ranges.next(); ) {
      const end = ranges.address + ranges.length;
      for (let at: number = ranges.address; at < end; at += entries.length) {
        entries.advance();
        entries.setCpu(at, Math.min(end - at, longestEntry(at)));
      }
    }
    return scatter;
  }

  /** @throws USAGE when `value` is anything else */
  static check(value: unknown, what: string): asserts value is ScatterList {
    if (typeof value === 'object' && value !== null && #mappedCount in value) return;
    throw usage(`${what}: expected a ScatterList`);
  }

  /** Entries of the device's side; 0 while not mapped. */
  get mappedCount(): number {
    return this.#mappedCount;
  }
  /** Tells how many entries a provider has filled for the device. @throws USAGE */
  set mappedCount(count: number) {
    if (!(Number.isInteger(count) && count >= 0 && count <= this.count)) {
      throw usage(`${count} mapped entries: expected at most ${this.count}`);
    }
    this.#mappedCount = count;
  }

  /** Bytes of the entries for memory. [PHYR] */
  get metadataBytes(): number {
    return this.count * this.layout.entryBytes;
  }
  /** Bytes of the blocks, links included. */
  get storageBytes(): number {
    return this.#storageBytes;
  }

  /** A cursor in front of the first entry. */
  cursor(): ScatterCursor {
    return new ScatterCursor(this);
  }

  /** Memory as the CPU sees it. @throws INVARIANT for a corrupt list */
  cpuList(layout?: RangeLayout): PhyRangeList {
    const list = new PhyRangeList(layout);
    const entries = this.cursor();
    while (entries.next()) list.appendApart(entries.address, entries.length);
    return list;
  }

  /** What the device is to be programmed with. @throws INVARIANT for a corrupt list */
  dmaList(layout?: RangeLayout): DmaRangeList {
    const list = new DmaRangeList(layout);
    const entries = this.cursor();
    for (let i = 0; i < this.#mappedCount && entries.next(); i++) {
      const flags = entries.isBusAddress ? DmaFlag.BusAddress : 0;
      list.appendApart(entries.dmaAddress, entries.dmaLength, flags);
    }
    return list;
  }

  #allocate(): ScatterBlock {
    const { layout, count } = this;
    let left = count;
    let head: ScatterBlock | null = null;
    let tail: ScatterBlock | null = null;
    for (let ordinal = 0; left > 0; ordinal++) {
      const slots = Math.min(left, layout.slots);
      const entries = left > slots ? slots - 1 : slots;
      const words = blockWords(slots * layout.entryWords);
      const block: ScatterBlock = { ordinal, words, entries, next: null };
      this.#storageBytes += words.byteLength;
      head ??= block;
      if (tail !== null) {
        tail.next = block;
        layout.setLink(tail.words, tail.entries * layout.entryWords, ordinal);
      }
      tail = block;
      left -= entries;
    }
    layout.setEnd(tail!.words, (tail!.entries - 1) * layout.entryWords);
    return head!;
  }
}

function entriesFor(list: PhyRangeList): number {
  const ranges = phyCursor();
  let entries = 0;
  for (list.open(ranges); ranges.next(); ) {
    const end = ranges.address + ranges.length;
    for (let at: number = ranges.address; at < end; at += longestEntry(at)) entries++;
  }
  return entries;
}

/** Longest entry that starts at `address`: 32 bits of length, cut on a page. */
export const longestEntry = (address: number): number =>
  MAX_RANGE_BYTES - (address & (PAGE_SIZE - 1));
