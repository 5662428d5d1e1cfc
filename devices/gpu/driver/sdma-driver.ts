/**
 * Feeds jobs to the engine in batches that end with a fence and an interrupt, and completes them.
 * A full ring holds jobs back; a stopped or silent engine fails them by name.
 * @module
 */
import type { SdmaGeneration } from '#devices/gpu/spec.ts';
import { type PhysAddr, us } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { Timer } from '#emu/sim/timer.ts';
import { MAX_PACKET_BYTES, type PacketSource } from './jobs.ts';
import { encodeFence, encodeTrap } from './packet-encoder.ts';
import { SdmaRing } from './sdma-ring.ts';

/** How a job ended. */
export const GpuStatus = {
  Ok: 0,
  /** The engine stopped at an error: see `GpuDevice.fault`. */
  QueueStopped: 1,
  /** The engine said nothing for too long. */
  Timeout: 2,
  /** A bus address inside the frame buffer's window, which the engine would take for VRAM. */
  BadAddress: 3,
  Closed: 4,
} as const;
export type GpuStatus = (typeof GpuStatus)[keyof typeof GpuStatus];

interface Job {
  readonly source: PacketSource;
  readonly result: Pending<GpuStatus>;
}
interface Batch {
  /** Value of its fence. */
  readonly sequence: number;
  /** Ring counter behind it. */
  readonly end: number;
  /** The job that it completes. */
  readonly job: Job | null;
}

export interface SdmaDriverOptions {
  readonly kernel: Kernel;
  readonly path: string;
  readonly sdma: SdmaGeneration;
  readonly ring: SdmaRing;
  readonly memory: SparseMemory;
  /** Where the CPU and the engine see the fence. */
  readonly fence: PhysAddr;
  readonly fenceAddress: number;
  /** Longest silence while work is under way. */
  readonly timeoutPs: number;
  /** Looks why the engine interrupted without completing anything. */
  readonly onUnexplained: () => void;
}

const FENCE_BYTES = 16;
const TRAP_BYTES = 8;
/** Room that a batch needs to take one more packet and end. */
const ROOM: number = SdmaRing.worstBytes(MAX_PACKET_BYTES + FENCE_BYTES + TRAP_BYTES);
/** Batches that fit a ring, so that one can be written while others run. */
const BATCHES_PER_RING = 4;
/** Longest step of the watch over a silent engine. */
const WATCH_PS: number = us(100);
/** Smallest ring that this driver can feed. */
export const MIN_RING_BYTES: number = 16 * 1024;

export class SdmaDriver {
  readonly #options: SdmaDriverOptions;
  readonly #timer: Timer;
  /** Jobs with packets still to write, in order. */
  #jobs: Job[] = [];
  #batches: Batch[] = [];
  #sequence = 0;
  #lost: GpuStatus = GpuStatus.Ok;
  /** When the engine last completed something, or was given work after a rest. */
  #heardPs = 0;
  /** Interrupts that no completed batch explains. */
  #unexplained = 0;

  constructor(options: SdmaDriverOptions) {
    this.#options = options;
    this.#timer = new Timer(options.kernel, `${options.path}.timeout`, () => this.#watch());
  }

  /** Jobs not completed yet. */
  get outstanding(): number {
    const written = this.#batches.filter((batch) => batch.job !== null).length;
    return written + this.#jobs.length;
  }

  /** Queues a job; jobs complete in order. */
  submit(source: PacketSource, result: Pending<GpuStatus>): void {
    if (this.#lost !== GpuStatus.Ok) return result.complete(this.#lost);
    this.#jobs.push({ source, result });
    this.#pump();
  }

  /** The engine's interrupt: completes what its fence says is done. */
  interrupt(): void {
    const { ring, memory, fence } = this.#options;
    const reached = memory.getU32(fence);
    const done = this.#batches.filter((batch) => ((reached - batch.sequence) | 0) >= 0);
    this.#batches = this.#batches.slice(done.length);
    this.#unexplained += 1 - done.length;
    const last = done.at(-1);
    if (last) ring.release(last.end);
    if (last) this.#heardPs = this.#options.kernel.now;
    if (this.#batches.length === 0) this.#timer.disarm();
    for (const batch of done) batch.job?.result.complete(GpuStatus.Ok);
    this.#pump();
    if (this.#unexplained > 0) {
      this.#unexplained = 0;
      this.#options.onUnexplained();
    }
  }

  /** Fails everything, and what is submitted from now on, with `status`. */
  lose(status: GpuStatus): void {
    if (this.#lost !== GpuStatus.Ok) return;
    this.#lost = status;
    this.#timer.disarm();
    const written = this.#batches.flatMap((batch) => (batch.job === null ? [] : [batch.job]));
    const jobs = [...written, ...this.#jobs];
    this.#batches = [];
    this.#jobs = [];
    for (const job of jobs) job.result.complete(status);
  }

  /** Begins anew with an empty ring; the engine has been told the same. */
  reset(): void {
    this.lose(GpuStatus.QueueStopped);
    this.#options.ring.reset();
    this.#unexplained = 0;
    this.#lost = GpuStatus.Ok;
  }

  #pump(): void {
    let wrote = false;
    while (this.#jobs.length > 0 && this.#options.ring.freeBytes >= ROOM) {
      this.#writeBatch();
      wrote = true;
    }
    if (!wrote) return;
    this.#options.ring.ring();
    if (this.#timer.armed) return;
    this.#heardPs = this.#options.kernel.now;
    this.#watch();
  }

  /** Looks at the engine's silence in short steps, so that no event stays far ahead once it is idle. */
  #watch(): void {
    const { kernel, timeoutPs } = this.#options;
    const leftPs = this.#heardPs + timeoutPs - kernel.now;
    if (leftPs > 0) this.#timer.arm(Math.min(leftPs, WATCH_PS));
    else this.lose(GpuStatus.Timeout);
  }

  /** Writes packets of the first job up to a share of the ring, a fence and an interrupt. */
  #writeBatch(): void {
    const { ring, sdma, fenceAddress } = this.#options;
    const job = this.#jobs[0];
    if (!job) return;
    const share = Math.min(ring.freeBytes, ring.sizeBytes / BATCHES_PER_RING);
    const start = ring.wptr;
    let more = true;
    while (more && ring.wptr - start + ROOM <= share) {
      const bytes = job.source.next(ring.packet);
      if (bytes > 0) ring.push(bytes);
      else more = false;
    }
    if (!more) this.#jobs.shift();
    this.#sequence = (this.#sequence + 1) >>> 0;
    ring.push(encodeFence(sdma, ring.packet, fenceAddress, this.#sequence));
    ring.push(encodeTrap(sdma, ring.packet, 0));
    this.#batches.push({ sequence: this.#sequence, end: ring.wptr, job: more ? null : job });
  }
}
