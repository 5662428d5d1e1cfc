/**
 * What a drive keeps its blocks in: the interface, and a store in simulated memory.
 * Stores on files live where the host's file system may be touched.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { ADDR_LIMIT } from '#emu/base/units.ts';
import { copyMemory, SparseMemory } from './sparse-memory.ts';

/** Outcome of a block operation: a value, which the device turns into a status of its own. */
export const StoreStatus = {
  Ok: 0,
  ReadError: 1,
  WriteError: 2,
  ReadOnly: 3,
  OutOfSpace: 4,
} as const;
export type StoreStatus = (typeof StoreStatus)[keyof typeof StoreStatus];

export interface BlockStore {
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  readonly readOnly: boolean;
  /** Reads `count` blocks into `into` at `at`; holes stay holes. */
  read(block: number, count: number, into: SparseMemory, at: number): StoreStatus;
  /** Writes `count` blocks from `from` at `at`. */
  write(block: number, count: number, from: SparseMemory, at: number): StoreStatus;
  /** Returns once everything written is durable. */
  flush(): StoreStatus;
  /** Releases what the store holds; nothing may be called after it. */
  close(): void;
}

export interface MemoryStoreOptions {
  readonly blockCount: number;
  /** 512 or 4096, default 512. */
  readonly blockSizeBytes?: number;
  readonly readOnly?: boolean;
}

/** Blocks in simulated memory; those never written take none. */
export class MemoryStore implements BlockStore {
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  readonly readOnly: boolean;
  /** The blocks as bytes, for filling the store from outside. */
  readonly memory: SparseMemory;

  /** @throws USAGE */
  constructor({ blockCount, blockSizeBytes = 512, readOnly = false }: MemoryStoreOptions) {
    if (blockSizeBytes !== 512 && blockSizeBytes !== 4096) {
      throw usage(`blockSizeBytes: expected 512 or 4096, got ${blockSizeBytes}`);
    }
    const limit = ADDR_LIMIT / blockSizeBytes;
    if (!(Number.isInteger(blockCount) && blockCount >= 0 && blockCount <= limit)) {
      throw usage(`blockCount: expected an integer of 0 to ${limit}, got ${blockCount}`);
    }
    this.blockSizeBytes = blockSizeBytes;
    this.blockCount = blockCount;
    this.readOnly = readOnly;
    this.memory = new SparseMemory(blockCount * blockSizeBytes, 'block store');
  }

  read(block: number, count: number, into: SparseMemory, at: number): StoreStatus {
    if (!this.#holds(block, count)) return StoreStatus.ReadError;
    const size = this.blockSizeBytes;
    copyMemory(into, at, this.memory, block * size, count * size);
    return StoreStatus.Ok;
  }

  write(block: number, count: number, from: SparseMemory, at: number): StoreStatus {
    if (this.readOnly) return StoreStatus.ReadOnly;
    if (!this.#holds(block, count)) return StoreStatus.WriteError;
    const size = this.blockSizeBytes;
    copyMemory(this.memory, block * size, from, at, count * size);
    return StoreStatus.Ok;
  }

  flush(): StoreStatus {
    return StoreStatus.Ok;
  }

  close(): void {
    this.memory.dispose();
  }

  #holds(block: number, count: number): boolean {
    return block >= 0 && count >= 0 && block + count <= this.blockCount;
  }
}
