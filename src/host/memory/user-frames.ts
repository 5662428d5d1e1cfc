/**
 * Physical pages of one address space: taken from host memory in blocks, handed out close together or scattered, and
 * given back when neither a mapping nor a pin is left. The same calls give the same pages.
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { hex, physAddr } from '#emu/base/units.ts';
import { AddressMap } from '#emu/memory/address-map.ts';
import type { HostMemory } from './mm.ts';
import { PageCounts, type PageKeeper } from './page-counts.ts';
import { PageBytes, type PageSource } from './page-tables.ts';

const SMALL = PageBytes.Small;
/** Small pages are taken from host memory by this many bytes, by fewer when it is nearly full. */
const BLOCK_BYTES = 2 ** 21;
const LONGEST_RUN = BLOCK_BYTES / 2;
/** Share of a block between pages handed out one after the other: no two of them end up neighbours. */
const SPREAD = 0.618;

const Op = { Drop: 0, Pin: 1, Unpin: 2 } as const;
type Op = (typeof Op)[keyof typeof Op];

/** One allocation of host memory, cut into pages. */
class Block {
  readonly base: number;
  readonly pageBytes: number;
  readonly pages: number;
  readonly counts: PageCounts;
  /** Pages that come one after the other before the next jump. */
  readonly #runPages: number;
  readonly #runs: number;
  readonly #stride: number;
  /** Pages never handed out are those from this place in the order on. */
  #fresh = 0;
  /** Pages handed out once and free again. */
  readonly #returned: number[] = [];

  /** @param runPages a power of two, like the number of pages */
  constructor(base: number, pageBytes: number, pages: number, runPages: number) {
    this.base = base;
    this.pageBytes = pageBytes;
    this.pages = pages;
    this.counts = new PageCounts(pages);
    this.#runPages = Math.min(runPages, pages);
    this.#runs = pages / this.#runPages;
    this.#stride = Math.floor(this.#runs * SPREAD) | 1;
  }

  get sizeBytes(): number {
    return this.pages * this.pageBytes;
  }
  get hasFree(): boolean {
    return this.#fresh < this.pages || this.#returned.length > 0;
  }

  /** Address of a free page, held once. There must be one. */
  take(): number {
    const page = this.#fresh < this.pages ? this.#at(this.#fresh++) : this.#returned.pop()!;
    this.counts.hold(page);
    return this.base + page * this.pageBytes;
  }

  giveBack(page: number): void {
    this.#returned.push(page);
  }

  apply(op: Op, page: number): boolean {
    if (op === Op.Drop) return this.counts.drop(page);
    if (op === Op.Unpin) return this.counts.unpin(page);
    this.counts.pin(page);
    return false;
  }

  /** The page at a place in the order. The second run comes first, so that it continues no other block. */
  #at(place: number): number {
    const run = Math.floor(place / this.#runPages);
    const jumped = (run * this.#stride + 1) & (this.#runs - 1);
    return jumped * this.#runPages + (place & (this.#runPages - 1));
  }
}

export class UserFrames implements PageKeeper, PageSource {
  readonly isRemovable = false;
  readonly #mm: HostMemory;
  readonly #runPages: number;
  readonly #blocks = new AddressMap<Block>();
  /** Blocks with a free small page; the last is used first. */
  readonly #open: Block[] = [];
  #usedBytes = 0;

  /**
   * @param runBytes longest physically contiguous run of small pages taken one after the other: a power of two
   * up to 1 MiB, or Infinity for no limit. @throws USAGE
   */
  constructor(mm: HostMemory, runBytes: number = Number.POSITIVE_INFINITY) {
    const isSize =
      runBytes >= SMALL && runBytes <= LONGEST_RUN && (runBytes & (runBytes - 1)) === 0;
    if (!(isSize || runBytes === Number.POSITIVE_INFINITY)) {
      throw usage(`runBytes: expected a power of two from 4 KiB to 1 MiB, got ${runBytes}`);
    }
    this.#mm = mm;
    this.#runPages = isSize ? runBytes / SMALL : BLOCK_BYTES / SMALL;
  }

  /** Bytes of pages that are mapped or pinned. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  take(pageBytes: PageBytes): number {
    if (pageBytes === SMALL) return this.#takeSmall();
    const base = this.#mm.allocate(pageBytes, pageBytes);
    const block = new Block(base, pageBytes, 1, 1);
    this.#blocks.add(base, pageBytes, block);
    this.#usedBytes += pageBytes;
    return block.take();
  }

  pin(address: number, sizeBytes: number): void {
    this.#apply(Op.Pin, address, sizeBytes);
  }

  unpin(address: number, sizeBytes: number): void {
    this.#apply(Op.Unpin, address, sizeBytes);
  }

  drop(address: number, sizeBytes: number): void {
    this.#apply(Op.Drop, address, sizeBytes);
  }

  pinsAt(address: number): number {
    const block = this.#blockAt(address);
    return block.counts.pins(Math.floor((address - block.base) / block.pageBytes));
  }

  #takeSmall(): number {
    const block = this.#open.at(-1) ?? this.#addBlock();
    const page = block.take();
    if (!block.hasFree) this.#open.pop();
    this.#usedBytes += SMALL;
    return page;
  }

  #addBlock(): Block {
    const [base, sizeBytes] = this.#allocate(BLOCK_BYTES);
    const block = new Block(base, SMALL, sizeBytes / SMALL, this.#runPages);
    this.#blocks.add(base, sizeBytes, block);
    this.#open.push(block);
    return block;
  }

  /** Host memory of `sizeBytes`, or of the largest half, quarter ... that is left. */
  #allocate(sizeBytes: number): [base: number, sizeBytes: number] {
    try {
      return [this.#mm.allocate(sizeBytes, sizeBytes), sizeBytes];
    } catch (error) {
      const isFull = error instanceof EmuError && error.code === 'NO_MEMORY';
      if (!isFull || sizeBytes === SMALL) throw error;
      return this.#allocate(sizeBytes / 2);
    }
  }

  #apply(op: Op, address: number, sizeBytes: number): void {
    const limit = address + sizeBytes;
    for (let at = address; at < limit; ) {
      const block = this.#blockAt(at);
      const end = Math.min(limit, block.base + block.sizeBytes);
      const endPage = Math.ceil((end - block.base) / block.pageBytes);
      for (let page = Math.floor((at - block.base) / block.pageBytes); page < endPage; page++) {
        if (block.apply(op, page)) this.#free(block, page);
      }
      at = end;
    }
  }

  #blockAt(address: number): Block {
    const block = this.#blocks.find(address);
    if (block !== undefined) return block;
    throw new EmuError('INVARIANT', `${hex(address)} is no page of this address space`);
  }

  #free(block: Block, page: number): void {
    const { pageBytes } = block;
    this.#usedBytes -= pageBytes;
    if (block.counts.used === 0) {
      const index = this.#open.indexOf(block);
      if (index >= 0) this.#open.splice(index, 1);
      this.#blocks.remove(block.base);
      this.#mm.free(physAddr(block.base), block.sizeBytes);
      return;
    }
    this.#mm.memory.discard(block.base + page * pageBytes, pageBytes);
    if (!block.hasFree) this.#open.unshift(block);
    block.giveBack(page);
  }
}
