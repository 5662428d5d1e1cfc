/**
 * The book of a kernel's pendings, and the loop that makes simulated time move while somebody awaits one.
 * It runs slices in turns of the host's event loop and decides when waiting has become hopeless.
 * @module
 */
import { EmuError, type ErrorDetail } from '#emu/base/errors.ts';
import { eventLoop } from './event-loop.ts';
import { located } from './located.ts';
import type { PendingBook, PendingEntry } from './pending.ts';

/** What the loop drives. */
export interface SliceRunner {
  /** Whether events are being handled at this moment. */
  readonly running: boolean;
  /** Handles up to `maxEvents`; false when no event is left. */
  slice(maxEvents: number): boolean;
  /** Stops handling after the current event. */
  stop(): void;
}

/** A turn of the event loop costs about 0.8 us, an event 30 ns: 1 % of a slice this long. */
const EVENTS_PER_SLICE = 8192;
const NAMES_SHOWN = 20;

export class AwaitLoop implements PendingBook {
  readonly #runner: SliceRunner;
  /**
   * The open ones, linked: a set takes 50 ns for each, and what its former tables still name outlives a minor garbage
   * collection.
   */
  #firstOpen: PendingEntry | null = null;
  #lastOpen: PendingEntry | null = null;
  readonly #awaited = new Set<PendingEntry>();
  /** Failures that nobody has taken. */
  readonly #unclaimed = new Set<PendingEntry>();
  /** Awaited and done in the running slice: released when it has ended well. */
  #due: PendingEntry[] = [];
  #scheduled = false;

  constructor(runner: SliceRunner) {
    this.#runner = runner;
  }

  get hasUnclaimed(): boolean {
    return this.#unclaimed.size > 0;
  }

  /** Names of the pendings that are open, and of failures that nobody took, in order of creation. */
  outstanding(): readonly string[] {
    const failed = [...this.#unclaimed].map(({ name, error }) => `${name} (${error?.message})`);
    const open: string[] = [];
    for (let at = this.#firstOpen; at !== null; at = at.after) open.push(at.name);
    return [...failed, ...open];
  }

  opened(pending: PendingEntry): void {
    const last = this.#lastOpen;
    pending.before = last;
    if (last === null) this.#firstOpen = pending;
    else last.after = pending;
    this.#lastOpen = pending;
  }

  awaited(pending: PendingEntry): void {
    this.#schedule();
    this.#awaited.add(pending);
  }

  settled(pending: PendingEntry, awaited: boolean): void {
    this.#unlink(pending);
    if (!awaited) return;
    this.#awaited.delete(pending);
    if (!this.#runner.running) {
      pending.release();
      return;
    }
    this.#due.push(pending);
    this.#runner.stop();
  }

  unclaimed(pending: PendingEntry): void {
    this.#unclaimed.add(pending);
    if (this.#runner.running) this.#runner.stop();
  }

  claimed(pending: PendingEntry): void {
    this.#unclaimed.delete(pending);
  }

  /** Releases those who await what the run completed; their number. The runner calls it after a run. */
  releaseDue(): number {
    const due = this.#due;
    if (due.length === 0) return 0;
    this.#due = [];
    for (const pending of due) pending.release();
    return due.length;
  }

  /** @throws the first failure that nobody has taken. */
  throwUnclaimed(): void {
    for (const pending of this.#unclaimed) {
      this.#unclaimed.delete(pending);
      if (pending.error) throw located(pending.error, { pending: pending.name });
    }
  }

  #unlink(pending: PendingEntry): void {
    const { before, after } = pending;
    if (before === null) this.#firstOpen = after;
    else before.after = after;
    if (after === null) this.#lastOpen = before;
    else after.before = before;
    pending.before = null;
    pending.after = null;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    eventLoop()(this.#turn);
    this.#scheduled = true;
  }

  /** One turn of the event loop: a slice, then whoever it served, then the next turn. */
  readonly #turn = (): void => {
    this.#scheduled = false;
    if (this.#awaited.size === 0) return;
    try {
      this.throwUnclaimed();
      const more = this.#runner.slice(EVENTS_PER_SLICE);
      const served = this.releaseDue();
      if (!more && served === 0 && !this.hasUnclaimed) this.#stall();
    } catch (error) {
      this.#abandonAll(located(error, {}));
    }
    if (this.#awaited.size > 0) this.#schedule();
  };

  /** Rejects everybody, those too whom the failed event had just served. */
  #abandonAll(error: EmuError): void {
    const all = [...this.#due, ...this.#awaited];
    this.#due = [];
    this.#awaited.clear();
    for (const pending of all) pending.abandon(error);
  }

  #stall(): void {
    const names = this.outstanding();
    const awaited = [...this.#awaited];
    this.#awaited.clear();
    for (const pending of awaited) pending.abandon(stalled(pending.name, names));
  }
}

function stalled(name: string, outstanding: readonly string[]): EmuError {
  const self = outstanding.indexOf(name);
  const others = outstanding.filter((_, index) => index !== self);
  const shown = others.slice(0, NAMES_SHOWN).join(', ');
  const rest = others.length > NAMES_SHOWN ? ` and ${others.length - NAMES_SHOWN} more` : '';
  const detail: ErrorDetail = { pending: name, outstanding: shown + rest };
  const also = others.length > 0 ? `; also outstanding: ${shown}${rest}` : '';
  return new EmuError('STALLED', `${name} can never complete: no event is left${also}`, detail);
}
