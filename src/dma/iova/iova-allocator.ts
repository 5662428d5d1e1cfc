/**
 * I/O virtual addresses of one domain: from the top down, aligned to their size, below 4 GiB first, never in a
 * reserved window and never page 0. What was freed is kept for the next request of its size. [DMAAPI]
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
/** Sizes below this are rounded up to a power of two. */
const ROUNDED_UNITS = 32;
/** Sizes up to 2^15 units are kept when freed, so many of each power of two, or 2^16 units of them. */
const KEPT_ORDERS = 16;
const KEPT_EACH = 128;
const KEPT_UNITS = 2 ** KEPT_ORDERS;
const NONE = -1;

export class IovaAllocator {
  readonly #granuleBytes: number;
  readonly #low = new IovaBlocks();
  readonly #high = new IovaBlocks();
  /** Freed ranges, last freed first reused: first unit and size of each, and how many, by order. */
  readonly #keptFirst = new Float64Array(KEPT_ORDERS * KEPT_EACH);
  readonly #keptUnits = new Int32Array(KEPT_ORDERS * KEPT_EACH);
  readonly #kept = new Int32Array(KEPT_ORDERS);
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
    let first = this.#takeKept(units);
    if (first === NONE) first = this.#takeFree(units);
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
    const kept = order < KEPT_ORDERS ? this.#kept[order]! : KEPT_EACH;
    if (kept >= KEPT_EACH || kept >= KEPT_UNITS / units) return this.#release(first, units);
    this.#keptFirst[order * KEPT_EACH + kept] = first;
    this.#keptUnits[order * KEPT_EACH + kept] = units;
    this.#kept[order] = kept + 1;
  }

  #units(sizeBytes: number): number {
    const units = Math.ceil(sizeBytes / this.#granuleBytes);
    return units < ROUNDED_UNITS ? 1 << orderOf(units) : units;
  }

  /** The range freed last in the order of `units`, if it has just that size. */
  #takeKept(units: number): number {
    const order = orderOf(units);
    const kept = order < KEPT_ORDERS ? this.#kept[order]! : 0;
    const last = order * KEPT_EACH + kept - 1;
    if (kept === 0 || this.#keptUnits[last] !== units) return NONE;
    this.#kept[order] = kept - 1;
    return this.#keptFirst[last]!;
  }

  /** The first failure below 4 GiB sends every later allocation above it, for good. [DMAAPI] */
  #takeFree(units: number): number {
    if (!this.#isLowFull) {
      let first = this.#low.take(units);
      if (first === NONE && this.#releaseKept()) first = this.#low.take(units);
      if (first !== NONE) return first;
      this.#isLowFull = true;
    }
    let first = this.#takeAny(units);
    if (first === NONE && this.#releaseKept()) first = this.#takeAny(units);
    return first;
  }

  #takeAny(units: number): number {
    const first = this.#high.take(units);
    return first !== NONE ? first : this.#low.take(units);
  }

  /** Returns what is kept to the free blocks; false when there was nothing. */
  #releaseKept(): boolean {
    let wasKept = false;
    for (let order = 0; order < KEPT_ORDERS; order++) {
      const kept = this.#kept[order]!;
      for (let i = order * KEPT_EACH; i < order * KEPT_EACH + kept; i++) {
        this.#release(this.#keptFirst[i]!, this.#keptUnits[i]!);
        wasKept = true;
      }
      this.#kept[order] = 0;
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
    gaps.push({ base, limit: Math.min(window.base, limit) });
    base = Math.max(base, window.base + window.sizeBytes);
  }
  gaps.push({ base, limit });
  return gaps.filter((gap) => gap.limit > gap.base);
}
