/**
 * Events beyond the wheel's horizon: a binary heap of slots by (time, priority, order of arrival).
 * It keeps its own copies of the keys and is off the hot path.
 * @module
 */

/** Weight of one priority step; arrivals are counted below it, so far beyond any run. */
const PRIORITY_STEP = 2 ** 45;

export class FarHeap {
  #times = new Float64Array(256);
  /** Priority and arrival in one number: the tie-break among equal times. */
  #ranks = new Float64Array(256);
  #slots = new Int32Array(256);
  #count = 0;
  #arrivals = 0;

  get count(): number {
    return this.#count;
  }
  /** Slot of the first event, or -1. */
  get firstSlot(): number {
    return this.#count === 0 ? -1 : this.#slots[0]!;
  }
  /** Time of the first event, or Infinity. */
  get firstTime(): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : this.#times[0]!;
  }

  push(slot: number, time: number, priority: number): void {
    if (this.#count === this.#slots.length) this.#grow();
    const rank = priority * PRIORITY_STEP + this.#arrivals++;
    let at = this.#count++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(time, rank, parent)) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#put(at, time, rank, slot);
  }

  /** Removes the first event and returns its slot, or -1. */
  pop(): number {
    if (this.#count === 0) return -1;
    const first = this.#slots[0]!;
    const last = --this.#count;
    if (last > 0) this.#sink(this.#times[last]!, this.#ranks[last]!, this.#slots[last]!);
    return first;
  }

  #sink(time: number, rank: number, slot: number): void {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#count) break;
      const right = child + 1;
      if (right < this.#count && this.#before(this.#times[right]!, this.#ranks[right]!, child)) {
        child = right;
      }
      if (this.#before(time, rank, child)) break;
      this.#move(child, at);
      at = child;
    }
    this.#put(at, time, rank, slot);
  }

  #before(time: number, rank: number, at: number): boolean {
    const other = this.#times[at]!;
    return time < other || (time === other && rank < this.#ranks[at]!);
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#times[from]!, this.#ranks[from]!, this.#slots[from]!);
  }

  #put(at: number, time: number, rank: number, slot: number): void {
    this.#times[at] = time;
    this.#ranks[at] = rank;
    this.#slots[at] = slot;
  }

  #grow(): void {
    const capacity = 2 * this.#slots.length;
    const [times, ranks, slots] = [this.#times, this.#ranks, this.#slots];
    this.#times = new Float64Array(capacity);
    this.#times.set(times);
    this.#ranks = new Float64Array(capacity);
    this.#ranks.set(ranks);
    this.#slots = new Int32Array(capacity);
    this.#slots.set(slots);
  }
}
