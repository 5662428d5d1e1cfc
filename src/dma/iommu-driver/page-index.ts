/**
 * A map from page numbers to small integers: open addressing in typed arrays. A Map keeps keys beyond 31 bits as
 * objects of their own, which makes each access several times dearer. [DMAAPI]
 * @module
 */

const EMPTY = -1;
const FIRST_BITS = 6;
/** 2^32 divided by the golden ratio, and another odd number for the upper half. */
const SPREAD = 0x9e37_79b1 | 0;
const SPREAD_HI = 0x85eb_ca6b | 0;

export class PageIndex {
  #bits = FIRST_BITS;
  #keys: Float64Array = new Float64Array(2 ** FIRST_BITS).fill(EMPTY);
  #values: Int32Array = new Int32Array(2 ** FIRST_BITS);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** The value of `page`, or -1. */
  get(page: number): number {
    const slot = this.#find(page);
    return this.#keys[slot] === page ? this.#values[slot]! : EMPTY;
  }

  set(page: number, value: number): void {
    let slot = this.#find(page);
    if (this.#keys[slot] !== page) {
      if (2 * this.#count >= this.#keys.length) {
        this.#grow();
        slot = this.#find(page);
      }
      this.#keys[slot] = page;
      this.#count++;
    }
    this.#values[slot] = value;
  }

  /** Without effect when there is no such page. */
  delete(page: number): void {
    let hole = this.#find(page);
    if (this.#keys[hole] !== page) return;
    this.#count--;
    const mask = this.#keys.length - 1;
    // Whatever would be searched for from the hole on moves into it.
    for (let slot = (hole + 1) & mask; this.#keys[slot] !== EMPTY; slot = (slot + 1) & mask) {
      const home = this.#home(this.#keys[slot]!);
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      this.#keys[hole] = this.#keys[slot]!;
      this.#values[hole] = this.#values[slot]!;
      hole = slot;
    }
    this.#keys[hole] = EMPTY;
  }

  /** Slot of `page`, or the empty one where it belongs. */
  #find(page: number): number {
    const mask = this.#keys.length - 1;
    let slot = this.#home(page);
    for (let key = this.#keys[slot]!; key !== page && key !== EMPTY; key = this.#keys[slot]!) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #home(page: number): number {
    const mixed = Math.imul(page | 0, SPREAD) ^ Math.imul((page * 2 ** -32) | 0, SPREAD_HI);
    return mixed >>> (32 - this.#bits);
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#bits++;
    this.#keys = new Float64Array(2 * keys.length).fill(EMPTY);
    this.#values = new Int32Array(2 * keys.length);
    for (let i = 0; i < keys.length; i++) {
      const page = keys[i]!;
      if (page === EMPTY) continue;
      const slot = this.#find(page);
      this.#keys[slot] = page;
      this.#values[slot] = values[i]!;
    }
  }
}
