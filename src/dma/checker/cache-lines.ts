/**
 * Which mappings of one function start in which cache lines: two that a device writes may not share one. [DMAAPI]
 * Model: of one function only, since buffers that several devices share are common here.
 * @module
 */

import { DmaAttr } from '#emu/dma/dma-attr.ts';
import { CACHE_LINE } from '#emu/dma/dma-traits.ts';
import { Direction, MapType } from '#emu/dma/mapping.ts';
import type { MappingRecord } from '#emu/dma/mapping-record.ts';
import type { CheckedMapping } from './checked-ranges.ts';

/** More overlapping mappings than these are reported even where overlaps are not. [DMAAPI] */
export const MOST_OVERLAPS = 7;

const OVERLAP_EXEMPT: number =
  DmaAttr.DebuggingIgnoreCachelines | DmaAttr.RequireCoherent | DmaAttr.SkipCpuSync;
const UNTRACKED: number = DmaAttr.DebuggingIgnoreCachelines | DmaAttr.RequireCoherent;

/** What a new mapping does to the lines it starts in. */
export interface LineConflict {
  readonly kind: 'overlap' | 'overlap-count';
  readonly other: CheckedMapping;
}

export class CacheLines {
  /** Live mappings by line, oldest first. */
  readonly #lines = new Map<number, CheckedMapping[]>();

  /** Enters a mapping; its first conflict, or null. */
  add(checked: CheckedMapping): LineConflict | null {
    const { mapping } = checked;
    if (!isTracked(mapping)) return null;
    let conflict: LineConflict | null = null;
    for (const { address } of mapping.source) {
      conflict = this.#enter(Math.floor(address / CACHE_LINE), checked) ?? conflict;
    }
    return conflict;
  }

  remove(checked: CheckedMapping): void {
    const { mapping } = checked;
    if (!isTracked(mapping)) return;
    for (const { address } of mapping.source) {
      const key = Math.floor(address / CACHE_LINE);
      const mappings = this.#lines.get(key) ?? [];
      const at = mappings.indexOf(checked);
      if (at >= 0) mappings.splice(at, 1);
      if (mappings.length === 0) this.#lines.delete(key);
    }
  }

  #enter(key: number, checked: CheckedMapping): LineConflict | null {
    const mappings = this.#lines.get(key) ?? [];
    const other = mappings.find((each) => each !== checked);
    if (mappings.push(checked) === 1) this.#lines.set(key, mappings);
    if (other === undefined) return null;
    if ((checked.mapping.attrs & OVERLAP_EXEMPT) === 0) return { kind: 'overlap', other };
    return mappings.length > MOST_OVERLAPS + 1 ? { kind: 'overlap-count', other } : null;
  }
}

/** What devices only read, and peer memory, is in no cache that could be stale. */
const isTracked = ({ mapType, direction, attrs }: MappingRecord): boolean =>
  mapType === MapType.None && direction !== Direction.ToDevice && (attrs & UNTRACKED) === 0;
