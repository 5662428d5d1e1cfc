/**
 * Finds the mapping that an address belongs to: ranges in buckets of 2 MiB, of live mappings and of the latest ended ones.
 * @module
 */
import type { MappingRecord } from '#emu/dma/mapping-record.ts';
import { MappingState } from '#emu/dma/mapping-record.ts';

/** A mapping with where it was made and ended. */
export interface CheckedMapping {
  readonly mapping: MappingRecord;
  readonly mapSite: object;
  unmapSite: object | null;
}

/** A range of a mapping. */
export interface CheckedRange {
  readonly checked: CheckedMapping;
  readonly start: number;
  readonly end: number;
  /** Of its first byte in the mapping. */
  readonly offset: number;
}

const BUCKET_BYTES = 2 ** 21;

export class CheckedRanges {
  readonly #buckets = new Map<number, CheckedRange[]>();

  add(checked: CheckedMapping): void {
    let offset = 0;
    for (const { address, length } of checked.mapping.ranges) {
      const range = { checked, start: address, end: address + length, offset };
      offset += length;
      for (const key of keysOf(range.start, range.end)) {
        const bucket = this.#buckets.get(key);
        if (bucket) bucket.push(range);
        else this.#buckets.set(key, [range]);
      }
    }
  }

  remove(checked: CheckedMapping): void {
    for (const { address, length } of checked.mapping.ranges) {
      for (const key of keysOf(address, address + length)) {
        const left = this.#buckets.get(key)?.filter((range) => range.checked !== checked) ?? [];
        if (left.length > 0) this.#buckets.set(key, left);
        else this.#buckets.delete(key);
      }
    }
  }

  /** The range around `address`: of a live mapping, else of the one that ended last; null without one. */
  find(address: number): CheckedRange | null {
    let ended: CheckedRange | null = null;
    for (const range of this.#buckets.get(Math.floor(address / BUCKET_BYTES)) ?? []) {
      if (address < range.start || address >= range.end) continue;
      if (range.checked.mapping.state === MappingState.Live) return range;
      ended = range;
    }
    return ended;
  }
}

function* keysOf(start: number, end: number): Iterable<number> {
  const last = Math.floor((end - 1) / BUCKET_BYTES);
  for (let key = Math.floor(start / BUCKET_BYTES); key <= last; key++) yield key;
}
