/**
 * Runs of contiguous host addresses that one command's data goes to or comes from, in data order.
 * Packed and kept between commands, so that a command in steady state allocates nothing.
 * @module
 */

const START_CAPACITY = 16;

/** Address of a run that is nowhere: its data is thrown away. Joins no run but another of its kind. */
export const DISCARD: number = Number.NEGATIVE_INFINITY;

export class RunList {
  #addresses = new Float64Array(START_CAPACITY);
  #sizes = new Float64Array(START_CAPACITY);
  #count = 0;

  get count(): number {
    return this.#count;
  }
  address(index: number): number {
    return this.#addresses[index]!;
  }
  sizeBytes(index: number): number {
    return this.#sizes[index]!;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Appends a piece, merging it into the last run where it follows on. */
  append(address: number, sizeBytes: number): void {
    const last = this.#count - 1;
    if (last >= 0 && this.#addresses[last]! + this.#sizes[last]! === address) {
      this.#sizes[last]! += sizeBytes;
      return;
    }
    if (this.#count === this.#addresses.length) this.#grow();
    this.#addresses[this.#count] = address;
    this.#sizes[this.#count] = sizeBytes;
    this.#count++;
  }

  #grow(): void {
    const addresses = new Float64Array(2 * this.#count);
    const sizes = new Float64Array(2 * this.#count);
    addresses.set(this.#addresses);
    sizes.set(this.#sizes);
    this.#addresses = addresses;
    this.#sizes = sizes;
  }
}

/** A position in a run list that only moves forward. */
export class RunCursor {
  #run = 0;
  #offset = 0;
  /** The piece that {@link take} found. */
  address = 0.5;
  sizeBytes = 0;

  reset(): void {
    this.#run = 0;
    this.#offset = 0;
  }

  /** Takes the next piece of at most `limitBytes` that lies in one run; the list must not be at its end. */
  take(runs: RunList, limitBytes: number): void {
    const left = runs.sizeBytes(this.#run) - this.#offset;
    this.address = runs.address(this.#run) + this.#offset;
    if (left > limitBytes) {
      this.sizeBytes = limitBytes;
      this.#offset += limitBytes;
    } else {
      this.sizeBytes = left;
      this.#offset = 0;
      this.#run++;
    }
  }
}
