/**
 * Memory as the CPU sees it: host pages or a peer's BAR, as a list of ranges. What a device is programmed
 * with is a DmaRangeList, and neither passes for the other. [PHYR]
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import type { ListHold } from './list-hold.ts';
import { RangeChain } from './range-chain.ts';
import { verifyChain } from './range-chain-check.ts';
import { type Range, RangeCursor } from './range-cursor.ts';
import type { RangeLayout } from './range-layout.ts';

/** One range of CPU-visible memory. */
export type PhyRange = Range<PhysAddr>;

/** Flags of a {@link PhyRangeList}. Bit 31 is the chain's own. */
export const PhyFlag = {
  /** The pages are pinned by whoever made the list, who unpins them. */
  Pinned: 1,
} as const;

const ZERO = physAddr(0);

/** A cursor for lists of physical ranges, to be opened with {@link PhyRangeList.open}. */
export const phyCursor = (): RangeCursor<PhysAddr> => new RangeCursor(ZERO);

export class PhyRangeList {
  /** What keeps the memory, or null where whoever made the list does. Parts of the list have the same. */
  hold: ListHold | null = null;
  #chain: RangeChain;
  #mappings = 0;

  /** @param layout how ranges are stored; 16 bytes each by default */
  constructor(layout?: RangeLayout) {
    this.#chain = new RangeChain(layout);
  }

  /** A list of one range. @throws USAGE */
  static of(address: PhysAddr, sizeBytes: number, flags = 0): PhyRangeList {
    return new PhyRangeList().append(address, sizeBytes, flags);
  }

  /** @throws USAGE when `value` is anything else, such as a list of DMA ranges */
  static check(value: unknown, what: string): asserts value is PhyRangeList {
    if (typeof value === 'object' && value !== null && #chain in value) return;
    throw usage(`${what}: expected a PhyRangeList, got ${nameOf(value)}`);
  }

  /** Ranges. */
  get count(): number {
    return this.#chain.count;
  }
  get sizeBytes(): number {
    return this.#chain.sizeBytes;
  }
  get layout(): RangeLayout {
    return this.#chain.layout;
  }
  /** Bytes of this list's own entries; 0 where it shares those of another. [PHYR] */
  get metadataBytes(): number {
    return this.#chain.metadataBytes;
  }
  /** Bytes of its blocks: entries, links, padding, and room for more. */
  get storageBytes(): number {
    return this.#chain.storageBytes;
  }

  /** Mappings of this very list not yet unmapped. */
  get mappings(): number {
    return this.#mappings;
  }

  /** Adds memory at the end; joins it to the last range where it continues that. @throws USAGE, CHECKER while mapped */
  append(address: PhysAddr, sizeBytes: number, flags = 0): this {
    if (this.#mappings > 0) throw this.#inUse('append to');
    this.#chain.append(address, sizeBytes, flags);
    return this;
  }

  /** Adds a range of its own, for lists whose segments must stay as given. @throws USAGE, CHECKER while mapped */
  appendApart(address: PhysAddr, sizeBytes: number, flags = 0): this {
    if (this.#mappings > 0) throw this.#inUse('append to');
    this.#chain.appendApart(address, sizeBytes, flags);
    return this;
  }

  /** Gives all ranges up; their memory is their owner's affair. @throws CHECKER while mapped */
  free(): void {
    if (this.#mappings > 0) throw this.#inUse('free of');
    this.#chain = new RangeChain(this.layout);
  }

  address(index: number): PhysAddr {
    return offsetBy(ZERO, this.#chain.address(index));
  }
  /** Bytes of range `index`. */
  length(index: number): number {
    return this.#chain.length(index);
  }
  flags(index: number): number {
    return this.#chain.flags(index);
  }

  /** Sets `cursor` before the first range, or before part of the list's bytes. @throws USAGE */
  open(
    cursor: RangeCursor<PhysAddr>,
    offsetBytes = 0,
    sizeBytes: number = this.sizeBytes - offsetBytes,
  ): void {
    cursor.start(this.#chain, offsetBytes, sizeBytes);
  }

  /** A list of its own with part of the bytes. @throws USAGE beyond the list */
  slice(offsetBytes: number, sizeBytes: number): PhyRangeList {
    const cursor = phyCursor();
    const list = new PhyRangeList(this.layout);
    list.hold = this.hold;
    this.open(cursor, offsetBytes, sizeBytes);
    while (cursor.next()) list.appendApart(cursor.address, cursor.length, cursor.flags);
    return list;
  }

  /** A list of its own in which ranges with equal flags that continue each other are one. */
  coalesced(layout: RangeLayout = this.layout): PhyRangeList {
    const cursor = phyCursor();
    const list = new PhyRangeList(layout);
    list.hold = this.hold;
    this.open(cursor);
    while (cursor.next()) list.append(cursor.address, cursor.length, cursor.flags);
    return list;
  }

  /** Reads the whole list for signs of overwriting. @throws INVARIANT that says where */
  verify(): void {
    verifyChain(this.#chain);
  }

  *[Symbol.iterator](): Iterator<PhyRange> {
    const cursor = phyCursor();
    this.open(cursor);
    while (cursor.next()) {
      yield { address: cursor.address, length: cursor.length, flags: cursor.flags };
    }
  }

  /** The storage as it is now, read-only: for mappings that are the identity. */
  share(): RangeChain {
    return this.#chain.alias();
  }

  /** A mapping of the list was made: until it ends the list stays as it is, and its memory where it is. [PHYR] */
  mapped(): void {
    this.#mappings++;
    this.hold?.mapped();
  }

  /** A mapping has ended. @throws CHECKER when {@link hold} knows of none */
  unmapped(): void {
    this.#mappings--;
    this.hold?.unmapped();
  }

  #inUse(what: string): EmuError {
    const mappings = this.#mappings === 1 ? 'a mapping' : `${this.#mappings} mappings`;
    const message = `${what} a physical range list with ${mappings} not yet unmapped`;
    return new EmuError('CHECKER', message, { mappings: this.#mappings, ranges: this.count });
  }
}

const nameOf = (value: unknown): string =>
  typeof value === 'object' && value !== null
    ? (value.constructor?.name ?? 'object')
    : typeof value;
