/**
 * Walks the entries of a scatterlist, reads both sides of the current one and fills them. Follows links.
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { type DmaAddr, dmaAddr, hex, type PhysAddr, physAddr } from '#emu/base/units.ts';
import { Mark, type ScatterLayout } from './scatter-layout.ts';
import type { ScatterBlock, ScatterList } from './scatter-list.ts';

const { Memory, LastMemory } = Mark;
/** What a mark that should not be there means. */
const WRONG_MARKS: readonly string[] = [
  'the end is not marked',
  'a link stands too early',
  'an end is marked too early',
  'an entry is link and end',
];

export class ScatterCursor {
  readonly #layout: ScatterLayout;
  readonly #count: number;
  readonly #head: ScatterBlock;
  #block: ScatterBlock;
  #words: Uint32Array;
  /** Number of the next entry in the list, and where the current one is in its block. */
  #index = 0;
  #slot = -1;
  #at = 0;

  constructor(list: ScatterList) {
    this.#layout = list.layout;
    this.#count = list.count;
    this.#head = list.head;
    this.#block = list.head;
    this.#words = list.head.words;
  }

  /** Stands in front of the first entry again. */
  rewind(): void {
    this.#block = this.#head;
    this.#words = this.#head.words;
    this.#index = 0;
    this.#slot = -1;
  }

  /** Moves to the next entry, which must be filled; false at the end. @throws INVARIANT for a corrupt list */
  next(): boolean {
    if (this.#index === this.#count) return false;
    this.advance();
    if (this.length === 0) throw this.#corrupt('an entry has no length');
    return true;
  }

  /** Moves to the next entry, filled or not. @throws USAGE at the end, INVARIANT for a corrupt list */
  advance(): void {
    if (this.#index === this.#count) throw usage(`a scatterlist has ${this.#count} entries`);
    const layout = this.#layout;
    this.#slot++;
    if (this.#slot === this.#block.entries) this.#follow();
    this.#at = this.#slot * layout.entryWords;
    this.#index++;
    const mark = layout.mark(this.#words, this.#at);
    const isLast = this.#index === this.#count;
    if (mark !== (isLast ? LastMemory : Memory)) throw this.#corrupt(WRONG_MARKS[mark] ?? '');
  }

  /** CPU's side of the current entry. */
  get address(): PhysAddr {
    return physAddr(this.#layout.address(this.#words, this.#at));
  }
  get length(): number {
    return this.#layout.length(this.#words, this.#at);
  }
  setCpu(address: number, length: number): void {
    this.#layout.setCpu(this.#words, this.#at, address, length);
  }

  /** Device's side of the current entry, which need not be for the same memory. */
  get dmaAddress(): DmaAddr {
    return dmaAddr(this.#layout.dmaAddress(this.#words, this.#at));
  }
  get dmaLength(): number {
    return this.#layout.dmaLength(this.#words, this.#at);
  }
  get isBusAddress(): boolean {
    return this.#layout.isBusAddress(this.#words, this.#at);
  }
  /** @throws USAGE for what entries without room of their own for it cannot say */
  setDma(address: DmaAddr, length: number, isBusAddress = false): void {
    const isSayable = this.#layout.hasDmaLength || (!isBusAddress && length === this.length);
    if (!isSayable) {
      throw usage(
        `${this.#layout.name} entry: expected a host address and ${this.length} bytes, got ${length} at ${hex(address)}`,
      );
    }
    this.#layout.setDma(this.#words, this.#at, address, length, isBusAddress);
  }

  #follow(): void {
    const { next, ordinal, words, entries } = this.#block;
    const link = this.#layout.link(words, entries * this.#layout.entryWords);
    if (next === null) throw this.#corrupt('its chain is cut');
    if (next.ordinal <= ordinal) throw this.#corrupt('its chain runs in a circle');
    if (link !== next.ordinal || link !== ordinal + 1) throw this.#corrupt('a link is overwritten');
    this.#block = next;
    this.#words = next.words;
    this.#slot = 0;
  }

  #corrupt(what: string): EmuError {
    const detail = { block: this.#block.ordinal, slot: this.#slot, entry: this.#index };
    return new EmuError('INVARIANT', `a scatterlist is corrupt: ${what}`, detail);
  }
}
