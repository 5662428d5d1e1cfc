/**
 * A one-shot timer of a device: one target class for all of them, cancelled without touching the queue.
 * Not for per-TLP timeouts, which form delay lines.
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import type { EventArg, Kernel, Target } from './kernel.ts';

/** Low bits of the generation that an event carries: enough to tell a stale one. */
const GENERATIONS = 0x3fff_ffff;
const FIRE = -1;

export class Timer implements Target {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #fire: () => void;
  #armed = false;
  /** When it fires, while armed. */
  #due = 0;
  /** When its one live queue entry comes; Infinity without one. */
  #entry = Number.POSITIVE_INFINITY;
  #generation = 0;

  constructor(kernel: Kernel, path: string, fire: () => void) {
    this.#kernel = kernel;
    this.path = path;
    this.#fire = fire;
  }

  get armed(): boolean {
    return this.#armed;
  }

  /** Fires once, `delayPs` from now; an armed timer moves to the new time. @throws INVARIANT */
  arm(delayPs: number): void {
    invariant(Number.isInteger(delayPs) && delayPs >= 0, `${this.path}: timer of ${delayPs} ps`);
    const hasEntry = this.#entry !== Number.POSITIVE_INFINITY;
    if (hasEntry && !this.#armed) this.#kernel.countIdle(-1);
    this.#armed = true;
    this.#due = this.#kernel.now + delayPs;
    // A later entry is useless; an earlier one is kept and goes on to the due time when it comes.
    if (this.#due >= this.#entry) return;
    if (hasEntry) this.#kernel.countIdle(1);
    this.#enter(delayPs);
  }

  /** Cancels it; without effect when it is not armed. */
  disarm(): void {
    if (this.#armed) this.#kernel.countIdle(1);
    this.#armed = false;
  }

  handle(_op: number, arg: EventArg): void {
    const live = arg === this.#generation;
    if (!live || !this.#armed) this.#kernel.countIdle(-1);
    if (!live) return;
    this.#entry = Number.POSITIVE_INFINITY;
    if (!this.#armed) return;
    const left = this.#due - this.#kernel.now;
    if (left > 0) {
      this.#enter(left);
      return;
    }
    this.#armed = false;
    this.#fire();
  }

  #enter(delayPs: number): void {
    this.#generation = (this.#generation + 1) & GENERATIONS;
    this.#entry = this.#due;
    this.#kernel.scheduleFar(delayPs, this, FIRE, this.#generation);
  }
}
