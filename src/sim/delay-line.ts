/**
 * Timers of one equal delay as a ring with a single entry in the event queue: timeouts, acknowledgements, credits.
 * Cancelled ones cost no event, so a timeout that never fires costs almost nothing.
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import type { EventArg, Kernel, Target } from './kernel.ts';

const DUE = -1;
const CANCELLED = Symbol('cancelled');

export class DelayLine implements Target {
  readonly path: string;
  readonly delayPs: number;
  readonly #kernel: Kernel;
  readonly #target: Target;
  readonly #op: number;
  /** Rings indexed by ticket; their length is a power of two. */
  #args: (EventArg | typeof CANCELLED)[] = new Array(16).fill(null);
  #due = new Float64Array(16);
  /** Tickets in the ring: from `#head`, inclusive, to `#tail`, exclusive; both wrap at 2^32. */
  #head = 0;
  #tail = 0;
  #queued = false;

  /** Each pushed argument reaches `target.handle(op, arg)` after `delayPs`, in order. @throws INVARIANT */
  constructor(kernel: Kernel, delayPs: number, target: Target, op: number) {
    invariant(Number.isInteger(delayPs) && delayPs >= 0, `${target.path}: delay ${delayPs} ps`);
    this.path = target.path;
    this.delayPs = delayPs;
    this.#kernel = kernel;
    this.#target = target;
    this.#op = op;
  }

  /** Arguments on the line, cancelled ones behind a live one included. */
  get count(): number {
    return (this.#tail - this.#head) | 0;
  }

  /** Puts `arg` on the line; the ticket is for {@link cancel}. */
  push(arg: EventArg): number {
    if (this.count === this.#args.length) this.#grow();
    const ticket = this.#tail;
    const at = ticket & (this.#args.length - 1);
    this.#args[at] = arg;
    this.#due[at] = this.#kernel.now + this.delayPs;
    // A line of cancelled arguments only was idle.
    if (this.#queued && this.count === 0) this.#kernel.countIdle(-1);
    this.#tail = (ticket + 1) | 0;
    if (!this.#queued) this.#enter(this.delayPs);
    return ticket;
  }

  /** Takes an argument off the line; without effect when it was delivered or cancelled before. */
  cancel(ticket: number): void {
    if ((ticket - this.#head) >>> 0 >= this.count) return;
    this.#args[ticket & (this.#args.length - 1)] = CANCELLED;
    this.#skipCancelled();
    if (this.#queued && this.count === 0) this.#kernel.countIdle(1);
  }

  /** Delivers the argument that is due; nothing when the one it came for was cancelled. */
  handle(): void {
    const now = this.#kernel.now;
    const at = this.#head & (this.#args.length - 1);
    this.#queued = false;
    if (this.count === 0) {
      this.#kernel.countIdle(-1);
      return;
    }
    if (this.#due[at]! > now) {
      this.#enter(this.#due[at]! - now);
      return;
    }
    const arg = this.#take(at);
    this.#skipCancelled();
    if (this.count > 0) this.#enter(this.#due[this.#head & (this.#args.length - 1)]! - now);
    if (arg !== CANCELLED) this.#target.handle(this.#op, arg);
  }

  #take(at: number): EventArg | typeof CANCELLED {
    const arg = this.#args[at]!;
    this.#args[at] = null;
    this.#head = (this.#head + 1) | 0;
    return arg;
  }

  /** Keeps the head live, so that the ring holds no more than what is outstanding. */
  #skipCancelled(): void {
    const mask = this.#args.length - 1;
    while (this.count > 0 && this.#args[this.#head & mask] === CANCELLED) {
      this.#take(this.#head & mask);
    }
  }

  #enter(delayPs: number): void {
    this.#queued = true;
    this.#kernel.scheduleFar(delayPs, this, DUE, null);
  }

  #grow(): void {
    const old = this.#args.length;
    const args: (EventArg | typeof CANCELLED)[] = new Array(2 * old).fill(null);
    const due = new Float64Array(2 * old);
    for (let i = 0; i < old; i++) {
      const ticket = (this.#head + i) | 0;
      args[ticket & (2 * old - 1)] = this.#args[ticket & (old - 1)]!;
      due[ticket & (2 * old - 1)] = this.#due[ticket & (old - 1)]!;
    }
    this.#args = args;
    this.#due = due;
  }
}
