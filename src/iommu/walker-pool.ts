/**
 * Time taken by walks: each is a chain of memory accesses, and only so many proceed at once.
 * @module
 */
export class WalkerPool {
  readonly #accessPs: number;
  /** When each walker is free, ps. */
  readonly #freeAt: Float64Array;

  constructor(walkers: number, accessPs: number) {
    this.#accessPs = accessPs;
    this.#freeAt = new Float64Array(walkers);
  }

  /** Gives a walk of `accesses` to the walker that is free first; returns the time until it is done, ps. */
  occupy(nowPs: number, accesses: number): number {
    const freeAt = this.#freeAt;
    let first = 0;
    for (let i = 1; i < freeAt.length; i++) if (freeAt[i]! < freeAt[first]!) first = i;
    const start = Math.max(nowPs, freeAt[first]!);
    const end = start + accesses * this.#accessPs;
    freeAt[first] = end;
    return end - nowPs;
  }
}
