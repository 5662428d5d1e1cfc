/**
 * How a controller's staging memory is divided: fetched entries, completion entries, PRP lists and SGL segments, data chunks.
 * Sizes are those of address space; only what is touched becomes resident.
 * @module
 */

import { Cqe, Sqe } from '#devices/nvme/spec.ts';
import { alignUp, PAGE_SIZE } from '#emu/base/units.ts';

/** Most entries of a submission queue fetched by one read. */
export const FETCH_BATCH = 8;
/** Most commands of one submission queue under way; more stay in the host's queue. */
export const MAX_IN_FLIGHT = 128;
/** Asynchronous Event Requests held beyond that. */
export const MAX_PARKED = 4;
/** Data moves in chunks of this many bytes, and so many may be between memory and the medium. */
export const CHUNK_SIZE = 64 * 1024;
export const CHUNKS = 32;
/** Largest page size of a PRP list; of an SGL segment less is fetched at once. */
export const MAX_LIST_SIZE = 64 * 1024;
/** Most entries of an admin queue. [NVME] 3.1.3.8 */
export const MAX_ADMIN_ENTRIES = 4096;

export class StagingLayout {
  readonly sizeBytes: number;
  readonly #completions: number;
  readonly #completionStride: number;
  readonly #chunks: number;
  readonly #lists: number;

  /** @param queues pairs of queues, the admin queues included */
  constructor(queues: number, queueEntries: number) {
    this.#completions = alignUp(queues * FETCH_BATCH * Sqe.SIZE, PAGE_SIZE);
    const entries = Math.max(queueEntries, MAX_ADMIN_ENTRIES);
    // Frames are 4 KiB and entries never straddle one, so an entry can be written through a view.
    this.#completionStride = alignUp(entries * Cqe.SIZE, PAGE_SIZE);
    const chunks = this.#completions + queues * this.#completionStride;
    this.#chunks = alignUp(chunks, CHUNK_SIZE);
    this.#lists = this.#chunks + CHUNKS * CHUNK_SIZE;
    this.sizeBytes = this.#lists + (queues * MAX_IN_FLIGHT + MAX_PARKED) * MAX_LIST_SIZE;
  }

  /** Where entries fetched from submission queue `id` land. */
  fetched(id: number): number {
    return id * FETCH_BATCH * Sqe.SIZE;
  }
  /** Image of entry `index` of completion queue `id`. */
  completion(id: number, index: number): number {
    return this.#completions + id * this.#completionStride + index * Cqe.SIZE;
  }
  chunk(index: number): number {
    return this.#chunks + index * CHUNK_SIZE;
  }
  /** PRP list page, or piece of an SGL segment, of the command at `index` in the pool. */
  list(index: number): number {
    return this.#lists + index * MAX_LIST_SIZE;
  }
}
