/**
 * Host DRAM behind the root complex as a server: latency, bandwidth, and what it moved. Timing and counting
 * only; the bytes are in the SparseMemory. @module
 */
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';

export interface MemoryTiming {
  /** From accepting a read to its data, ps. Default 150 ns. */
  readonly latencyPs?: number;
  /** Default 100 GB/s, reads and writes together. */
  readonly bytesPerSecond?: number;
}

export const DEFAULT_MEMORY_LATENCY_PS = 150_000;
export const DEFAULT_MEMORY_BYTES_PER_SECOND = 100e9;
/** Work that the memory controller queues before it holds up the fabric, ps. */
const QUEUE_PS = 200_000;

/** Slots of {@link MemoryServer.counters}. */
export const MemoryCounter = {
  dataRead: 0,
  dataWritten: 1,
  controlRead: 2,
  controlWritten: 3,
} as const;

export class MemoryServer {
  /** Bytes moved for devices, by {@link MemoryCounter}. */
  readonly counters = new Float64Array(4);
  readonly #latencyPs: number;
  readonly #psPerByte: number;
  readonly #clock: Float64Array;
  #busyUntil = -0.5;

  /** @param clock of the kernel: times as arguments would be boxed */
  constructor(clock: Float64Array, timing: MemoryTiming = {}) {
    this.#clock = clock;
    this.#latencyPs = timing.latencyPs ?? DEFAULT_MEMORY_LATENCY_PS;
    this.#psPerByte = 1e12 / (timing.bytesPerSecond ?? DEFAULT_MEMORY_BYTES_PER_SECOND);
  }

  /** Time until a read that starts now has its data, ps. */
  readPs(sizeBytes: number): number {
    return Math.ceil(this.#occupy(sizeBytes)) + this.#latencyPs;
  }

  /** Time for which a write that starts now keeps its receive buffer, ps; 0 while the queue is short. */
  writePs(sizeBytes: number): number {
    const behind = this.#occupy(sizeBytes) - QUEUE_PS;
    return behind > 0 ? Math.ceil(behind) : 0;
  }

  count(isWrite: boolean, purpose: Purpose, sizeBytes: number): void {
    const slot = (purpose === Purpose.Control ? 2 : 0) + (isWrite ? 1 : 0);
    this.counters[slot] = (this.counters[slot] ?? 0) + sizeBytes;
  }

  /** Time until these bytes have passed. */
  #occupy(sizeBytes: number): number {
    const now = this.#clock[0]!;
    const start = this.#busyUntil > now ? this.#busyUntil : now;
    this.#busyUntil = start + sizeBytes * this.#psPerByte;
    return this.#busyUntil - now;
  }
}
