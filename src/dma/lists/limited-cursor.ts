/**
 * Walks a range list in segments that hardware can take: the fewest that cover the list's bytes and keep the
 * limits. Nothing is stored or allocated; the list stays as it is. [PHYR], [DMAAPI]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { ADDR_LIMIT, alignDown, hex, offsetBy } from '#emu/base/units.ts';
import type { MapRefusal } from '#emu/dma/mapping.ts';
import { RunCursor, type WalkableList } from './run-cursor.ts';
import { type SegmentLimits, segmentLimits } from './segment-limits.ts';

const WORD = 2 ** 32;

/** Reusable for lists of one kind and one device's limits. */
export class LimitedCursor<A extends number> {
  /** The current segment. Valid after {@link next} returned true. Only declared: see RangeCursor. */
  declare address: A;
  length = 0.5;
  flags = 0;
  readonly #zero: A;
  readonly #runs: RunCursor<A>;
  readonly #longest: number;
  readonly #boundary: number;
  readonly #alignMask: number;
  /** What is left of the current run. */
  #at = 0.5;
  #left = 0.5;

  /**
   * @param zero the address 0 of the lists' kind, which gives the fields their type
   * @throws USAGE for limits that no segment can keep
   */
  constructor(zero: A, limits: Partial<SegmentLimits>) {
    const { maxSegmentBytes, boundaryMask, minAlignBytes } = segmentLimits(limits);
    this.address = offsetBy(zero, 0.5);
    this.#zero = zero;
    this.#runs = new RunCursor(zero);
    this.#longest = alignDown(maxSegmentBytes, minAlignBytes);
    this.#boundary = boundaryMask + 1;
    this.#alignMask = minAlignBytes - 1;
  }

  /** Stands before the first segment of a list, or of part of its bytes. @throws USAGE beyond the list */
  open(list: WalkableList<A>, offsetBytes?: number, sizeBytes?: number): void {
    this.#runs.open(list, offsetBytes, sizeBytes);
    this.#left = 0;
  }

  /** Moves to the next segment; false at the end. @throws USAGE for a range that no segments can cover */
  next(): boolean {
    if (this.#left === 0 && !this.#nextRun()) return false;
    const at = this.#at;
    const length = Math.min(this.#left, this.#longest, this.#toBoundary(at));
    this.address = offsetBy(this.#zero, at);
    this.length = length;
    this.#at = at + length;
    this.#left -= length;
    return true;
  }

  /** Segments of a list. */
  count(list: WalkableList<A>): number {
    let count = 0;
    for (this.open(list); this.next(); ) count++;
    return count;
  }

  /** Why no segments can cover a list, or null: to be asked for lists of unknown alignment. */
  refusal(list: WalkableList<A>): MapRefusal | null {
    const runs = this.#runs;
    for (runs.open(list); runs.next(); ) {
      if (!this.#isAligned()) return { refused: 'EINVAL', reason: this.#misalignment() };
    }
    return null;
  }

  #nextRun(): boolean {
    const runs = this.#runs;
    if (!runs.next()) return false;
    if (!this.#isAligned()) throw usage(this.#misalignment());
    this.#at = runs.address;
    this.#left = runs.length;
    this.flags = runs.flags;
    return true;
  }

  #isAligned(): boolean {
    const { address, length } = this.#runs;
    return (address & this.#alignMask) === 0 && (length & this.#alignMask) === 0;
  }

  #misalignment(): string {
    const { address, length } = this.#runs;
    const step = this.#alignMask + 1;
    return `${hex(length)} bytes at ${hex(address)}: expected multiples of ${step}`;
  }

  #toBoundary(at: number): number {
    const boundary = this.#boundary;
    // Up to 2^32 the low half decides, and `&` costs a tenth of a division.
    if (boundary <= WORD) return boundary - ((at & (boundary - 1)) >>> 0);
    return boundary === ADDR_LIMIT ? boundary : boundary - (at - alignDown(at, boundary));
  }
}
