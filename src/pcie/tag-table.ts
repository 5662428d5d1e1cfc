/**
 * Outstanding read requests of one function by tag: whose they are and where their data goes. [PCIE] 2.2.6.2
 * @module
 */
import type { DmaJob } from './dma-job.ts';

const TAGS = 256;

export class TagTable {
  readonly #jobs: (DmaJob | null)[] = new Array<DmaJob | null>(TAGS).fill(null);
  /** Bytes of the job before the request's first. */
  readonly #offsets = new Float64Array(TAGS);
  readonly #sizes = new Int32Array(TAGS);
  readonly #left = new Int32Array(TAGS);
  readonly #free = new Int32Array(TAGS);
  /** Tells one use of a tag from the next. */
  readonly #uses = new Int32Array(TAGS);
  #quarantined = 0;
  #freeCount = 0;
  #outstanding = 0;

  constructor() {
    this.#restock();
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  /** Tags that nobody may have for now. */
  get quarantined(): number {
    return this.#quarantined;
  }

  /** Number of this use of a tag, 0 to 2^20 - 1. */
  use(tag: number): number {
    return this.#uses[tag]! & 0xf_ffff;
  }

  /** Takes a tag below `limit` (32 or 256) for `sizeBytes` of a job; -1 when all are in use. */
  take(limit: number, job: DmaJob, offset: number, sizeBytes: number): number {
    // With nothing outstanding the order is made anew, so that a lowered limit is kept.
    if (this.#outstanding + this.#quarantined === 0) this.#restock();
    if (this.#outstanding + this.#quarantined >= limit) return -1;
    const tag = this.#free[--this.#freeCount]!;
    this.#outstanding++;
    this.#uses[tag]!++;
    this.#jobs[tag] = job;
    this.#offsets[tag] = offset;
    this.#sizes[tag] = sizeBytes;
    this.#left[tag] = sizeBytes;
    return tag;
  }

  /** The job of an outstanding tag, or null: an unexpected completion. */
  job(tag: number): DmaJob | null {
    return this.#jobs[tag] ?? null;
  }

  /** Where in its job the next byte of a request's data goes. */
  position(tag: number): number {
    return this.#offsets[tag]! + this.#sizes[tag]! - this.#left[tag]!;
  }

  left(tag: number): number {
    return this.#left[tag] ?? 0;
  }

  /** Counts `sizeBytes` of a request as answered; true when that was the last, and the tag is free. */
  answer(tag: number, sizeBytes: number): boolean {
    const left = this.#left[tag]! - sizeBytes;
    this.#left[tag] = left;
    if (left > 0) return false;
    this.#jobs[tag] = null;
    this.#free[this.#freeCount++] = tag;
    this.#outstanding--;
    return true;
  }

  /**
   * Takes a tag from its job, which was answered no more. In quarantine it is nobody's until {@link release};
   * without, the next request gets it, and with it whatever completion is still on its way. [PCIE] 2.8
   */
  expire(tag: number, quarantine: boolean): void {
    this.#jobs[tag] = null;
    this.#outstanding--;
    if (quarantine) this.#quarantined++;
    else this.#free[this.#freeCount++] = tag;
  }

  /** Ends a quarantine. */
  release(tag: number): void {
    this.#quarantined--;
    this.#free[this.#freeCount++] = tag;
  }

  /** Forgets everything outstanding, as a reset does. */
  clear(): void {
    this.#jobs.fill(null);
    this.#outstanding = 0;
    this.#quarantined = 0;
    this.#restock();
  }

  #restock(): void {
    for (let i = 0; i < TAGS; i++) this.#free[i] = TAGS - 1 - i;
    this.#freeCount = TAGS;
  }
}
