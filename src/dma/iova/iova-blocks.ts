/**
 * Free I/O virtual page numbers as blocks of power-of-two size and alignment, split from the top and joined
 * when freed (a buddy system). Each operation costs a bounded number of steps, however many blocks are in use.
 * @module
 */

import { PageIndex } from '#emu/dma/iommu-driver/page-index.ts';

/** Orders 0 to 40: all of 2^52 bytes in 4 KiB pages. */
const ORDERS = 41;
const NONE = -1;
/** Pages of a block of each order: a power computed costs ten times as much. */
const PAGES: Float64Array = Float64Array.from({ length: ORDERS + 1 }, (_, order) => 2 ** order);
/** Orders up to here are found by counting bits. */
const BITS = 31;

export class IovaBlocks {
  /** Per order: the free block put in last, or NONE. */
  readonly #heads: Int32Array = new Int32Array(ORDERS).fill(NONE);
  /** By node: first page number, order, neighbours in its list. */
  #pages = new Float64Array(64);
  #orders = new Uint8Array(64);
  #nexts = new Int32Array(64);
  #prevs = new Int32Array(64);
  #nodes = 0;
  #freeNode = NONE;
  /** Node of each free block, by its first page number. */
  readonly #nodeOf = new PageIndex();

  /** Free blocks. */
  get count(): number {
    return this.#nodeOf.count;
  }

  /**
   * Takes `pages` from the upper end, aligned to the next power of two at least as large.
   * @returns the first page number, or -1 when no free block is large enough
   */
  take(pages: number): number {
    const order = orderOf(pages);
    const node = this.#highest(order);
    if (node === NONE) return NONE;
    const first = this.#pages[node]!;
    let level = this.#orders[node]!;
    this.#remove(node);
    let low = first;
    while (level > order) {
      level--;
      this.#insert(low, level);
      low += PAGES[level]!;
    }
    const unused = PAGES[order]! - pages;
    if (unused > 0) this.give(low + pages, unused);
    return low;
  }

  /** Frees `pages` from `first` on, in the largest aligned blocks that they hold. */
  give(first: number, pages: number): void {
    const limit = first + pages;
    for (let at = first; at < limit; ) {
      let order = 0;
      while (isMultiple(at, PAGES[order + 1]!) && at + PAGES[order + 1]! <= limit) order++;
      this.#join(at, order);
      at += PAGES[order]!;
    }
  }

  /** Puts a block in, joined with its other half as long as that is free too. */
  #join(first: number, order: number): void {
    let low = first;
    let level = order;
    for (; level < ORDERS - 1; level++) {
      const size = PAGES[level]!;
      const buddy = isMultiple(low, 2 * size) ? low + size : low - size;
      const node = this.#nodeOf.get(buddy);
      if (node === NONE || this.#orders[node] !== level) break;
      this.#remove(node);
      low = Math.min(low, buddy);
    }
    this.#insert(low, level);
  }

  /** Of the blocks put in last in each sufficient order, the one at the highest address. */
  #highest(order: number): number {
    let best = NONE;
    let bestPage = -1;
    for (let level = order; level < ORDERS; level++) {
      const node = this.#heads[level]!;
      if (node !== NONE && this.#pages[node]! > bestPage) {
        best = node;
        bestPage = this.#pages[node]!;
      }
    }
    return best;
  }

  #insert(first: number, order: number): void {
    const node = this.#newNode();
    const head = this.#heads[order]!;
    this.#pages[node] = first;
    this.#orders[node] = order;
    this.#prevs[node] = NONE;
    this.#nexts[node] = head;
    if (head !== NONE) this.#prevs[head] = node;
    this.#heads[order] = node;
    this.#nodeOf.set(first, node);
  }

  #remove(node: number): void {
    const next = this.#nexts[node]!;
    const prev = this.#prevs[node]!;
    if (prev === NONE) this.#heads[this.#orders[node]!] = next;
    else this.#nexts[prev] = next;
    if (next !== NONE) this.#prevs[next] = prev;
    this.#nodeOf.delete(this.#pages[node]!);
    this.#nexts[node] = this.#freeNode;
    this.#freeNode = node;
  }

  #newNode(): number {
    const reused = this.#freeNode;
    if (reused !== NONE) {
      this.#freeNode = this.#nexts[reused]!;
      return reused;
    }
    if (this.#nodes === this.#pages.length) this.#grow();
    return this.#nodes++;
  }

  #grow(): void {
    const size = 2 * this.#nodes;
    const pages = new Float64Array(size);
    const orders = new Uint8Array(size);
    const nexts = new Int32Array(size);
    const prevs = new Int32Array(size);
    pages.set(this.#pages);
    orders.set(this.#orders);
    nexts.set(this.#nexts);
    prevs.set(this.#prevs);
    this.#pages = pages;
    this.#orders = orders;
    this.#nexts = nexts;
    this.#prevs = prevs;
  }
}

/** Exponent of the smallest power of two that is at least `pages`. */
export function orderOf(pages: number): number {
  if (pages <= PAGES[BITS]!) return 32 - Math.clz32(pages - 1);
  let order = BITS;
  while (PAGES[order]! < pages) order++;
  return order;
}

const isMultiple = (n: number, size: number): boolean => Math.floor(n / size) * size === n;
