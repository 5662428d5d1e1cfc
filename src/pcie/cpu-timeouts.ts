/**
 * Completion timeouts of requests by tag: one of a root port for the CPU ends with all ones, and its tag stays out of
 * use for as long again, so that a late completion finds nobody. [PCIE] 2.8
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

const TAG_BITS = 8;
const TAGS = 1 << TAG_BITS;
const USES = 2 ** 20;

export class CpuTimeouts implements Target {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #requests: TimedRequests;
  /** By length, ps. */
  readonly #byLength = new Map<number, DelayLine>();
  /** By tag; null without a timeout. */
  readonly #lines = new Array<DelayLine | null>(TAGS).fill(null);
  readonly #tickets = new Int32Array(TAGS);
  /** Tells one use of a tag from the next. */
  readonly #uses = new Int32Array(TAGS);
  readonly #isExpired = new Uint8Array(TAGS);

  constructor(kernel: Kernel, path: string, requests: TimedRequests) {
    this.#kernel = kernel;
    this.path = path;
    this.#requests = requests;
  }

  /** A request with `tag` goes out; `delayPs` 0 waits for ever. */
  start(tag: number, delayPs: number): void {
    const use = (this.#uses[tag]! + 1) % USES;
    this.#uses[tag] = use;
    this.#isExpired[tag] = 0;
    const line = delayPs === 0 ? null : this.#line(delayPs);
    this.#lines[tag] = line;
    this.#tickets[tag] = line?.push(tag | (use << TAG_BITS)) ?? 0;
  }

  /** Its completion has come. */
  stop(tag: number): void {
    this.#lines[tag]?.cancel(this.#tickets[tag]!);
    this.#lines[tag] = null;
  }

  handle(_op: number, arg: EventArg): void {
    if (typeof arg !== 'number') return;
    const tag = arg & (TAGS - 1);
    if (arg >> TAG_BITS !== this.#uses[tag]) return;
    if (this.#isExpired[tag] === 1) return this.#requests.freed(tag);
    this.#isExpired[tag] = 1;
    this.#tickets[tag] = this.#lines[tag]?.push(arg) ?? 0;
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
