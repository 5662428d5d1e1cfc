/**
 * A growing FIFO of TLPs: shift and push without moving anything.
 * @module
 */
import type { Tlp } from './tlp.ts';

export class TlpRing {
  #slots: (Tlp | null)[] = new Array<Tlp | null>(16).fill(null);
  #mask = 15;
  #head = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** The oldest, or null. */
  peek(): Tlp | null {
    return this.#count === 0 ? null : (this.#slots[this.#head] ?? null);
  }

  /** The one behind `index` older ones, or null. */
  at(index: number): Tlp | null {
    return index < this.#count ? (this.#slots[(this.#head + index) & this.#mask] ?? null) : null;
  }

  push(tlp: Tlp): void {
    if (this.#count > this.#mask) this.#grow();
    this.#slots[(this.#head + this.#count) & this.#mask] = tlp;
    this.#count++;
  }

  /** Removes the oldest; the caller has seen that there is one. */
  drop(): void {
    this.#slots[this.#head] = null;
    this.#head = (this.#head + 1) & this.#mask;
    this.#count--;
  }

  #grow(): void {
    const size = (this.#mask + 1) * 2;
    const slots = new Array<Tlp | null>(size).fill(null);
    for (let i = 0; i < this.#count; i++) {
      slots[i] = this.#slots[(this.#head + i) & this.#mask] ?? null;
    }
    this.#slots = slots;
    this.#mask = size - 1;
    this.#head = 0;
  }
}
