/**
 * The ranges of one command's data, cut out of a list that may hold those of many. Storage is kept from command to
 * command, so that describing data allocates nothing.
 * @module
 */
import { type DmaAddr, dmaAddr } from '#emu/base/units.ts';
import { type DmaRangeList, dmaCursor } from '#emu/dma/lists/dma-range-list.ts';

const START_CAPACITY = 16;

export class DataRanges {
  #addresses = new Float64Array(START_CAPACITY);
  #lengths = new Uint32Array(START_CAPACITY);
  #count = 0;
  #sizeBytes = 0;

  get count(): number {
    return this.#count;
  }
  get sizeBytes(): number {
    return this.#sizeBytes;
  }
  address(index: number): DmaAddr {
    return dmaAddr(this.#addresses[index]!);
  }
  /** Bytes of range `index`. */
  length(index: number): number {
    return this.#lengths[index]!;
  }

  clear(): void {
    this.#count = 0;
    this.#sizeBytes = 0;
  }

  /** Adds a range, which stays one of its own. */
  append(address: DmaAddr, length: number): void {
    if (this.#count === this.#addresses.length) this.#grow();
    this.#addresses[this.#count] = address;
    this.#lengths[this.#count] = length;
    this.#count++;
    this.#sizeBytes += length;
  }

  #grow(): void {
    const addresses = new Float64Array(2 * this.#count);
    const lengths = new Uint32Array(2 * this.#count);
    addresses.set(this.#addresses);
    lengths.set(this.#lengths);
    this.#addresses = addresses;
    this.#lengths = lengths;
  }
}

/** A position in a list of ranges, from which command after command takes its data. */
export class RangeReader {
  readonly #cursor = dmaCursor();
  /** Where the range under the cursor goes on, and how far it goes. */
  #at = 0.5;
  #left = 0;

  /** Starts at byte `offset` of the list. @throws USAGE beyond its end */
  start(ranges: DmaRangeList, offset: number): void {
    ranges.open(this.#cursor, offset);
    this.#left = 0;
  }

  /** Fills `into` with the ranges of the next `sizeBytes`, or of as many as there are. */
  take(into: DataRanges, sizeBytes: number): void {
    into.clear();
    while (into.sizeBytes < sizeBytes && (this.#left > 0 || this.#open())) {
      const length = Math.min(this.#left, sizeBytes - into.sizeBytes);
      into.append(dmaAddr(this.#at), length);
      this.#at += length;
      this.#left -= length;
    }
  }

  #open(): boolean {
    if (!this.#cursor.next()) return false;
    this.#at = this.#cursor.address;
    this.#left = this.#cursor.length;
    return true;
  }
}
