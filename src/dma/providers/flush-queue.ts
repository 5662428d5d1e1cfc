/**
 * Lazy unmap: what was unmapped waits here, and one flush of the whole address space frees a batch of it. Until
 * then caches may still translate it, and nothing else gets its addresses. [DMAAPI], [RVIOMMU] 6.2
 * Model: entries beyond the limit wait for the flushes under way instead of stalling the caller.
 * @module
 */
import type { EmuError } from '#emu/base/errors.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import type { CommandRing, Invalidation } from '#emu/dma/iommu-driver/command-ring.ts';
import { TABLE_BYTES } from '#emu/dma/iommu-driver/sv48-table.ts';
import type { IovaAllocator } from '#emu/dma/iova/iova-allocator.ts';
import { Timer } from '#emu/sim/timer.ts';
import type { DmaHost } from './dma-provider.ts';

/** Unmapped ranges that start a flush. [DMAAPI] */
export const FLUSH_ENTRIES = 256;
/** From the first unmapped range to the flush, ps: 10 ms. [DMAAPI] */
export const FLUSH_DELAY_PS = 10_000_000_000;

/** When an unmapped address stops being translated: at once, or with the next flush. */
export const FlushPolicy = { Strict: 'strict', Lazy: 'lazy' } as const;
export type FlushPolicy = (typeof FlushPolicy)[keyof typeof FlushPolicy];

/** An unmapped range that caches may still know. */
interface Stale {
  readonly iova: number;
  readonly iovaBytes: number;
  /** Tables that it has left empty. */
  readonly emptied: readonly PhysAddr[] | null;
  /** Flushes started before it was queued: the next one frees it. */
  readonly flushesBefore: number;
}

export interface FlushQueueOptions {
  readonly host: DmaHost;
  readonly ring: CommandRing;
  readonly iovas: IovaAllocator;
  readonly pscid: number;
  /** For errors. */
  readonly path: string;
}

export class FlushQueue implements Invalidation {
  readonly commands = 1;
  readonly #options: FlushQueueOptions;
  readonly #timer: Timer;
  #stale: Stale[] = [];
  /** Entries that no flush has been started for. */
  #unflushed = 0;
  #staleBytes = 0;
  #started = 0;
  #finished = 0;
  #error: EmuError | null = null;

  constructor(options: FlushQueueOptions) {
    this.#options = options;
    this.#timer = new Timer(options.host.kernel, options.path, () => this.flush());
  }

  /** Unmapped ranges whose addresses are not free yet. */
  get count(): number {
    return this.#stale.length;
  }
  /** Bytes of I/O virtual addresses in them. */
  get staleBytes(): number {
    return this.#staleBytes;
  }
  /** Flushes that have ended. */
  get flushes(): number {
    return this.#finished;
  }

  /** Whether `address` was unmapped and may still be translated by a cache. */
  holds(address: number): boolean {
    return this.#stale.some(({ iova, iovaBytes }) => address >= iova && address < iova + iovaBytes);
  }

  /** Takes addresses whose page-table entries are gone. @throws INVARIANT when the command queue has stopped */
  add(iova: number, iovaBytes: number, emptied: readonly PhysAddr[] | null): void {
    if (this.#error) throw this.#error;
    this.#stale.push({ iova, iovaBytes, emptied, flushesBefore: this.#started });
    this.#staleBytes += iovaBytes;
    this.#unflushed++;
    if (this.#unflushed >= FLUSH_ENTRIES) this.flush();
    else if (!this.#timer.armed) this.#timer.arm(FLUSH_DELAY_PS);
  }

  /** Flushes now what has been unmapped so far; without effect when that is nothing. */
  flush(): void {
    if (this.#unflushed === 0) return;
    this.#timer.disarm();
    this.#unflushed = 0;
    this.#started++;
    this.#options.ring.submit(this);
  }

  emit(ring: CommandRing): void {
    ring.invalidateSpace(this.#options.pscid);
  }

  /** A flush has ended: frees what was queued before it started. */
  fenced(): void {
    this.#finished++;
    const kept = this.#stale.findIndex(({ flushesBefore }) => flushesBefore >= this.#finished);
    const past = kept < 0 ? this.#stale : this.#stale.slice(0, kept);
    this.#stale = kept < 0 ? [] : this.#stale.slice(kept);
    for (const entry of past) this.#free(entry);
  }

  failed(error: EmuError): void {
    this.#timer.disarm();
    this.#error = error;
  }

  #free({ iova, iovaBytes, emptied }: Stale): void {
    const { iovas, host } = this.#options;
    this.#staleBytes -= iovaBytes;
    iovas.free(iova, iovaBytes);
    if (emptied !== null) for (const table of emptied) host.free(table, TABLE_BYTES);
  }
}
