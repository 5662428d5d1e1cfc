/**
 * The event queue: a timing wheel for the near future, a heap behind it, over caller-owned slots.
 * It orders slots by (time, priority, order of push) and knows nothing of what an event does.
 * @module
 */
import { FarHeap } from './far-heap.ts';

const NONE = -1;
/** Places in the shared state array: doubles that change per event are never boxed there. */
const BASE = 0;
const FAR = 1;
const LIMIT = 2;

export interface WheelShape {
  /** Slots to start with; see {@link Wheel.grow}. Default 1024. */
  readonly capacity?: number;
  /** Span of one bucket, a power of two. Default 256 ps. */
  readonly bucketPs?: number;
  /** Buckets, a power of two from 1024 to 32768. Default 8192. */
  readonly buckets?: number;
}

export class Wheel {
  /** Time of each slot, picoseconds; set it before {@link push}. Replaced by {@link grow}. */
  times: Float64Array;
  /** Priority of each slot, -128 to 127; lower goes first among equal times. Replaced by {@link grow}. */
  priorities: Int8Array;
  #next: Int32Array;
  readonly #perPs: number;
  readonly #buckets: number;
  readonly #mask: number;
  /** First and last slot of each bucket's list, sorted by (time, priority, push). */
  readonly #head: Int32Array;
  readonly #tail: Int32Array;
  /** One bit a non-empty bucket, and one bit a non-zero word of those. */
  readonly #words: Int32Array;
  readonly #summary: Int32Array;
  /** [number of the current bucket since time 0, bucket of the first far event, limit]. */
  readonly #state = new Float64Array([0, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]);
  /** Index of the current bucket. It moves only when an event is popped. */
  #cursor = 0;
  #near = 0;
  readonly #far = new FarHeap();

  constructor({ capacity = 1024, bucketPs = 256, buckets = 8192 }: WheelShape = {}) {
    this.times = new Float64Array(capacity);
    this.priorities = new Int8Array(capacity);
    this.#next = new Int32Array(capacity);
    this.#perPs = 1 / bucketPs;
    this.#buckets = buckets;
    this.#mask = buckets - 1;
    this.#head = new Int32Array(buckets).fill(NONE);
    this.#tail = new Int32Array(buckets).fill(NONE);
    this.#words = new Int32Array(buckets >> 5);
    this.#summary = new Int32Array(buckets >> 10);
  }

  get count(): number {
    return this.#near + this.#far.count;
  }

  /** Makes room for slots 0 to `capacity` - 1, keeping what is queued. */
  grow(capacity: number): void {
    const { times, priorities } = this;
    const next = this.#next;
    this.times = new Float64Array(capacity);
    this.times.set(times);
    this.priorities = new Int8Array(capacity);
    this.priorities.set(priorities);
    this.#next = new Int32Array(capacity);
    this.#next.set(next);
  }

  /** Last time that {@link popUntil} pops, inclusive. */
  setLimit(timePs: number): void {
    this.#state[LIMIT] = timePs;
  }

  /** Queues `slot` at `times[slot]`, which must not lie before the last popped time. */
  push(slot: number): void {
    const bucket = this.times[slot]! * this.#perPs;
    // Exact for any time below 2^53: ToInt32 keeps the low bits, and the mask needs 15 of them.
    if (bucket - this.#state[BASE]! < this.#buckets) this.#insert(slot, (bucket | 0) & this.#mask);
    else this.#pushFar(slot);
  }

  /** Removes and returns the first slot if its time is within the limit, else returns -1. */
  popUntil(): number {
    let index = this.#cursor;
    let slot = this.#head[index]!;
    if (slot < 0) {
      if (this.#near === 0 && !this.#jump()) return NONE;
      index = this.#find();
      slot = this.#head[index]!;
    }
    if (this.times[slot]! > this.#state[LIMIT]!) return NONE;
    const ahead = (index - this.#cursor) & this.#mask;
    if (ahead !== 0) this.#moveBy(ahead, index);
    const next = this.#next[slot]!;
    this.#head[index] = next;
    this.#near--;
    if (next < 0) this.#empty(index);
    return slot;
  }

  /** The first slot, or -1; changes nothing. */
  peek(): number {
    return this.#near === 0 ? this.#far.firstSlot : this.#head[this.#find()]!;
  }

  #insert(slot: number, index: number): void {
    const last = this.#tail[index]!;
    this.#near++;
    if (last < 0) {
      this.#next[slot] = NONE;
      this.#head[index] = slot;
      this.#tail[index] = slot;
      this.#words[index >> 5]! |= 1 << (index & 31);
      this.#summary[index >> 10]! |= 1 << ((index >> 5) & 31);
    } else if (this.times[last]! < this.times[slot]! || !this.#before(slot, last)) {
      this.#next[last] = slot;
      this.#next[slot] = NONE;
      this.#tail[index] = slot;
    } else {
      this.#insertInside(slot, index);
    }
  }

  /** Inserts before the first slot that comes later; the caller knows that there is one. */
  #insertInside(slot: number, index: number): void {
    const times = this.times;
    const next = this.#next;
    const time = times[slot]!;
    let after = this.#head[index]!;
    if (time < times[after]! || this.#before(slot, after)) {
      next[slot] = after;
      this.#head[index] = slot;
      return;
    }
    let before = after;
    do {
      before = after;
      after = next[after]!;
    } while (times[after]! < time || !this.#before(slot, after));
    next[before] = slot;
    next[slot] = after;
  }

  /** Whether `slot`, pushed now, goes before the queued `other`. */
  #before(slot: number, other: number): boolean {
    const time = this.times[slot]!;
    const otherTime = this.times[other]!;
    if (time !== otherTime) return time < otherTime;
    return this.priorities[slot]! < this.priorities[other]!;
  }

  #pushFar(slot: number): void {
    this.#far.push(slot, this.times[slot]!, this.priorities[slot]!);
    this.#state[FAR] = this.#far.firstTime * this.#perPs;
  }

  #empty(index: number): void {
    this.#tail[index] = NONE;
    const word = index >> 5;
    const bits = this.#words[word]! & ~(1 << (index & 31));
    this.#words[word] = bits;
    if (bits === 0) this.#summary[word >> 5]! &= ~(1 << (word & 31));
  }

  /** Moves an empty wheel to the first far event if that is within the limit. */
  #jump(): boolean {
    if (this.#far.count === 0 || this.#far.firstTime > this.#state[LIMIT]!) return false;
    const base = Math.floor(this.#state[FAR]!);
    this.#state[BASE] = base;
    this.#cursor = (base | 0) & this.#mask;
    this.#refill();
    return true;
  }

  #moveBy(ahead: number, index: number): void {
    const base = this.#state[BASE]! + ahead;
    this.#state[BASE] = base;
    this.#cursor = index;
    if (this.#state[FAR]! - base < this.#buckets) this.#refill();
  }

  /** First non-empty bucket at or after the cursor, round the wheel. One must exist. */
  #find(): number {
    let word = this.#cursor >> 5;
    let bits = this.#words[word]! & (-1 << (this.#cursor & 31));
    if (bits === 0) {
      word = this.#findWord(word);
      bits = this.#words[word]!;
    }
    return (word << 5) + lowestBit(bits);
  }

  /** First non-zero word after `word`, round the wheel, `word` itself last. */
  #findWord(word: number): number {
    const summary = this.#summary;
    let group = word >> 5;
    const shift = (word & 31) + 1;
    let bits = shift === 32 ? 0 : summary[group]! & (-1 << shift);
    while (bits === 0) {
      group = group + 1 === summary.length ? 0 : group + 1;
      bits = summary[group]!;
    }
    return (group << 5) + lowestBit(bits);
  }

  /** Takes from the heap what the horizon now covers, in order. */
  #refill(): void {
    const end = this.#state[BASE]! + this.#buckets;
    while (this.#far.count > 0) {
      const bucket = this.#far.firstTime * this.#perPs;
      if (bucket >= end) break;
      this.#insert(this.#far.pop(), (bucket | 0) & this.#mask);
    }
    this.#state[FAR] = this.#far.firstTime * this.#perPs;
  }
}

const lowestBit = (bits: number): number => 31 - Math.clz32(bits & -bits);
