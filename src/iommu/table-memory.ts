/**
 * The unit's own reads and writes of host memory: directory and page-table entries, queues, fence data.
 * Guest-given addresses are checked here and nowhere else.
 * [RVIOMMU] 2.3
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';

/** How an access of the unit ended. */
export const Access = { Ok: 0, Fault: 1, Poison: 2 } as const;
export type Access = (typeof Access)[keyof typeof Access];

/** Decides what an access meets; for memory that is bad or absent. The address may be any non-negative number. */
export type AccessCheck = (address: number, sizeBytes: number, isWrite: boolean) => Access;

export class TableMemory {
  /** Low and high word of the latest {@link read}. */
  lo = 0;
  hi = 0;
  /** Accesses that take a memory latency, counted by the walks; one may be of several words. */
  accesses = 0;
  check: AccessCheck | null = null;
  readonly #memory: SparseMemory;
  readonly #limit: number;

  /** @param limit addresses from here on are outside the unit's physical address width */
  constructor(memory: SparseMemory, limit: number) {
    this.#memory = memory;
    this.#limit = Math.min(limit, memory.sizeBytes);
  }

  /** Reads the 8 bytes at `address`, a multiple of 8, into `lo` and `hi`. */
  read(address: number): Access {
    const verdict = this.#verdict(address, 8, false);
    if (verdict !== Access.Ok) return verdict;
    const frame = this.#memory.frame(address);
    if (frame < 0) {
      this.lo = 0;
      this.hi = 0;
      return Access.Ok;
    }
    const word = (frame + (address & 0xfff)) >>> 2;
    this.lo = (arena.i32[word] ?? 0) >>> 0;
    this.hi = (arena.i32[word + 1] ?? 0) >>> 0;
    return Access.Ok;
  }

  /** Writes the 4 bytes at `address`, a multiple of 4. */
  write32(address: number, value: number): Access {
    const verdict = this.#verdict(address, 4, true);
    if (verdict === Access.Ok) this.#memory.setU32(address, value);
    return verdict;
  }

  #verdict(address: number, sizeBytes: number, isWrite: boolean): Access {
    if (address + sizeBytes > this.#limit) return Access.Fault;
    return this.check === null ? Access.Ok : this.check(address, sizeBytes, isWrite);
  }
}
