/**
 * What a device is programmed with: I/O virtual addresses and bus addresses, mixed, each range flagged.
 * Made by mapping a PhyRangeList, and never to be taken for one. [PHYR]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { type DmaAddr, dmaAddr, offsetBy } from '#emu/base/units.ts';
import { RangeChain } from './range-chain.ts';
import { verifyChain } from './range-chain-check.ts';
import { type Range, RangeCursor } from './range-cursor.ts';
import type { RangeLayout } from './range-layout.ts';

/** One range of addresses that a device may use. */
export type DmaRange = Range<DmaAddr>;

/** Flags of a {@link DmaRangeList}. Bit 31 is the chain's own. */
export const DmaFlag = {
  /** A peer's bus address, routed below the root complex: no IOMMU sees it. */
  BusAddress: 2,
} as const;

const ZERO = dmaAddr(0);

/** A cursor for lists of DMA ranges, to be opened with {@link DmaRangeList.open}. */
export const dmaCursor = (): RangeCursor<DmaAddr> => new RangeCursor(ZERO);

export class DmaRangeList {
  readonly #chain: RangeChain;

  /** @param storage how ranges are stored, or storage shared with a list of equal addresses */
  constructor(storage?: RangeLayout | RangeChain) {
    this.#chain = storage instanceof RangeChain ? storage : new RangeChain(storage);
  }

  /** A list of one range. @throws USAGE */
  static of(address: DmaAddr, sizeBytes: number, flags = 0): DmaRangeList {
    return new DmaRangeList().append(address, sizeBytes, flags);
  }

  /** @throws USAGE when `value` is anything else, such as a list of physical ranges */
  static check(value: unknown, what: string): asserts value is DmaRangeList {
    if (typeof value === 'object' && value !== null && #chain in value) return;
    throw usage(`${what}: expected a DmaRangeList, got ${nameOf(value)}`);
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

  /** Adds addresses at the end; joins them to the last range where they continue that. @throws USAGE */
  append(address: DmaAddr, sizeBytes: number, flags = 0): this {
    this.#chain.append(address, sizeBytes, flags);
    return this;
  }

  /** Adds a range of its own, for lists whose segments must stay as given. @throws USAGE */
  appendApart(address: DmaAddr, sizeBytes: number, flags = 0): this {
    this.#chain.appendApart(address, sizeBytes, flags);
    return this;
  }

  address(index: number): DmaAddr {
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
    cursor: RangeCursor<DmaAddr>,
    offsetBytes = 0,
    sizeBytes: number = this.sizeBytes - offsetBytes,
  ): void {
    cursor.start(this.#chain, offsetBytes, sizeBytes);
  }

  /** A list of its own with part of the bytes. @throws USAGE beyond the list */
  slice(offsetBytes: number, sizeBytes: number): DmaRangeList {
    const cursor = dmaCursor();
    const list = new DmaRangeList(this.layout);
    this.open(cursor, offsetBytes, sizeBytes);
    while (cursor.next()) list.appendApart(cursor.address, cursor.length, cursor.flags);
    return list;
  }

  /** A list of its own in which ranges with equal flags that continue each other are one. */
  coalesced(layout: RangeLayout = this.layout): DmaRangeList {
    const cursor = dmaCursor();
    const list = new DmaRangeList(layout);
    this.open(cursor);
    while (cursor.next()) list.append(cursor.address, cursor.length, cursor.flags);
    return list;
  }

  /** Reads the whole list for signs of overwriting. @throws INVARIANT that says where */
  verify(): void {
    verifyChain(this.#chain);
  }

  *[Symbol.iterator](): Iterator<DmaRange> {
    const cursor = dmaCursor();
    this.open(cursor);
    while (cursor.next()) {
      yield { address: cursor.address, length: cursor.length, flags: cursor.flags };
    }
  }
}

const nameOf = (value: unknown): string =>
  typeof value === 'object' && value !== null
    ? (value.constructor?.name ?? 'object')
    : typeof value;
