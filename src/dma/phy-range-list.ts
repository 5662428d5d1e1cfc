/**
 * Memory as the CPU sees it: host pages or a peer's BAR, as a list of ranges. What a device is programmed
 * with is a DmaRangeList, and neither passes for the other. [PHYR]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import { RangeChain } from './range-chain.ts';
import { type Range, RangeCursor } from './range-cursor.ts';

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
  readonly #chain: RangeChain = new RangeChain();

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

  /** Adds memory at the end; joins it to the last range where it continues that. @throws USAGE */
  append(address: PhysAddr, sizeBytes: number, flags = 0): this {
    this.#chain.append(address, sizeBytes, flags);
    return this;
  }

  /** Adds a range of its own, for lists whose segments must stay as given. @throws USAGE */
  appendApart(address: PhysAddr, sizeBytes: number, flags = 0): this {
    this.#chain.appendApart(address, sizeBytes, flags);
    return this;
  }

  address(index: number): PhysAddr {
    const chunk = this.#chain.chunkOf(index);
    return offsetBy(ZERO, chunk.address(index - chunk.firstRange));
  }
  /** Bytes of range `index`. */
  length(index: number): number {
    const chunk = this.#chain.chunkOf(index);
    return chunk.length(index - chunk.firstRange);
  }
  flags(index: number): number {
    const chunk = this.#chain.chunkOf(index);
    return chunk.flags(index - chunk.firstRange);
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
    const list = new PhyRangeList();
    this.open(cursor, offsetBytes, sizeBytes);
    while (cursor.next()) list.appendApart(cursor.address, cursor.length, cursor.flags);
    return list;
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
}

const nameOf = (value: unknown): string =>
  typeof value === 'object' && value !== null
    ? (value.constructor?.name ?? 'object')
    : typeof value;
