/**
 * The one namespace: a block store behind logical block addresses, with what the store says turned into
 * statuses. [NVMECS] 2.1
 * @module
 */

import { Status } from '#devices/nvme/spec.ts';
import { type BlockStore, StoreStatus } from '#emu/memory/block-store.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';

/** The namespace identifier of the only namespace. */
export const NSID = 1;

/** What each store status means to the host. [NVME] 3.3.3.2.1 */
const FROM_STORE: Readonly<Record<StoreStatus, Status>> = {
  [StoreStatus.Ok]: Status.Success,
  [StoreStatus.ReadError]: Status.UnrecoveredReadError,
  [StoreStatus.WriteError]: Status.WriteFault,
  [StoreStatus.ReadOnly]: Status.NamespaceWriteProtected,
  [StoreStatus.OutOfSpace]: Status.CapacityExceeded,
};

export class Namespace {
  readonly store: BlockStore;
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  /** Log2 of the block size. */
  readonly blockShift: number;
  /** Traffic since the drive was made, for the health log. */
  bytesRead = 0;
  bytesWritten = 0;
  reads = 0;
  writes = 0;
  mediaErrors = 0;

  constructor(store: BlockStore) {
    this.store = store;
    this.blockSizeBytes = store.blockSizeBytes;
    this.blockCount = store.blockCount;
    this.blockShift = 31 - Math.clz32(store.blockSizeBytes);
  }

  get readOnly(): boolean {
    return this.store.readOnly;
  }

  /** Whether `count` blocks from a 64-bit block number given in halves exist. */
  holds(blockLo: number, blockHi: number, count: number): boolean {
    // Nothing wraps, and a sum too large to be exact is far beyond every store.
    return blockHi * 2 ** 32 + blockLo + count <= this.blockCount;
  }

  read(block: number, count: number, into: SparseMemory, at: number): Status {
    const status = this.#note(this.store.read(block, count, into, at));
    if (status === Status.Success) this.bytesRead += count * this.blockSizeBytes;
    return status;
  }

  write(block: number, count: number, from: SparseMemory, at: number): Status {
    const status = this.#note(this.store.write(block, count, from, at));
    if (status === Status.Success) this.bytesWritten += count * this.blockSizeBytes;
    return status;
  }

  flush(): Status {
    return this.#note(this.store.flush());
  }

  #note(result: StoreStatus): Status {
    const status = FROM_STORE[result];
    if (result === StoreStatus.ReadError || result === StoreStatus.WriteError) this.mediaErrors++;
    return status;
  }
}
