/**
 * An Sv48 page table in host memory, as its owner writes it: 4 KiB and 2 MiB leaves with A and D set beforehand,
 * so that the hardware never updates an entry. What caches hold of it is the caller's business. [RVPRIV] 10.5
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import { Direction } from '#emu/dma/mapping.ts';
import type { DmaHost } from '#emu/dma/providers/dma-provider.ts';
import { ENTRIES_PER_TABLE, Pte, ppnHi, ppnLo } from '#emu/iommu/spec.ts';
import { arena } from '#emu/memory/arena.ts';

export const TABLE_BYTES = 4096;
const LEAF_BYTES = 2 ** 12;
const LARGE_BYTES = 2 ** 21;
/** Bytes that one entry of each level maps. */
const ENTRY_BYTES: readonly number[] = [LEAF_BYTES, LARGE_BYTES, 2 ** 30, 2 ** 39];
/** 2^-(12 + 9 * level): moves the index of a level to the low bits. */
const INDEX_SCALE: readonly number[] = [2 ** -12, 2 ** -21, 2 ** -30, 2 ** -39];
const TOP = 3;

/** Exclusive bound of the addresses a table can map: the lower half of 48 bits. [RVPRIV] 10.5.1 */
export const SV48_LIMIT: number = 2 ** 47;

/** Leaf flags for each direction. Writing without reading cannot be expressed. [RVPRIV] 10.4.1 */
const READ = Pte.V | Pte.R | Pte.U | Pte.A;
const WRITE = READ | Pte.W | Pte.D;

export const leafFlags = (direction: Direction): number =>
  direction === Direction.ToDevice ? READ : WRITE;

/** A table page with what its owner remembers of it. */
class TableNode {
  readonly address: PhysAddr;
  /** Index into `arena.i32` of entry 0. */
  readonly word: number;
  /** Entries in use. */
  live = 0;
  /** Tables below, by index; empty at the lowest level. */
  readonly children: (TableNode | null)[];

  constructor(host: DmaHost, level: number) {
    this.address = host.allocate(TABLE_BYTES, TABLE_BYTES);
    this.word = host.memory.ensureFrame(this.address) / 4;
    arena.i32.fill(0, this.word, this.word + 2 * ENTRIES_PER_TABLE);
    this.children = level === 0 ? [] : new Array<TableNode | null>(ENTRIES_PER_TABLE).fill(null);
  }
}

export class Sv48Table {
  readonly #host: DmaHost;
  readonly #root: TableNode;
  /** The lowest-level table used last and the first address it maps: most calls stay in it. */
  #last: TableNode | null = null;
  #lastBase = 0;
  #leaves = 0;
  #tables = 1;
  /** Whether tables that end up empty are taken out though only a part of them was cleared. */
  #prunesParts = false;

  constructor(host: DmaHost) {
    this.#host = host;
    this.#root = new TableNode(host, TOP);
  }

  get root(): PhysAddr {
    return this.#root.address;
  }
  /** Leaf entries in use. */
  get leaves(): number {
    return this.#leaves;
  }
  /** Table pages, the root included. */
  get tables(): number {
    return this.#tables;
  }

  /**
   * Maps `sizeBytes` at `iova`, all three multiples of 4 KiB, to `target`.
   * @throws INVARIANT when a part is mapped already; NO_MEMORY, with the leading part mapped
   */
  map(iova: number, target: number, sizeBytes: number, flags: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const left = sizeBytes - done;
      if (left >= LARGE_BYTES && this.#mapLarge(iova + done, target + done, flags)) {
        done += LARGE_BYTES;
      } else {
        done += this.#mapRun(iova + done, target + done, left, flags);
      }
    }
  }

  /**
   * Clears every entry in `sizeBytes` from `iova` on. With `emptied`, tables that map nothing else are taken out and
   * added to it: their pages are to be freed once no cache can know them.
   */
  unmap(iova: number, sizeBytes: number, emptied: PhysAddr[] | null): void {
    const offset = iova & (LARGE_BYTES - 1);
    const isInLast = this.#last !== null && iova - offset === this.#lastBase;
    if (isInLast && emptied === null && offset + sizeBytes <= LARGE_BYTES) {
      const first = offset / LEAF_BYTES;
      this.#clearLeaves(this.#last!, first, first + sizeBytes / LEAF_BYTES);
    } else {
      this.#clear(this.#root, TOP, 0, iova, iova + sizeBytes, emptied);
    }
  }

  /** Clears as {@link unmap} what a failure has made; all tables that are left empty, also those only partly cleared. */
  discard(iova: number, sizeBytes: number): readonly PhysAddr[] {
    const emptied: PhysAddr[] = [];
    this.#prunesParts = true;
    this.unmap(iova, sizeBytes, emptied);
    this.#prunesParts = false;
    return emptied;
  }

  /** All table pages, for their owner to free; the table is of no use any more. */
  dispose(): PhysAddr[] {
    const pages: PhysAddr[] = [];
    const nodes = [this.#root];
    for (let node = nodes.pop(); node; node = nodes.pop()) {
      pages.push(node.address);
      for (const child of node.children) if (child) nodes.push(child);
    }
    this.#last = null;
    this.#leaves = 0;
    this.#tables = 0;
    return pages;
  }

  /** One leaf of 2 MiB, if both addresses are aligned and no table of small pages is in the way. */
  #mapLarge(iova: number, target: number, flags: number): boolean {
    if ((iova & (LARGE_BYTES - 1)) !== 0 || (target & (LARGE_BYTES - 1)) !== 0) return false;
    const node = this.#descend(iova, 1);
    const index = (iova * INDEX_SCALE[1]!) & (ENTRIES_PER_TABLE - 1);
    if (node.children[index]) return false;
    this.#put(node, index, target, flags, iova);
    return true;
  }

  /** Small leaves up to the end of one table; returns the bytes mapped. */
  #mapRun(iova: number, target: number, sizeBytes: number, flags: number): number {
    const node = this.#leafTable(iova);
    const first = (iova * INDEX_SCALE[0]!) & (ENTRIES_PER_TABLE - 1);
    const count = Math.min(ENTRIES_PER_TABLE - first, sizeBytes / LEAF_BYTES);
    for (let i = 0; i < count; i++) {
      this.#put(node, first + i, target + i * LEAF_BYTES, flags, iova);
    }
    return count * LEAF_BYTES;
  }

  #put(node: TableNode, index: number, target: number, flags: number, iova: number): void {
    const word = node.word + 2 * index;
    invariant(arena.i32[word] === 0, 'an I/O virtual address is mapped twice', { iova });
    arena.i32[word] = ppnLo(target) | flags;
    arena.i32[word + 1] = ppnHi(target);
    node.live++;
    this.#leaves++;
  }

  #leafTable(iova: number): TableNode {
    const base = iova - (iova & (LARGE_BYTES - 1));
    if (this.#last !== null && this.#lastBase === base) return this.#last;
    const node = this.#descend(iova, 0);
    this.#last = node;
    this.#lastBase = base;
    return node;
  }

  /** The table of `level` for `iova`, made if it is not there. */
  #descend(iova: number, level: number): TableNode {
    let node = this.#root;
    for (let above = TOP; above > level; above--) {
      const index = (iova * INDEX_SCALE[above]!) & (ENTRIES_PER_TABLE - 1);
      node = node.children[index] ?? this.#addTable(node, index, above - 1);
    }
    return node;
  }

  #addTable(parent: TableNode, index: number, level: number): TableNode {
    const node = new TableNode(this.#host, level);
    const word = parent.word + 2 * index;
    invariant(arena.i32[word] === 0, 'a table would replace a leaf', { level });
    arena.i32[word] = ppnLo(node.address) | Pte.V;
    arena.i32[word + 1] = ppnHi(node.address);
    parent.children[index] = node;
    parent.live++;
    this.#tables++;
    return node;
  }

  /** Clears the part of `node` that [from, to) covers; `base` is the first address that `node` maps. */
  #clear(
    node: TableNode,
    level: number,
    base: number,
    from: number,
    to: number,
    emptied: PhysAddr[] | null,
  ): void {
    const size = ENTRY_BYTES[level]!;
    const first = Math.max(0, Math.floor((from - base) / size));
    const last = Math.min(ENTRIES_PER_TABLE, Math.ceil((to - base) / size));
    if (level === 0) return this.#clearLeaves(node, first, last);
    for (let index = first; index < last; index++) {
      const child = node.children[index];
      if (!child) {
        this.#clearLeaves(node, index, index + 1);
        continue;
      }
      const start = base + index * size;
      this.#clear(child, level - 1, start, from, to, emptied);
      const isWhole = start >= from && start + size <= to;
      if (emptied === null || !(isWhole || (this.#prunesParts && child.live === 0))) continue;
      this.#removeTable(node, index, child, emptied);
    }
  }

  #clearLeaves(node: TableNode, first: number, last: number): void {
    let cleared = 0;
    const end = node.word + 2 * last;
    for (let word = node.word + 2 * first; word < end; word += 2) {
      if (arena.i32[word] === 0) continue;
      arena.i32[word] = 0;
      arena.i32[word + 1] = 0;
      cleared++;
    }
    node.live -= cleared;
    this.#leaves -= cleared;
  }

  #removeTable(parent: TableNode, index: number, child: TableNode, emptied: PhysAddr[]): void {
    const word = parent.word + 2 * index;
    arena.i32[word] = 0;
    arena.i32[word + 1] = 0;
    parent.children[index] = null;
    parent.live--;
    this.#tables--;
    if (this.#last === child) this.#last = null;
    emptied.push(child.address);
  }
}
