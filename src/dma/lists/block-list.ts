/**
 * Equal-block lists, for hardware that takes aligned blocks of one size instead of ranges: memory regions, page
 * tables. The first and the last block may reach beyond the memory. [PHYR]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { alignDown, alignUp, offsetBy } from '#emu/base/units.ts';
import { RunCursor, type WalkableList } from './run-cursor.ts';
import { isPowerOfTwo } from './segment-limits.ts';

export interface BlockPlan {
  readonly blockBytes: number;
  /** Blocks that cover the list. */
  readonly count: number;
  /** Where in the first block the memory begins. */
  readonly firstOffset: number;
}

/** Both ends of a list. */
interface Edges {
  readonly firstStart: number;
  readonly lastEnd: number;
  readonly sizeBytes: number;
  readonly runs: number;
}

/**
 * The block size that takes the fewest blocks, and of those the smallest: what the device can reach beyond the
 * memory is least. Null when no size fits, because ranges meet inside a block.
 * @param zero the address 0 of the list's kind
 * @param sizes powers of two that the hardware knows
 * @param deviceAddress where the device's own address of the memory begins, when its low bits must be the memory's
 * @throws USAGE for an empty list or a size that is no power of two
 */
export function bestBlock<A extends number>(
  zero: A,
  list: WalkableList<A>,
  sizes: readonly number[],
  deviceAddress?: number,
): BlockPlan | null {
  const wrong = sizes.find((size) => !isPowerOfTwo(size));
  if (wrong !== undefined) throw usage(`block size ${wrong}: expected a power of two`);
  const fitting = [...sizes].sort((a, b) => a - b);
  const edges = findEdges(zero, list, fitting);
  if (edges.runs === 0) throw usage('a block list of an empty list');
  if (deviceAddress !== undefined) dropAbove(fitting, edges.firstStart - deviceAddress);
  const largest = fitting.at(-1);
  if (largest === undefined) return null;
  const fewest = blocks(edges, largest);
  const blockBytes = fitting.find((size) => blocks(edges, size) === fewest) ?? largest;
  const firstOffset = edges.firstStart - alignDown(edges.firstStart, blockBytes);
  return { blockBytes, count: fewest, firstOffset };
}

/** Walks a list and drops the sizes that a seam between its runs is no multiple of. */
function findEdges<A extends number>(zero: A, list: WalkableList<A>, fitting: number[]): Edges {
  const cursor = new RunCursor(zero);
  const edges = { firstStart: 0, lastEnd: 0, runs: 0 };
  for (cursor.open(list); cursor.next(); edges.runs++) {
    const { address, length } = cursor;
    if (edges.runs === 0) {
      edges.firstStart = address;
    } else {
      dropAbove(fitting, edges.lastEnd);
      dropAbove(fitting, address);
    }
    edges.lastEnd = address + length;
  }
  return { ...edges, sizeBytes: list.sizeBytes };
}

/** Drops the sizes that do not divide `edge` from the end of an ascending list. */
function dropAbove(sizes: number[], edge: number): void {
  while (sizes.length > 0 && edge % sizes.at(-1)! !== 0) sizes.pop();
}

/** Blocks of `size` bytes that cover the runs. */
function blocks({ firstStart, lastEnd, sizeBytes }: Edges, size: number): number {
  const slack = firstStart - alignDown(firstStart, size) + alignUp(lastEnd, size) - lastEnd;
  return (sizeBytes + slack) / size;
}

/** Walks a list in the blocks of a plan. Reusable. */
export class BlockCursor<A extends number> {
  /** Where the current block begins. Valid after {@link next} returned true. */
  declare address: A;
  flags = 0;
  readonly #zero: A;
  readonly #runs: RunCursor<A>;
  #blockBytes = 0;
  #at = 0.5;
  #end = 0.5;

  /** @param zero the address 0, which gives the fields their type */
  constructor(zero: A) {
    this.address = offsetBy(zero, 0.5);
    this.#zero = zero;
    this.#runs = new RunCursor(zero);
  }

  open(list: WalkableList<A>, { blockBytes }: BlockPlan): void {
    this.#runs.open(list);
    this.#blockBytes = blockBytes;
    this.#at = 0;
    this.#end = 0;
  }

  /** Moves to the next block; false at the end. */
  next(): boolean {
    if (this.#at >= this.#end) {
      const runs = this.#runs;
      if (!runs.next()) return false;
      this.#at = alignDown(runs.address, this.#blockBytes);
      this.#end = runs.address + runs.length;
      this.flags = runs.flags;
    }
    this.address = offsetBy(this.#zero, this.#at);
    this.#at += this.#blockBytes;
    return true;
  }
}
