/**
 * Values by address range: disjoint ranges, sorted, found by binary search behind a last-hit test.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { hex } from '#emu/base/units.ts';

export interface AddressRange<T> {
  readonly base: number;
  readonly sizeBytes: number;
  readonly value: T;
}

export class AddressMap<T> {
  /** Sorted by base. */
  readonly #ranges: AddressRange<T>[] = [];
  #last: AddressRange<T> | undefined = undefined;

  /** Adds a range. @throws ADDR_RANGE when it is empty or overlaps another */
  add(base: number, sizeBytes: number, value: T): void {
    if (!(base >= 0 && sizeBytes > 0)) {
      throw new EmuError('ADDR_RANGE', `address range ${hex(base)}, size ${sizeBytes}`);
    }
    const other = this.overlapping(base, sizeBytes);
    if (other) {
      const message = `${formatRange(base, sizeBytes)} overlaps ${formatRange(other.base, other.sizeBytes)}`;
      throw new EmuError('ADDR_RANGE', message, { base, sizeBytes });
    }
    this.#ranges.splice(this.#upper(base), 0, { base, sizeBytes, value });
  }

  /** Removes the range that starts at `base`. @throws ADDR_RANGE when none does */
  remove(base: number): void {
    const index = this.#upper(base) - 1;
    if (this.#ranges[index]?.base !== base) {
      throw new EmuError('ADDR_RANGE', `no address range starts at ${hex(base)}`, { base });
    }
    this.#ranges.splice(index, 1);
    this.#last = undefined;
  }

  /** The value at `address`, if any. */
  find(address: number): T | undefined {
    return this.entryAt(address)?.value;
  }

  /** The range that holds `address`, if any. */
  entryAt(address: number): AddressRange<T> | undefined {
    const last = this.#last;
    if (last && holds(last, address)) return last;
    const range = this.#ranges[this.#upper(address) - 1];
    if (!range || !holds(range, address)) return undefined;
    this.#last = range;
    return range;
  }

  /** The lowest range that shares a byte with the given one, if any. */
  overlapping(base: number, sizeBytes: number): AddressRange<T> | undefined {
    const before = this.#upper(base) - 1;
    const range = this.#ranges[before];
    if (range && holds(range, base)) return range;
    const next = this.#ranges[before + 1];
    return next && next.base < base + sizeBytes ? next : undefined;
  }

  /** All ranges in ascending order. */
  entries(): readonly AddressRange<T>[] {
    return this.#ranges;
  }

  /** Index of the first range that starts after `address`. */
  #upper(address: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ranges[middle]!.base <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const holds = (range: AddressRange<unknown>, address: number): boolean =>
  address >= range.base && address - range.base < range.sizeBytes;

const formatRange = (base: number, sizeBytes: number): string =>
  `${hex(base)}..${hex(base + sizeBytes - 1)}`;
