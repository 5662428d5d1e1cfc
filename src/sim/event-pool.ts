/**
 * The pooled events of a kernel: slots, each with a target, an opcode and an argument.
 * A slot is free again before its event is handled, so a handler that schedules gets a warm one.
 * @module
 */
import type { EventArg, Target } from './target.ts';

const IDLE: Target = { path: 'idle', handle: () => {} };

/** One event; its time stands in the wheel under the same slot. */
class PooledEvent {
  target: Target = IDLE;
  op = 0;
  arg: EventArg = null;
}

export class EventPool {
  /** By slot. */
  readonly events: PooledEvent[] = [];
  #free = new Int32Array(0);
  #freeCount = 0;

  constructor(capacity: number) {
    this.#add(capacity);
  }

  get capacity(): number {
    return this.events.length;
  }

  /** A free slot, or -1 when the pool must {@link grow}. */
  take(): number {
    return this.#freeCount === 0 ? -1 : this.#free[--this.#freeCount]!;
  }

  give(slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }

  /** Doubles the capacity of a pool without a free slot, and returns it. */
  grow(): number {
    this.#add(this.capacity);
    return this.capacity;
  }

  #add(count: number): void {
    const first = this.events.length;
    this.#free = new Int32Array(first + count);
    for (let slot = first + count - 1; slot >= first; slot--) this.give(slot);
    for (let i = 0; i < count; i++) this.events.push(new PooledEvent());
  }
}
