/**
 * Which slots of a bounce pool are free. Runs of free slots stand in lists by length and by parity of their first
 * slot, so that finding room costs the same however full or split the pool is. Indices only. [DMAAPI]
 * @module
 */
import { invariant } from '#emu/base/errors.ts';

/** Most slots in one piece; no piece crosses a multiple of so many. [DMAAPI] */
export const MAX_SLOTS = 128;

const NONE = -1;
const LENGTHS = MAX_SLOTS + 1;
const WORDS = Math.ceil(LENGTHS / 32);

export class BounceSlots {
  readonly count: number;
  #used = 0;
  readonly #taken: Uint8Array;
  /** Length of a free run, at its first and at its last slot; stale elsewhere. */
  readonly #runs: Uint8Array;
  /** First run of each list, and neighbours in it, by a run's first slot. */
  readonly #heads: Int32Array = new Int32Array(2 * LENGTHS).fill(NONE);
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** A bit for each length that some run has. */
  readonly #present = new Int32Array(WORDS);

  /** @param count a multiple of {@link MAX_SLOTS} */
  constructor(count: number) {
    invariant(count > 0 && count % MAX_SLOTS === 0, `${count} bounce slots`);
    this.count = count;
    this.#taken = new Uint8Array(count);
    this.#runs = new Uint8Array(count);
    this.#next = new Int32Array(count);
    this.#previous = new Int32Array(count);
    for (let first = 0; first < count; first += MAX_SLOTS) this.#insert(first, MAX_SLOTS);
  }

  get used(): number {
    return this.#used;
  }

  /**
   * Takes `count` slots in a row from the shortest run that has them; their first, or -1. The first is congruent to
   * `phase` modulo `align`, a power of two of at most {@link MAX_SLOTS}; beyond 2 the search looks at runs one by one.
   */
  take(count: number, phase: number, align: number): number {
    for (let length = this.#shortest(count); length !== NONE; length = this.#shortest(length + 1)) {
      const run = this.#runFor(length, count, phase, align);
      if (run === NONE) continue;
      const first = run + ((phase - run) & (align - 1));
      this.#remove(run, length);
      this.#insert(run, first - run);
      this.#insert(first + count, run + length - first - count);
      this.#taken.fill(1, first, first + count);
      this.#used += count;
      return first;
    }
    return NONE;
  }

  /** Gives slots back, of one piece or a part of it. @throws INVARIANT when one of them is free */
  give(first: number, count: number): void {
    for (let slot = first; slot < first + count; slot++) {
      invariant(this.#taken[slot] === 1, `bounce slot ${slot} is given back but free`);
    }
    this.#taken.fill(0, first, first + count);
    this.#used -= count;
    let start = first;
    let end = first + count;
    if (start % MAX_SLOTS !== 0 && this.#taken[start - 1] === 0) {
      const length = this.#runs[start - 1]!;
      start -= length;
      this.#remove(start, length);
    }
    if (end % MAX_SLOTS !== 0 && this.#taken[end] === 0) {
      const length = this.#runs[end]!;
      this.#remove(end, length);
      end += length;
    }
    this.#insert(start, end - start);
  }

  /** Shortest length, from `least` on, that a free run has, or -1. */
  #shortest(least: number): number {
    const from = least >> 5;
    for (let word = from; word < WORDS; word++) {
      const mask = word === from ? -1 << (least & 31) : -1;
      const bits = this.#present[word]! & mask;
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits & -bits);
    }
    return NONE;
  }

  /** A run of that length in which `count` slots fit in phase, or -1. */
  #runFor(length: number, count: number, phase: number, align: number): number {
    const room = length - count;
    for (const parity of [phase & 1, ~phase & 1]) {
      for (
        let run = this.#heads[parity * LENGTHS + length]!;
        run !== NONE;
        run = this.#next[run]!
      ) {
        if (((phase - run) & (align - 1)) <= room) return run;
        // All runs of a list are alike as far as their parity decides.
        if (align <= 2) break;
      }
    }
    return NONE;
  }

  #insert(first: number, length: number): void {
    if (length === 0) return;
    const list = (first & 1) * LENGTHS + length;
    const head = this.#heads[list]!;
    this.#runs[first] = length;
    this.#runs[first + length - 1] = length;
    this.#next[first] = head;
    this.#previous[first] = NONE;
    if (head !== NONE) this.#previous[head] = first;
    this.#heads[list] = first;
    this.#present[length >> 5]! |= 1 << (length & 31);
  }

  #remove(first: number, length: number): void {
    const list = (first & 1) * LENGTHS + length;
    const next = this.#next[first]!;
    const previous = this.#previous[first]!;
    if (next !== NONE) this.#previous[next] = previous;
    if (previous !== NONE) this.#next[previous] = next;
    else this.#heads[list] = next;
    const isLast = this.#heads[length] === NONE && this.#heads[LENGTHS + length] === NONE;
    if (isLast) this.#present[length >> 5]! &= ~(1 << (length & 31));
  }
}
