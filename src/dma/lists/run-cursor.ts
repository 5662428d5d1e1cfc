/**
 * Walks a range list in runs: ranges with equal flags that continue each other are one again, such as the
 * pieces of memory longer than a range can be. [PHYR]
 * @module
 */
import { offsetBy } from '#emu/base/units.ts';
import { RangeCursor } from './range-cursor.ts';

/** A list of either kind, as far as walking it goes. */
export interface WalkableList<A extends number> {
  readonly sizeBytes: number;
  open(cursor: RangeCursor<A>, offsetBytes?: number, sizeBytes?: number): void;
}

/** Reusable. Runs end where flags change; lists whose parts must stay apart give them different flags. */
export class RunCursor<A extends number> {
  /** The current run. Valid after {@link next} returned true. Only declared: see RangeCursor. */
  declare address: A;
  length = 0.5;
  flags = 0;
  readonly #zero: A;
  readonly #ranges: RangeCursor<A>;
  /** Whether the range cursor stands on a range that no run has. */
  #hasMore = false;

  /** @param zero the address 0, which gives the fields their type */
  constructor(zero: A) {
    this.address = offsetBy(zero, 0.5);
    this.#zero = zero;
    this.#ranges = new RangeCursor(zero);
  }

  /** Stands before the first run of a list, or of part of its bytes. @throws USAGE beyond the list */
  open(list: WalkableList<A>, offsetBytes?: number, sizeBytes?: number): void {
    list.open(this.#ranges, offsetBytes, sizeBytes);
    this.#hasMore = this.#ranges.next();
  }

  /** Moves to the next run; false at the end. */
  next(): boolean {
    if (!this.#hasMore) return false;
    const ranges = this.#ranges;
    const { address, flags } = ranges;
    let end = address + ranges.length;
    this.#hasMore = ranges.next();
    while (this.#hasMore && ranges.address === end && ranges.flags === flags) {
      end += ranges.length;
      this.#hasMore = ranges.next();
    }
    this.address = offsetBy(this.#zero, address);
    this.length = end - address;
    this.flags = flags;
    return true;
  }
}
