/**
 * References to the pages of a block of memory, by number: holds of those who map or own a page, and pins for
 * DMA. A page is free when it has neither. 8 bytes a page.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';

/** Who keeps the pages of an area: counts references by physical address. Ranges are rounded out to pages. */
export interface PageKeeper {
  /** Whether the pages may go away with their device, once nobody has a reference. */
  readonly isRemovable: boolean;
  pin(address: number, sizeBytes: number): void;
  /** Ends one pin of every page; pages without a reference are free then. @throws INVARIANT for one not pinned */
  unpin(address: number, sizeBytes: number): void;
  /** Pins of the page at `address`. */
  pinsAt(address: number): number;
  /** Ends one hold of every page; pages without a reference are free then. @throws INVARIANT for one not held */
  drop(address: number, sizeBytes: number): void;
}

export class PageCounts {
  readonly #holds: Uint32Array;
  readonly #pins: Uint32Array;
  #used = 0;

  constructor(pages: number) {
    this.#holds = new Uint32Array(pages);
    this.#pins = new Uint32Array(pages);
  }

  /** Pages that are not free. */
  get used(): number {
    return this.#used;
  }

  isFree(page: number): boolean {
    return this.#holds[page] === 0 && this.#pins[page] === 0;
  }

  pins(page: number): number {
    return this.#pins[page]!;
  }

  hold(page: number): void {
    if (this.isFree(page)) this.#used++;
    this.#holds[page]!++;
  }

  /** Whether that made the page free. @throws INVARIANT when nobody holds it */
  drop(page: number): boolean {
    if (this.#holds[page] === 0) throw wrong('dropped but not held', page);
    this.#holds[page]!--;
    return this.#freed(page);
  }

  /** @throws INVARIANT when the page is free */
  pin(page: number): void {
    if (this.isFree(page)) throw wrong('pinned but free', page);
    this.#pins[page]!++;
  }

  /** Whether that made the page free. @throws INVARIANT when it is not pinned */
  unpin(page: number): boolean {
    if (this.#pins[page] === 0) throw wrong('unpinned but not pinned', page);
    this.#pins[page]!--;
    return this.#freed(page);
  }

  #freed(page: number): boolean {
    if (!this.isFree(page)) return false;
    this.#used--;
    return true;
  }
}

// An invariant() would make its message for every page, at several times the cost of the rest.
const wrong = (what: string, page: number): EmuError =>
  new EmuError('INVARIANT', `page ${page} is ${what}`, { page });
