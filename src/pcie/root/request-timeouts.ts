/**
 * Completion timeouts of the root complex's own requests by tag, for the CPU or between hierarchies: after one the tag
 * stays out of use for as long again, so that a late completion finds nobody. [PCIE] 2.8
 * @module
 */
import { DelayLine } from '#emu/sim/delay-line.ts';
import type { EventArg, Kernel, Target } from '#emu/sim/kernel.ts';

/** Whose requests they are. */
export interface TimedRequests {
  /** No completion came; the tag is not free yet. */
  expired(tag: number): void;
  /** The tag of an expired request may be used again. */
  freed(tag: number): void;
}

export class RequestTimeouts implements Target {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #requests: TimedRequests;
  /** By length, ps. */
  readonly #byLength = new Map<number, DelayLine>();
  /** By tag; null without a timeout. */
  readonly #lines: (DelayLine | null)[];
  readonly #tickets: Int32Array;
  readonly #isExpired: Uint8Array;

  /** @param tags how many there are, from 0 on */
  constructor(kernel: Kernel, path: string, requests: TimedRequests, tags: number) {
    this.#kernel = kernel;
    this.path = path;
    this.#requests = requests;
    this.#lines = new Array<DelayLine | null>(tags).fill(null);
    this.#tickets = new Int32Array(tags);
    this.#isExpired = new Uint8Array(tags);
  }

  /** A request with `tag` goes out; `delayPs` 0 waits for ever. */
  start(tag: number, delayPs: number): void {
    this.#isExpired[tag] = 0;
    const line = delayPs === 0 ? null : this.#line(delayPs);
    this.#lines[tag] = line;
    this.#tickets[tag] = line?.push(tag) ?? 0;
  }

  /** Its completion has come. */
  stop(tag: number): void {
    this.#lines[tag]?.cancel(this.#tickets[tag]!);
    this.#lines[tag] = null;
  }

  handle(_op: number, tag: EventArg): void {
    if (typeof tag !== 'number') return;
    if (this.#isExpired[tag] === 1) return this.#requests.freed(tag);
    this.#isExpired[tag] = 1;
    this.#tickets[tag] = this.#lines[tag]?.push(tag) ?? 0;
    this.#requests.expired(tag);
  }

  #line(delayPs: number): DelayLine {
    const known = this.#byLength.get(delayPs);
    if (known) return known;
    const made = new DelayLine(this.#kernel, delayPs, this, 0);
    this.#byLength.set(delayPs, made);
    return made;
  }
}
