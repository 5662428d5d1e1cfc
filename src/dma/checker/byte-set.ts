/**
 * A set of bytes of one list, as disjoint spans in order: which of them the CPU owns, or are unmapped already.
 * A pure structure; costs as much as it has spans.
 * @module
 */

/** Spans are from `start` to `end`, exclusive; positive, and integers. */
export class ByteSet {
  /** Bounds in ascending order: even positions are starts, odd ones ends. */
  #bounds: number[] = [];
  #sizeBytes = 0;

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  add(start: number, end: number): void {
    this.#replace(start, end, true);
  }

  remove(start: number, end: number): void {
    this.#replace(start, end, false);
  }

  /** Whether every byte of the span is in the set. */
  covers(start: number, end: number): boolean {
    const at = this.#boundsUpTo(start);
    return at % 2 === 1 && end <= this.#bounds[at]!;
  }

  /** Whether any byte of the span is in the set. */
  overlaps(start: number, end: number): boolean {
    const at = this.#boundsUpTo(start);
    return at % 2 === 1 || (at < this.#bounds.length && this.#bounds[at]! < end);
  }

  /** Visits the parts of a span that are not in the set, in order. The set must not change meanwhile. */
  eachGap(start: number, end: number, visit: (start: number, end: number) => void): void {
    const bounds = this.#bounds;
    let at = this.#boundsUpTo(start);
    let from = start;
    if (at % 2 === 1) from = bounds[at++]!;
    while (from < end) {
      visit(from, Math.min(end, bounds[at] ?? end));
      from = bounds[at + 1] ?? end;
      at += 2;
    }
  }

  /** Puts a span in or takes it out: its bounds take the place of those in between. */
  #replace(start: number, end: number, isMember: boolean): void {
    const first = this.#boundsBelow(start);
    const last = this.#boundsUpTo(end);
    const member = Number(isMember);
    const put: number[] = [];
    if (first % 2 !== member) put.push(start);
    if (last % 2 !== member) put.push(end);
    const kept = this.#bounds;
    this.#bounds = [...kept.slice(0, first), ...put, ...kept.slice(last)];
    let size = 0;
    for (let i = 0; i < this.#bounds.length; i += 2)
      size += this.#bounds[i + 1]! - this.#bounds[i]!;
    this.#sizeBytes = size;
  }

  /** Bounds at or below `at`; odd when the byte at `at` is in the set. */
  #boundsUpTo(at: number): number {
    let count = 0;
    while (count < this.#bounds.length && this.#bounds[count]! <= at) count++;
    return count;
  }

  /** Bounds below `at`; odd when the byte before it is in the set. */
  #boundsBelow(at: number): number {
    let count = 0;
    while (count < this.#bounds.length && this.#bounds[count]! < at) count++;
    return count;
  }
}
