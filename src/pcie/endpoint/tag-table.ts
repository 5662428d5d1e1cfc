/**
 * Outstanding read requests of one function by tag: whose they are and where their data goes. [PCIE] 2.2.6.2
 * @module
 */
import type { DmaJob } from './dma-job.ts';

/** Bits of a tag in non-flit mode. [PCIE] 2.2.6.2 */
export const TAG_BITS = 10;
const TAGS: number = 1 << TAG_BITS;
/** Tags that every completer handles; those above need a completer, and a requester, of 10 bits. */
export const SMALL_TAGS = 256;

/**
 * Tags in use at once by what software has enabled. With 10 bits the two upper bits are not both 0, so that a
 * completer of 8 bits is found out. Model: 14-bit tags are named, not used: they need flit mode. [PCIE] 2.2.6.2
 */
export const TAG_LIMITS = { Five: 32, Extended: 256, TenBit: 768, FourteenBit: 15_360 } as const;

export class TagTable {
  readonly #jobs: (DmaJob | null)[] = new Array<DmaJob | null>(TAGS).fill(null);
  /** Bytes of the job before the request's first. */
  readonly #offsets = new Float64Array(TAGS);
  readonly #sizes = new Int32Array(TAGS);
  readonly #left = new Int32Array(TAGS);
  /** Two stacks, of the small tags below {@link SMALL_TAGS} and of the large ones from there on. */
  readonly #free = new Int32Array(TAGS);
  /** Free small and large tags. */
  #freeSmall = 0;
  #freeLarge = 0;
  #outstanding = 0;

  constructor() {
    this.#restock();
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  /** Takes a small tag below `limit` (32 or 256) for `sizeBytes` of a job; -1 when all are in use. */
  take(limit: number, job: DmaJob, offset: number, sizeBytes: number): number {
    // With all of them free the order is made anew, so that a lowered limit is kept.
    if (this.#freeSmall === SMALL_TAGS) this.#restockSmall();
    if (SMALL_TAGS - this.#freeSmall >= limit) return -1;
    return this.#use(this.#free[--this.#freeSmall]!, job, offset, sizeBytes);
  }

  /** The same for a large tag, of which there are {@link TAG_LIMITS}.TenBit. */
  takeLarge(job: DmaJob, offset: number, sizeBytes: number): number {
    if (this.#freeLarge === 0) return -1;
    return this.#use(this.#free[SMALL_TAGS + --this.#freeLarge]!, job, offset, sizeBytes);
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
    this.#giveBack(tag);
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
    if (!quarantine) this.#giveBack(tag);
  }

  /** Ends a quarantine. */
  release(tag: number): void {
    this.#giveBack(tag);
  }

  /** Forgets everything outstanding, as a reset does. */
  clear(): void {
    this.#jobs.fill(null);
    this.#outstanding = 0;
    this.#restock();
  }

  #use(tag: number, job: DmaJob, offset: number, sizeBytes: number): number {
    this.#outstanding++;
    this.#jobs[tag] = job;
    this.#offsets[tag] = offset;
    this.#sizes[tag] = sizeBytes;
    this.#left[tag] = sizeBytes;
    return tag;
  }

  #giveBack(tag: number): void {
    if (tag < SMALL_TAGS) this.#free[this.#freeSmall++] = tag;
    else this.#free[SMALL_TAGS + this.#freeLarge++] = tag;
  }

  #restock(): void {
    this.#restockSmall();
    for (let i = SMALL_TAGS; i < TAGS; i++) this.#free[i] = TAGS - 1 + SMALL_TAGS - i;
    this.#freeLarge = TAGS - SMALL_TAGS;
  }

  #restockSmall(): void {
    for (let i = 0; i < SMALL_TAGS; i++) this.#free[i] = SMALL_TAGS - 1 - i;
    this.#freeSmall = SMALL_TAGS;
  }
}
