/**
 * The cache of leaf translations: direct-mapped, one entry a page of whatever size, tagged by address space (PSCID).
 * Typed arrays only, so that a hit touches no object. [RVIOMMU] 2.8
 * @module
 */
import { LEVEL_BITS } from './spec.ts';

const EMPTY = -1;
const LEVELS = 4;
/** Bytes mapped by a leaf of each level. */
const LEAF_BYTES: readonly number[] = [2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39];
/** Spreads address spaces over the sets: 2^32 divided by the golden ratio. */
const SPREAD = 0x9e37_79b1 | 0;
/** Keeps the first large page of a region off the set of its first small one. */
const LEVEL_SPREAD = 21;

export class Iotlb {
  readonly entries: number;
  /** Set once a 64 KiB NAPOT page has been cached, which takes one entry for each 4 KiB of it used. */
  sawNapot = false;
  readonly #mask: number;
  /** PSCID * 4 + level, or EMPTY. */
  readonly #space: Int32Array;
  /** First I/O virtual address of the page. */
  readonly #page: Float64Array;
  /** Physical address minus I/O virtual address. */
  readonly #offset: Float64Array;
  readonly #writable: Uint8Array;
  /** When the walk that filled the entry is done, ps. */
  readonly #readyAt: Float64Array;
  /** Live entries of each level, so that lookups skip sizes that are not in use. */
  readonly #live = new Int32Array(LEVELS);

  /** @param entries a power of two */
  constructor(entries: number) {
    this.entries = entries;
    this.#mask = entries - 1;
    this.#space = new Int32Array(entries).fill(EMPTY);
    this.#page = new Float64Array(entries);
    this.#offset = new Float64Array(entries);
    this.#writable = new Uint8Array(entries);
    this.#readyAt = new Float64Array(entries);
  }

  /** Slot that translates `address` in address space `pscid` with the right asked for, or -1. */
  find(pscid: number, address: number, write: boolean): number {
    const live = this.#live;
    let slot = EMPTY;
    if (live[0]! > 0) slot = this.#probe(pscid, 0, address - (address & 0xfff));
    if (slot < 0 && live[1]! > 0) slot = this.#probe(pscid, 1, address - (address & 0x1f_ffff));
    if (slot < 0 && live[2]! + live[3]! > 0) slot = this.#findLarge(pscid, address);
    if (slot >= 0 && write && this.#writable[slot] === 0) return EMPTY;
    return slot;
  }

  /** Physical address of `address` by the entry at `slot`. */
  translate(slot: number, address: number): number {
    return address + this.#offset[slot]!;
  }

  /** When the entry at `slot` became or becomes usable, ps. */
  readyAt(slot: number): number {
    return this.#readyAt[slot]!;
  }

  /** Caches a leaf of `level` found for `address`; `target` is the address it translates to. */
  insert(
    pscid: number,
    level: number,
    address: number,
    target: number,
    writable: boolean,
    readyAt: number,
  ): void {
    const page = leafBase(address, level);
    const slot = this.#set(pscid, level, page);
    this.#drop(slot);
    this.#space[slot] = pscid * LEVELS + level;
    this.#page[slot] = page;
    this.#offset[slot] = target - address;
    this.#writable[slot] = writable ? 1 : 0;
    this.#readyAt[slot] = readyAt;
    this.#live[level]!++;
  }

  /** Drops everything. */
  clear(): void {
    this.#space.fill(EMPTY);
    this.#live.fill(0);
  }

  /** Drops every entry of one address space. */
  dropSpace(pscid: number): void {
    const live = this.#live;
    // Much is unmapped that no device has used.
    if ((live[0]! | live[1]! | live[2]! | live[3]!) === 0) return;
    for (let slot = 0; slot < this.entries; slot++) {
      if (this.#space[slot]! >> 2 === pscid) this.#drop(slot);
    }
  }

  /** Drops the leaf entries that translate `address`, in one address space or, with -1, in all. */
  dropAddress(pscid: number, address: number): void {
    const block = address - (address & 0xffff);
    for (let page = 0; this.sawNapot && page < 0x1_0000; page += 0x1000) {
      this.#dropLeaf(pscid, 0, block + page);
    }
    for (let level = 0; level < LEVELS; level++) {
      this.#dropLeaf(pscid, level, leafBase(address, level));
    }
  }

  #dropLeaf(pscid: number, level: number, page: number): void {
    if (pscid >= 0) {
      const slot = this.#probe(pscid, level, page);
      if (slot >= 0) this.#drop(slot);
      return;
    }
    for (let slot = 0; slot < this.entries; slot++) {
      const isLevel = (this.#space[slot]! & (LEVELS - 1)) === level;
      if (isLevel && this.#page[slot] === page) this.#drop(slot);
    }
  }

  #findLarge(pscid: number, address: number): number {
    const slot = this.#probe(pscid, 2, leafBase(address, 2));
    return slot >= 0 ? slot : this.#probe(pscid, 3, leafBase(address, 3));
  }

  #probe(pscid: number, level: number, page: number): number {
    const slot = this.#set(pscid, level, page);
    const hit = this.#page[slot] === page && this.#space[slot] === pscid * LEVELS + level;
    return hit ? slot : EMPTY;
  }

  #set(pscid: number, level: number, page: number): number {
    const number = (page * 2 ** -12) | 0;
    const spread = Math.imul(pscid, SPREAD) + level * LEVEL_SPREAD;
    return ((number >> (level * LEVEL_BITS)) + spread) & this.#mask;
  }

  #drop(slot: number): void {
    const space = this.#space[slot]!;
    if (space < 0) return;
    this.#live[space & (LEVELS - 1)]!--;
    this.#space[slot] = EMPTY;
  }
}

/** First address of the page of `level` that holds `address`. */
function leafBase(address: number, level: number): number {
  if (level === 0) return address - (address & 0xfff);
  const size = LEAF_BYTES[level]!;
  return Math.floor(address / size) * size;
}
