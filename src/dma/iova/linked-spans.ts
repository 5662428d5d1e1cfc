/**
 * Which parts of an address range are linked to memory, which of them have been synced, and by which call: disjoint spans
 * in ascending order. Plain bookkeeping of IovaState. [DMAAPI]
 * @module
 */

import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { Direction } from '#emu/dma/mapping.ts';
import type { BouncedRanges } from '#emu/dma/providers/bounced-ranges.ts';

/** One call that linked memory. */
export interface Link {
  readonly direction: Direction;
  readonly attrs: number;
  /** The list that the memory is of, or null. */
  readonly source: PhyRangeList | null;
  /** Bytes of its granules that are still linked. */
  left: number;
}

export interface Span {
  readonly from: number;
  readonly to: number;
  readonly isSynced: boolean;
  readonly link: Link;
  /** What the device has a copy of, all of which is in one granule; or null. */
  readonly copy: BouncedRanges | null;
}

export class LinkedSpans {
  #spans: Span[] = [];

  /** Spans; neighbours are not joined. */
  get count(): number {
    return this.#spans.length;
  }
  /** End of the last span, or 0. */
  get end(): number {
    return this.#spans.at(-1)?.to ?? 0;
  }
  get isAllSynced(): boolean {
    return this.#spans.every((span) => span.isSynced);
  }

  /** Whether any of [from, to) is linked. */
  touches(from: number, to: number): boolean {
    return from < this.end && this.within(from, to).length > 0;
  }

  /** Spans with a part in [from, to). */
  within(from: number, to: number): readonly Span[] {
    return this.#spans.filter((span) => span.from < to && from < span.to);
  }

  /** Whether all of [from, to) is linked. */
  covers(from: number, to: number): boolean {
    let at = from;
    for (const span of this.#spans) if (span.from <= at && at < span.to) at = span.to;
    return at >= to;
  }

  /** Whether all of [from, to), which is linked, has been synced. */
  isSynced(from: number, to: number): boolean {
    return this.#spans.every((span) => span.isSynced || span.to <= from || span.from >= to);
  }

  /** Adds [from, to), which nothing touches. */
  add(from: number, to: number, link: Link, copy: BouncedRanges | null): void {
    this.#insert({ from, to, isSynced: false, link, copy });
  }

  /** Marks the linked parts of [from, to) as synced. */
  sync(from: number, to: number): void {
    for (const span of this.remove(from, to)) this.#insert({ ...span, isSynced: true });
  }

  /** Takes the linked parts of [from, to) out; what is taken. */
  remove(from: number, to: number): readonly Span[] {
    const taken: Span[] = [];
    const kept: Span[] = [];
    for (const span of this.#spans) {
      const start = Math.max(span.from, from);
      const end = Math.min(span.to, to);
      if (start >= end) {
        kept.push(span);
        continue;
      }
      taken.push({ ...span, from: start, to: end });
      if (span.from < start) kept.push({ ...span, to: start });
      if (end < span.to) kept.push({ ...span, from: end });
    }
    this.#spans = kept;
    return taken;
  }

  #insert(span: Span): void {
    if (span.from >= this.end) {
      this.#spans.push(span);
      return;
    }
    const at = this.#spans.findIndex((each) => each.from >= span.to);
    this.#spans.splice(at, 0, span);
  }
}
