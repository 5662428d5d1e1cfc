/**
 * Page tables of an address space as software keeps them: a radix of four levels with pages of 4 KiB, 2 MiB and
 * 1 GiB, 8 bytes an entry. Rights are the areas' business, references the page keepers'. [RVPRIV] 10.5
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { alignDown } from '#emu/base/units.ts';
import { USER_LIMIT } from './user-address.ts';

/** Sizes a page can have. */
export const PageBytes = { Small: 2 ** 12, Large: 2 ** 21, Giant: 2 ** 30 } as const;
export type PageBytes = (typeof PageBytes)[keyof typeof PageBytes];

/** Bytes that one entry of each level maps, from the lowest level up. */
const ENTRY_BYTES: readonly number[] = [2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39];
const TOP = 3;
const ENTRIES = 512;
/** Stands in bit 0 of an entry in use, so that 0 is a hole. */
const PRESENT = 1;

/** Where new pages come from. */
export interface PageSource {
  /** Physical address of a page of its own, aligned to its size. @throws NO_MEMORY */
  take(pageBytes: PageBytes): number;
}

/** Pages that follow each other both virtually and physically. A record to be reused. */
export class PageRun {
  at = 0;
  address = 0;
  sizeBytes = 0;
}

/** One table. */
class Table {
  /** Physical address + {@link PRESENT}, or 0. */
  readonly entries = new Float64Array(ENTRIES);
  /** Tables below; none at the lowest level. */
  readonly children: (Table | null)[];
  /** Entries and children in use. */
  live = 0;

  constructor(level: number) {
    this.children = level === 0 ? [] : new Array<Table | null>(ENTRIES).fill(null);
  }
}

export class PageTables {
  readonly #root = new Table(TOP);
  #tables = 1;
  #residentBytes = 0;

  /** Tables in use, the root included: 4 KiB each, twice that above the lowest level. */
  get tables(): number {
    return this.#tables;
  }
  /** Bytes that have a page. */
  get residentBytes(): number {
    return this.#residentBytes;
  }

  /** Gives every page of the range that has none one of `source`. The range is a whole number of pages. @throws NO_MEMORY, with the leading part done */
  populate(from: number, limit: number, pageBytes: PageBytes, source: PageSource): void {
    const level = ENTRY_BYTES.indexOf(pageBytes);
    for (let at = from; at < limit; ) {
      const table = this.#descend(at, level);
      for (let i = indexOf(at, level); i < ENTRIES && at < limit; i++) {
        if (table.entries[i] === 0) this.#fill(table, i, pageBytes, source);
        at += pageBytes;
      }
    }
  }

  /** Finds the first run in the range, cut to it; runs end at tables. False when there are only holes. */
  next(from: number, limit: number, run: PageRun): boolean {
    for (let at = from; at < limit; ) {
      let table = this.#root;
      let level = TOP;
      for (;;) {
        const index = indexOf(at, level);
        if (table.entries[index] !== 0) {
          readRun(run, table, level, at, limit);
          return true;
        }
        const below = level > 0 ? table.children[index] : null;
        if (!below) break;
        table = below;
        level--;
      }
      at = alignDown(at, ENTRY_BYTES[level]!) + ENTRY_BYTES[level]!;
    }
    return false;
  }

  /** Takes all pages of the range out, and tables left empty. The range must not cut a page. */
  clear(from: number, limit: number): void {
    this.#clear(this.#root, TOP, 0, from, limit);
  }

  #fill(table: Table, index: number, pageBytes: PageBytes, source: PageSource): void {
    invariant(!table.children[index], 'a large page would replace a table');
    table.entries[index] = source.take(pageBytes) + PRESENT;
    table.live++;
    this.#residentBytes += pageBytes;
  }

  /** The table of `level` for an address, made if it is not there. */
  #descend(at: number, level: number): Table {
    invariant(at >= 0 && at < USER_LIMIT, 'a page outside the user addresses');
    let table = this.#root;
    for (let above = TOP; above > level; above--) {
      const index = indexOf(at, above);
      invariant(table.entries[index] === 0, 'a table would replace a large page');
      const below = table.children[index] ?? new Table(above - 1);
      if (!table.children[index]) {
        table.children[index] = below;
        table.live++;
        this.#tables++;
      }
      table = below;
    }
    return table;
  }

  /** @param base the first address that `table` maps */
  #clear(table: Table, level: number, base: number, from: number, limit: number): void {
    const size = ENTRY_BYTES[level]!;
    const first = Math.max(0, Math.floor((from - base) / size));
    const end = Math.min(ENTRIES, Math.ceil((limit - base) / size));
    for (let i = first; i < end; i++) {
      if (table.entries[i] !== 0) {
        table.entries[i] = 0;
        table.live--;
        this.#residentBytes -= size;
        continue;
      }
      const below = level > 0 ? table.children[i] : null;
      if (!below) continue;
      this.#clear(below, level - 1, base + i * size, from, limit);
      if (below.live > 0) continue;
      table.children[i] = null;
      table.live--;
      this.#tables--;
    }
  }
}

/** Index of an address in its table of `level`: `&` drops the fraction and keeps the low bits. */
const indexOf = (at: number, level: number): number => (at / ENTRY_BYTES[level]!) & (ENTRIES - 1);

/** The run of entries in use that starts with the one of `at`. */
function readRun(run: PageRun, table: Table, level: number, at: number, limit: number): void {
  const size = ENTRY_BYTES[level]!;
  const pageStart = alignDown(at, size);
  let index = indexOf(at, level);
  let entry = table.entries[index]!;
  let end = pageStart + size;
  run.at = at;
  run.address = entry - PRESENT + (at - pageStart);
  while (end < limit && ++index < ENTRIES && table.entries[index] === entry + size) {
    entry += size;
    end += size;
  }
  run.sizeBytes = Math.min(end, limit) - at;
}
