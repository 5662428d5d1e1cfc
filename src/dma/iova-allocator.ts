/**
 * I/O virtual addresses of one domain: from the top down, aligned to their size, below 4 GiB first, never in a
 * reserved window and never page 0. Small sizes that were freed are kept for reuse. [DMAAPI]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { IovaBlocks, orderOf } from './iova-blocks.ts';

/** A part of the address space that is never given out. */
export interface Reserved {
  readonly base: number;
  readonly sizeBytes: number;
}

export interface IovaOptions {
  /** Smallest unit, a power of two of at least 4 KiB. */
  readonly granuleBytes: number;
  /** Exclusive upper bound of addresses. */
  readonly limit: number;
  readonly reserved: readonly Reserved[];
}

const LOW_LIMIT = 2 ** 32;
/** Sizes of 1 to 32 units are rounded up to a power of two and kept when freed. */
const CACHED_ORDERS = 6;
const LARGEST_CACHED = 2 ** (CACHED_ORDERS - 1);
const CACHED_EACH = 256;
const NONE = -1;

export class IovaAllocator {
  readonly #granuleBytes: number;
  readonly #low = new IovaBlocks();
  readonly #high = new IovaBlocks();
  /** Page numbers of freed small blocks, by order, and how many of each. */
  readonly #cache = new Float64Array(CACHED_ORDERS * CACHED_EACH);
  readonly #cached = new Int32Array(CACHED_ORDERS);
  #isLowFull = false;
  #usedBytes = 0;

  constructor({ granuleBytes, limit, reserved }: IovaOptions) {
    const isPowerOfTwo = (granuleBytes & (granuleBytes - 1)) === 0;
    if (!isPowerOfTwo || granuleBytes < 4096 || granuleBytes > 2 ** 30) {
      throw usage(`granule ${granuleBytes}: expected a power of two from 4096 to 2^30`);
    }
    this.#granuleBytes = granuleBytes;
    const gaps = freeGaps(granuleBytes, limit, reserved);
    for (const gap of gaps) {
      const middle = Math.min(Math.max(gap.base, LOW_LIMIT), gap.limit);
      this.#seed(this.#low, gap.base, middle);
      this.#seed(this.#high, middle, gap.limit);
    }
  }

  /** Bytes given out, rounded as allocated. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Finds room for `sizeBytes`, aligned to the next power of two; -1 when there is none. */
  allocate(sizeBytes: number): number {
    const units = this.#units(sizeBytes);
    let first = this.#fromCache(units);
    if (first === NONE) first = this.#fromBlocks(units);
    if (first === NONE && this.#flush()) first = this.#fromBlocks(units);
    if (first === NONE) return NONE;
    this.#usedBytes += units * this.#granuleBytes;
    return first * this.#granuleBytes;
  }

  /** Gives back what {@link allocate} returned for the same size. */
  free(iova: number, sizeBytes: number): void {
    const units = this.#units(sizeBytes);
    const first = iova / this.#granuleBytes;
    this.#usedBytes -= units * this.#granuleBytes;
    const order = orderOf(units);
    const cached = order < CACHED_ORDERS ? this.#cached[order]! : CACHED_EACH;
    if (cached === CACHED_EACH) {
      this.#release(first, units);
    } else {
      this.#cache[order * CACHED_EACH + cached] = first;
      this.#cached[order] = cached + 1;
    }
  }

  #units(sizeBytes: number): number {
    const units = Math.ceil(sizeBytes / this.#granuleBytes);
    return units < LARGEST_CACHED ? 2 ** orderOf(units) : units;
  }

  #fromCache(units: number): number {
    if (units > LARGEST_CACHED) return NONE;
    const order = orderOf(units);
    const cached = this.#cached[order]!;
    if (cached === 0) return NONE;
    this.#cached[order] = cached - 1;
    return this.#cache[order * CACHED_EACH + cached - 1]!;
  }

  /** The first failure below 4 GiB sends every later allocation above it, for good. [DMAAPI] */
  #fromBlocks(units: number): number {
    if (!this.#isLowFull) {
      const first = this.#low.take(units);
      if (first !== NONE) return first;
      this.#isLowFull = true;
    }
    const first = this.#high.take(units);
    return first !== NONE ? first : this.#low.take(units);
  }

  /** Returns kept blocks to the free ones; false when there were none. */
  #flush(): boolean {
    let wasKept = false;
    for (let order = 0; order < CACHED_ORDERS; order++) {
      const cached = this.#cached[order]!;
      for (let i = 0; i < cached; i++) {
        this.#release(this.#cache[order * CACHED_EACH + i]!, 2 ** order);
        wasKept = true;
      }
      this.#cached[order] = 0;
    }
    return wasKept;
  }

  #release(first: number, units: number): void {
    const isLow = first * this.#granuleBytes < LOW_LIMIT;
    (isLow ? this.#low : this.#high).give(first, units);
  }

  #seed(blocks: IovaBlocks, base: number, limit: number): void {
    const first = Math.ceil(base / this.#granuleBytes);
    const end = Math.floor(limit / this.#granuleBytes);
    if (end > first) blocks.give(first, end - first);
  }
}

interface Gap {
  readonly base: number;
  readonly limit: number;
}

/** What `reserved` and page 0 leave below `limit`, in ascending order. */
function freeGaps(
  granuleBytes: number,
  limit: number,
  reserved: readonly Reserved[],
): readonly Gap[] {
  const gaps: Gap[] = [];
  let base = granuleBytes;
  for (const window of [...reserved].sort((a, b) => a.base - b.base)) {
    if (window.base > base) gaps.push({ base, limit: Math.min(window.base, limit) });
    base = Math.max(base, window.base + window.sizeBytes);
  }
  gaps.push({ base, limit });
  return gaps.filter((gap) => gap.limit > gap.base);
}
