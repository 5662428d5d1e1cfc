/**
 * A result that simulated time will bring: completed exactly once, counted and named by its kernel.
 * Models use callbacks and processes; scenario code awaits, which makes simulated time move.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';

/** What the kernel's book of pendings sees of one, whatever its value is. */
export interface PendingEntry {
  readonly name: string;
  /** Why it failed, or null. */
  readonly error: EmuError | null;
  /** Its neighbours among the open ones, in order of creation. For the kernel. */
  before: PendingEntry | null;
  after: PendingEntry | null;
  /** Tells those who await the outcome. For the kernel. */
  release(): void;
  /** Rejects those who await now; the pending itself stays open. For the kernel. */
  abandon(error: EmuError): void;
}

/** The kernel's side of a pending. */
export interface PendingBook {
  opened(pending: PendingEntry): void;
  /** @throws INVARIANT when nothing could make simulated time move. */
  awaited(pending: PendingEntry): void;
  /** It is done; `awaited` tells whether {@link PendingEntry.release} is due. */
  settled(pending: PendingEntry, awaited: boolean): void;
  /** It failed and nobody has taken the error yet. */
  unclaimed(pending: PendingEntry): void;
  claimed(pending: PendingEntry): void;
}

/** One promise for all who await, made when the first does. */
interface Gate<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: EmuError) => void;
}

const State = { Open: 0, Completed: 1, Failed: 2 } as const;
type State = (typeof State)[keyof typeof State];

export class Pending<T> implements PromiseLike<T>, PendingEntry {
  readonly name: string;
  before: PendingEntry | null = null;
  after: PendingEntry | null = null;
  readonly #book: PendingBook;
  #state: State = State.Open;
  #value: T | undefined = undefined;
  #error: EmuError | null = null;
  #claimed = false;
  #onDone: ((value: T) => void)[] | null = null;
  #onFailed: ((error: EmuError) => void)[] | null = null;
  #gate: Gate<T> | null = null;

  /** Models get one from `kernel.pending(name)`. */
  constructor(book: PendingBook, name: string) {
    this.name = name;
    this.#book = book;
    book.opened(this);
  }

  /** Whether it has completed or failed. */
  get done(): boolean {
    return this.#state !== State.Open;
  }
  get error(): EmuError | null {
    return this.#error;
  }
  /** @throws INVARIANT while open, and the error it failed with. */
  get value(): T {
    if (this.#error) {
      this.#claim();
      throw this.#error;
    }
    if (this.#state === State.Open) {
      throw new EmuError('INVARIANT', `${this.name} is not done yet`, { pending: this.name });
    }
    return this.#value!;
  }

  /** Completes it and runs the callbacks, synchronously. @throws INVARIANT the second time. */
  complete(value: T): void {
    this.#close(State.Completed);
    this.#value = value;
    this.#book.settled(this, this.#gate !== null);
    const callbacks = this.#onDone;
    this.#forget();
    if (callbacks) for (const callback of callbacks) callback(value);
  }

  /** Fails it; an error that nobody takes surfaces from the kernel. @throws INVARIANT when done. */
  fail(error: EmuError): void {
    this.#close(State.Failed);
    this.#error = error;
    this.#book.settled(this, this.#gate !== null);
    const callbacks = this.#onFailed;
    this.#forget();
    if (!this.#claimed) this.#book.unclaimed(this);
    if (callbacks) for (const callback of callbacks) callback(error);
  }

  /** Calls `callback` at completion, or now if complete; `failed`, when given, takes the error. */
  onDone(callback: (value: T) => void, failed?: (error: EmuError) => void): void {
    if (failed) this.#claim();
    if (this.#state === State.Completed) callback(this.#value!);
    else if (this.#error) failed?.(this.#error);
    else this.#listen(callback, failed);
  }

  /** Awaits it: simulated time moves until it is done. */
  // biome-ignore lint/suspicious/noThenProperty: being awaitable is what a Pending is for.
  then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    const promise = this.#promise();
    this.#claim();
    return promise.catch(atAwait).then(onFulfilled, onRejected);
  }

  release(): void {
    const gate = this.#gate;
    this.#gate = null;
    if (this.#error) gate?.reject(this.#error);
    else gate?.resolve(this.#value!);
  }

  abandon(error: EmuError): void {
    const gate = this.#gate;
    this.#gate = null;
    if (!this.done) this.#claimed = this.#onFailed !== null;
    gate?.reject(error);
  }

  #promise(): Promise<T> {
    if (this.#gate) return this.#gate.promise;
    if (this.#error) return Promise.reject(this.#error);
    if (this.done) return Promise.resolve(this.#value!);
    this.#book.awaited(this);
    this.#gate = newGate<T>();
    return this.#gate.promise;
  }

  #listen(callback: (value: T) => void, failed?: (error: EmuError) => void): void {
    this.#onDone ??= [];
    this.#onDone.push(callback);
    if (!failed) return;
    this.#onFailed ??= [];
    this.#onFailed.push(failed);
  }

  #close(state: State): void {
    if (this.#state !== State.Open) {
      throw new EmuError('INVARIANT', `${this.name} completed twice`, { pending: this.name });
    }
    this.#state = state;
  }

  #claim(): void {
    if (this.#claimed) return;
    this.#claimed = true;
    if (this.#error) this.#book.claimed(this);
  }

  #forget(): void {
    this.#onDone = null;
    this.#onFailed = null;
  }
}

function newGate<T>(): Gate<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: EmuError) => void = () => {};
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/**
 * Adds to an error's stack the asynchronous frames that await it: one made inside the simulation has none. Works from
 * a reaction between the promise and whoever awaits it, whence engines follow the chain.
 */
function atAwait(error: unknown): never {
  if (error instanceof Error) {
    const frames = new Error().stack?.match(/^\s*at async .*$/gm) ?? [];
    error.stack = [error.stack ?? error.message, ...frames].join('\n');
  }
  throw error;
}
