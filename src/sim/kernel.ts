/**
 * The event kernel: integer picoseconds, events in (time, priority, order of scheduling), nothing boxed.
 * It knows targets and opcodes only; what they mean is the components' business.
 * @module
 */
import { EmuError, invariant } from '#emu/base/errors.ts';
import { type Picos, picos } from '#emu/base/units.ts';
import { AwaitLoop } from './await-loop.ts';
import { EventPool } from './event-pool.ts';
import { located } from './located.ts';
import { Pending } from './pending.ts';
import { type Process, ProcessRunner } from './process.ts';
import { Random } from './random.ts';
import type { EventArg, Target } from './target.ts';
import { Wheel } from './wheel.ts';

export type { EventArg, Target } from './target.ts';

const SLOTS = 1024;
const FOREVER = Number.POSITIVE_INFINITY;
/** Events at a time: a small integer, since counting down from a double would allocate one an event. */
const MANY = 0x3fff_ffff;
/** A limit before every event. */
const NEVER = -1;
const LAST_DELAY = 0x7fff_ffff;
/** Times stay exact integers below this. */
const LAST_TIME = Number.MAX_SAFE_INTEGER;

/** Places in the state array, where doubles are never boxed. */
const NOW = 0;
const EVENTS = 1;

export class Kernel {
  readonly seed: number;
  readonly #wheel = new Wheel({ capacity: SLOTS });
  readonly #pool = new EventPool(SLOTS);
  readonly #state = new Float64Array(2);
  /** [now] in ps, read-only: on hot paths an array slot is never boxed, as the result of {@link now} may be. */
  readonly clock: Float64Array = this.#state;
  readonly #loop: AwaitLoop;
  #running = false;
  /** Queued events that alone do not keep a run going. */
  #idle = 0;

  constructor({ seed = 0 }: { seed?: number } = {}) {
    this.seed = seed;
    const kernel = this;
    this.#loop = new AwaitLoop({
      get running() {
        return kernel.#running;
      },
      slice: (maxEvents) => kernel.#slice(maxEvents),
      stop: () => kernel.#wheel.setLimit(NEVER),
    });
  }

  /** Current simulated time. */
  get now(): Picos {
    return picos(this.#state[NOW]!);
  }
  /** Events handled so far. */
  get events(): number {
    return this.#state[EVENTS]!;
  }
  /** Events scheduled and not handled yet, cancelled timers included. */
  get queued(): number {
    return this.#wheel.count;
  }

  /** Schedules an event `delayPs` from now, an integer of 0 to 2^31 - 1. @throws INVARIANT */
  schedule(delayPs: number, target: Target, op: number, arg: EventArg): void {
    if ((delayPs & LAST_DELAY) !== delayPs) throw badTime('delay', delayPs, target.path);
    const slot = this.#slot(target, op, arg);
    this.#wheel.times[slot] = this.#state[NOW]! + delayPs;
    this.#wheel.push(slot);
  }

  /** As {@link schedule}, for any non-negative integer delay. @throws INVARIANT */
  scheduleFar(delayPs: number, target: Target, op: number, arg: EventArg): void {
    this.scheduleAt(this.now + delayPs, target, op, arg);
  }

  /** Schedules at an absolute time; lower priorities (-128 to 127) go first. @throws INVARIANT for the past */
  scheduleAt(timePs: number, target: Target, op: number, arg: EventArg, priority = 0): void {
    if (!this.#isAhead(timePs)) throw badTime('time', timePs, target.path);
    invariant(priority === (priority << 24) >> 24, `${target.path}: priority ${priority}`);
    const slot = this.#slot(target, op, arg);
    this.#wheel.times[slot] = timePs;
    this.#wheel.priorities[slot] = priority;
    this.#wheel.push(slot);
  }

  /** Handles events until none is left. @throws what a handler threw, or a failure that nobody took */
  run(): void {
    this.#runTo(FOREVER);
  }

  /** Handles the events up to `timePs`, inclusive, and sets the clock to it. @throws INVARIANT for the past */
  runUntil(timePs: number): void {
    if (!this.#isAhead(timePs)) throw badTime('time', timePs, 'runUntil');
    this.#runTo(timePs);
    this.#state[NOW] = timePs;
  }

  /**
   * Handles up to `maxEvents`, fewer when an awaited pending completes or nobody takes a failure, which
   * the next call throws.
   * @returns false when nothing is left to do
   */
  runSlice(maxEvents: number): boolean {
    this.#loop.throwUnclaimed();
    try {
      return this.#slice(maxEvents) || this.#loop.hasUnclaimed;
    } finally {
      this.#loop.releaseDue();
    }
  }

  /** The random stream of the component at `path`, from its beginning. */
  random(path: string): Random {
    return new Random(this.seed, path);
  }

  /** A new pending of this kernel, open. Use constant names where many are made. */
  pending<T>(name: string): Pending<T> {
    return new Pending<T>(this.#loop, name);
  }

  /** Starts a process at once; the pending completes with its result or fails with its error. */
  spawn<T>(name: string, steps: Process<T>): Pending<T> {
    const result = this.pending<T>(name);
    new ProcessRunner(this, steps, result).step();
    return result;
  }

  /**
   * Counts one queued event more or less as idle: a cancelled timer's, say. A run without a time limit ends
   * when only idle events are left, and so does waiting. Whoever said so takes it back when the event comes.
   */
  countIdle(change: 1 | -1): void {
    this.#idle += change;
  }

  /** Names of the pendings still open and of failures nobody took: the leak report. */
  outstanding(): readonly string[] {
    return this.#loop.outstanding();
  }

  #slot(target: Target, op: number, arg: EventArg): number {
    let slot = this.#pool.take();
    if (slot < 0) slot = this.#grow();
    const event = this.#pool.events[slot]!;
    event.target = target;
    event.op = op;
    event.arg = arg;
    return slot;
  }

  #grow(): number {
    this.#wheel.grow(this.#pool.grow());
    return this.#pool.take();
  }

  #isAhead(timePs: number): boolean {
    return timePs >= this.now && timePs <= LAST_TIME && Number.isInteger(timePs);
  }

  #runTo(timePs: number): void {
    this.#enter();
    try {
      // Again when a completion, a failure that was taken after all, or the count stopped the loop.
      do {
        this.#loop.throwUnclaimed();
        this.#wheel.setLimit(timePs);
        this.#handle(MANY, timePs === FOREVER);
        this.#loop.throwUnclaimed();
      } while (this.#isDue(timePs));
    } finally {
      this.#loop.releaseDue();
    }
  }

  #isDue(timePs: number): boolean {
    if (timePs === FOREVER && this.#wheel.count === this.#idle) return false;
    const slot = this.#wheel.peek();
    return slot >= 0 && this.#wheel.times[slot]! <= timePs;
  }

  #slice(maxEvents: number): boolean {
    this.#enter();
    this.#wheel.setLimit(FOREVER);
    this.#handle(maxEvents, true);
    return this.#wheel.count > this.#idle;
  }

  #enter(): void {
    invariant(!this.#running, 'the kernel is run from inside an event', { timePs: this.now });
  }

  /** The loop itself: one try for all events, and a call site for each kind of target. */
  #handle(maxEvents: number, untilIdle: boolean): void {
    const wheel = this.#wheel;
    const pool = this.#pool;
    const state = this.#state;
    let target: Target = NOBODY;
    let op = 0;
    this.#running = true;
    try {
      for (let left = maxEvents; left > 0; left--) {
        if (untilIdle && wheel.count === this.#idle) break;
        const slot = wheel.popUntil();
        if (slot < 0) break;
        state[NOW] = wheel.times[slot]!;
        state[EVENTS]!++;
        const event = pool.events[slot]!;
        target = event.target;
        op = event.op;
        const arg = event.arg;
        wheel.priorities[slot] = 0;
        pool.give(slot);
        if (op >= 0) target.handle(op, arg);
        else handleRare(target, op, arg);
      }
    } catch (error) {
      throw located(error, { timePs: this.now, path: target.path, op });
    } finally {
      this.#running = false;
    }
  }
}

const NOBODY: Target = { path: 'kernel', handle: () => {} };

/** A call site of its own, so that rare classes do not slow the other one down. */
function handleRare(target: Target, op: number, arg: EventArg): void {
  target.handle(op, arg);
}

function badTime(kind: string, value: number, path: string): EmuError {
  const expected =
    kind === 'delay' ? 'an integer of 0 to 2^31 - 1 ps' : 'an integer, not in the past';
  return new EmuError('INVARIANT', `${path}: ${kind} ${value}, expected ${expected}`, { path });
}
