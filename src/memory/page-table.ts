/**
 * Which arena frame holds each 4 KiB page of a sparse memory: a radix of Int32Arrays, at most three loads a lookup.
 * It neither allocates frames nor touches their bytes.
 * @module
 */
import { PAGE_SIZE } from '#emu/base/units.ts';

/** A leaf maps 1024 pages (4 MiB), a region 8192 leaves (32 GiB), the top 2^17 regions (2^52 bytes). */
const LEAF_PAGES = 1024;
const LEAF_BITS = 10;
const REGION_LEAVES = 8192;
const REGION_MASK = REGION_LEAVES - 1;
const LEAF_BYTES = LEAF_PAGES * PAGE_SIZE;
const REGION_BYTES = REGION_LEAVES * LEAF_BYTES;
const PER_PAGE: number = 1 / PAGE_SIZE;
const PER_REGION: number = 1 / REGION_BYTES;

/** Stands for every region without a page: all its leaves are number 0, which is all holes. */
const EMPTY_REGION = new Int32Array(REGION_LEAVES);

export class PageTable {
  readonly #regions: Int32Array[] = [];
  /** All leaves one behind the other, number 0 the empty one; an entry is a frame number, 0 a hole. */
  #leaves = new Int32Array(4 * LEAF_PAGES);
  #leafCount = 1;

  constructor(sizeBytes: number) {
    const regions = Math.ceil(sizeBytes * PER_REGION);
    for (let i = 0; i < regions; i++) this.#regions.push(EMPTY_REGION);
  }

  /** Frame number of the page that holds `address`, 0 for a hole. The address must be in range. */
  get(address: number): number {
    // ToInt32 keeps the low bits of larger quotients, and the masks below need 23 of them.
    const page = (address * PER_PAGE) | 0;
    const region = this.#regions[(address * PER_REGION) | 0]!;
    const leaf = region[(page >> LEAF_BITS) & REGION_MASK]!;
    return this.#leaves[leaf * LEAF_PAGES + (page & (LEAF_PAGES - 1))]!;
  }

  /** Maps the page that holds `address` to a frame, or to a hole with 0. */
  set(address: number, frame: number): void {
    const page = (address * PER_PAGE) | 0;
    const leaf = this.#leafFor(address, (page >> LEAF_BITS) & REGION_MASK);
    this.#leaves[leaf * LEAF_PAGES + (page & (LEAF_PAGES - 1))] = frame;
  }

  /** The next page boundary after `address` where something may be mapped: skips empty leaves and regions. */
  next(address: number): number {
    const region = this.#regions[(address * PER_REGION) | 0]!;
    if (region === EMPTY_REGION) return after(address, REGION_BYTES);
    const leaf = region[((address * PER_PAGE) >> LEAF_BITS) & REGION_MASK]!;
    return after(address, leaf === 0 ? LEAF_BYTES : PAGE_SIZE);
  }

  /** Makes every page a hole. */
  clear(): void {
    this.#regions.fill(EMPTY_REGION);
    this.#leaves = new Int32Array(4 * LEAF_PAGES);
    this.#leafCount = 1;
  }

  #leafFor(address: number, index: number): number {
    const at = (address * PER_REGION) | 0;
    let region = this.#regions[at]!;
    if (region === EMPTY_REGION) {
      region = new Int32Array(REGION_LEAVES);
      this.#regions[at] = region;
    }
    const known = region[index]!;
    if (known !== 0) return known;
    const leaf = this.#newLeaf();
    region[index] = leaf;
    return leaf;
  }

  #newLeaf(): number {
    const leaf = this.#leafCount++;
    if ((leaf + 1) * LEAF_PAGES > this.#leaves.length) {
      const leaves = new Int32Array(2 * this.#leaves.length);
      leaves.set(this.#leaves);
      this.#leaves = leaves;
    }
    return leaf;
  }
}

/** The first multiple of `step` beyond `address`. */
const after = (address: number, step: number): number => (Math.floor(address / step) + 1) * step;
