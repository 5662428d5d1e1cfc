/**
 * Processes: generator functions that the kernel drives through simulated time, for bring-up and host software.
 * A step costs about 1.5 times an event; data paths use callbacks.
 * @module
 */
import { located } from './located.ts';
import type { Pending } from './pending.ts';
import type { EventArg, Target } from './target.ts';

/** Something that calls back once when it is done, whatever the outcome. */
interface Awaitable {
  onDone(callback: () => void, failed: () => void): void;
}
/** What a process yields: a delay in picoseconds, or something to wait for. */
export type Wait = number | Awaitable;
export type Process<T> = Generator<Wait, T, void>;

/** Lets `ps` picoseconds pass, any non-negative integer. Used with `yield*`. */
export function* delay(ps: number): Process<void> {
  yield ps;
}

/** Waits for a pending and returns its value. Used with `yield*`. @throws what it failed with */
export function* wait<T>(pending: Pending<T>): Process<T> {
  if (!pending.done) yield pending;
  return pending.value;
}

/** The part of the kernel that a process needs. */
interface Scheduler {
  readonly now: number;
  scheduleFar(delayPs: number, target: Target, op: number, arg: EventArg): void;
}

const STEP = -1;

/** Drives one process: every step after the first is an event of its own. */
export class ProcessRunner<T> implements Target {
  readonly path: string;
  readonly #kernel: Scheduler;
  readonly #steps: Process<T>;
  readonly #result: Pending<T>;

  constructor(kernel: Scheduler, steps: Process<T>, result: Pending<T>) {
    this.path = result.name;
    this.#kernel = kernel;
    this.#steps = steps;
    this.#result = result;
  }

  handle(): void {
    this.step();
  }

  /** Runs the process to its next wait or its end. */
  step(): void {
    let next: IteratorResult<Wait, T>;
    try {
      next = this.#steps.next();
      if (!next.done) this.#waitFor(next.value);
    } catch (error) {
      this.#result.fail(located(error, { timePs: this.#kernel.now, path: this.path }));
      return;
    }
    if (next.done) this.#result.complete(next.value);
  }

  #waitFor(wait: Wait): void {
    if (typeof wait === 'number') this.#kernel.scheduleFar(wait, this, STEP, null);
    else wait.onDone(this.#resume, this.#resume);
  }

  readonly #resume = (): void => {
    this.#kernel.scheduleFar(0, this, STEP, null);
  };
}
