/**
 * Allocates spans of pages: free spans in size classes, neighbours joined when freed, so that the cost of a
 * call does not depend on how much is allocated. Addresses only; bytes are the owner's.
 * @module
 */
import { EmuError, invariant } from '#emu/base/errors.ts';
import { alignUp, hex, PAGE_SIZE } from '#emu/base/units.ts';

/** A free span, linked into its size class. */
interface Span {
  base: number;
  sizeBytes: number;
  previous: Span | null;
  next: Span | null;
}

/** Eight classes for each doubling keep the search for a fit within one eighth of the size asked for. */
const STEPS = 8;
const CLASSES = 52 * STEPS;

export class PageAllocator {
  readonly base: number;
  readonly sizeBytes: number;
  readonly #heads: (Span | null)[] = new Array<Span | null>(CLASSES).fill(null);
  readonly #byBase = new Map<number, Span>();
  readonly #byEnd = new Map<number, Span>();
  readonly #taken = new Map<number, number>();
  #usedBytes = 0;

  /** @param base and `sizeBytes` are multiples of 4 KiB */
  constructor(base: number, sizeBytes: number) {
    this.base = base;
    this.sizeBytes = sizeBytes;
    this.#insert(base, sizeBytes);
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }
  /** Spans allocated now. */
  get count(): number {
    return this.#taken.size;
  }

  /**
   * Address of `sizeBytes`, both multiples of 4 KiB, that end at `limit` or before; `alignBytes` is a power of two.
   * A limit that excludes some of the memory costs a look at every free span. @throws NO_MEMORY
   */
  allocate(
    sizeBytes: number,
    alignBytes: number,
    limit: number = Number.POSITIVE_INFINITY,
  ): number {
    const slackBytes = alignBytes > PAGE_SIZE ? alignBytes - PAGE_SIZE : 0;
    const isAnywhere = limit >= this.base + this.sizeBytes;
    const span =
      (isAnywhere ? this.#surelyFits(sizeBytes + slackBytes) : null) ??
      this.#perhapsFits(sizeBytes, alignBytes, limit);
    if (!span) {
      const free = this.sizeBytes - this.#usedBytes;
      const below = isAnywhere ? '' : ` and below ${hex(limit)}`;
      throw new EmuError(
        'NO_MEMORY',
        `${sizeBytes} bytes aligned to ${hex(alignBytes)}${below} do not fit the ${free} bytes free of ${this.sizeBytes}`,
      );
    }
    this.#remove(span);
    const address = alignUp(span.base, alignBytes);
    const end = address + sizeBytes;
    this.#insert(span.base, address - span.base);
    this.#insert(end, span.base + span.sizeBytes - end);
    this.#taken.set(address, sizeBytes);
    this.#usedBytes += sizeBytes;
    return address;
  }

  /** Gives a whole allocation back. @throws INVARIANT for anything that is not one, such as a second free */
  free(address: number, sizeBytes: number): void {
    const taken = this.#taken.get(address);
    invariant(taken !== undefined, `${hex(address)} is freed but not allocated`);
    invariant(
      taken === sizeBytes,
      `${hex(address)} is freed with ${sizeBytes} bytes but has ${taken}`,
    );
    this.#taken.delete(address);
    this.#usedBytes -= sizeBytes;
    let base = address;
    let end = address + sizeBytes;
    const before = this.#byEnd.get(base);
    if (before) {
      this.#remove(before);
      base = before.base;
    }
    const after = this.#byBase.get(end);
    if (after) {
      this.#remove(after);
      end += after.sizeBytes;
    }
    this.#insert(base, end - base);
  }

  /** First span of the first class whose every span is large enough. */
  #surelyFits(sizeBytes: number): Span | null {
    for (let i = classAbove(sizeBytes); i < CLASSES; i++) {
      const head = this.#heads[i];
      if (head) return head;
    }
    return null;
  }

  /** When memory is nearly full, or has a limit: looks at the spans that might fit one by one. */
  #perhapsFits(sizeBytes: number, alignBytes: number, limit: number): Span | null {
    for (let i = classOf(sizeBytes); i < CLASSES; i++) {
      for (let span = this.#heads[i] ?? null; span; span = span.next) {
        const end = alignUp(span.base, alignBytes) + sizeBytes;
        if (end <= span.base + span.sizeBytes && end <= limit) return span;
      }
    }
    return null;
  }

  #insert(base: number, sizeBytes: number): void {
    if (sizeBytes === 0) return;
    const slot = classOf(sizeBytes);
    const next = this.#heads[slot] ?? null;
    const span: Span = { base, sizeBytes, previous: null, next };
    if (next) next.previous = span;
    this.#heads[slot] = span;
    this.#byBase.set(base, span);
    this.#byEnd.set(base + sizeBytes, span);
  }

  #remove(span: Span): void {
    if (span.previous) span.previous.next = span.next;
    else this.#heads[classOf(span.sizeBytes)] = span.next;
    if (span.next) span.next.previous = span.previous;
    this.#byBase.delete(span.base);
    this.#byEnd.delete(span.base + span.sizeBytes);
  }
}

/** Class whose spans are this size or up to one step larger. */
function classOf(sizeBytes: number): number {
  const pages = sizeBytes / PAGE_SIZE;
  if (pages < STEPS) return pages;
  const log = pages < 2 ** 32 ? 31 - Math.clz32(pages) : 63 - Math.clz32(pages / 2 ** 32);
  return (log - 2) * STEPS + Math.floor(pages / 2 ** (log - 3)) - STEPS;
}

/** Least class all of whose spans hold `sizeBytes`. */
function classAbove(sizeBytes: number): number {
  const slot = classOf(sizeBytes);
  return smallestOf(slot) >= sizeBytes ? slot : slot + 1;
}

function smallestOf(slot: number): number {
  if (slot < STEPS) return slot * PAGE_SIZE;
  const log = Math.floor(slot / STEPS) + 2;
  return (STEPS + (slot % STEPS)) * 2 ** (log - 3) * PAGE_SIZE;
}
