/**
 * The driver's end of the command queue: writes commands to host memory and learns by the data that fences
 * write there when they are done. Work of one instant shares a fence and a doorbell; work that finds the ring
 * full waits its turn. [RVIOMMU] 3.1, 6.2
 * @module
 */
import type { EmuError } from '#emu/base/errors.ts';
import { hi32, lo32, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { COMMAND_BYTES, Command, Iodir, Iofence, Iotinval, Reg } from '#emu/iommu/spec.ts';
import { arena } from '#emu/memory/arena.ts';
import { Timer } from '#emu/sim/timer.ts';
import type { IommuPort } from './iommu-port.ts';

/** Work for the command queue: some invalidations and a fence behind them. */
export interface Invalidation {
  /** Commands that {@link emit} writes, at most {@link MAX_COMMANDS}. */
  readonly commands: number;
  /** Writes them. Called once, maybe later. */
  emit(ring: CommandRing): void;
  /** The fence behind them is done. */
  fenced(): void;
  /** The queue has stopped for good. */
  failed(error: EmuError): void;
}

const LOG2_ENTRIES = 8;
const ENTRIES = 2 ** LOG2_ENTRIES;
export const RING_BYTES: number = ENTRIES * COMMAND_BYTES;
/** Value of the queue base register's low bits. */
export const RING_LOG2SZ_MINUS_1: number = LOG2_ENTRIES - 1;
/** Commands of one piece of work, without its fence. */
export const MAX_COMMANDS = 16;
/** Between two looks at the data that fences write. */
const POLL_PS = 200_000;
const PAGE = 4096;

export class CommandRing {
  readonly base: PhysAddr;
  readonly #port: IommuPort;
  readonly #status: PhysAddr;
  readonly #timer: Timer;
  /** Ends the group of work that is being written, at the same instant. */
  readonly #closing: Timer;
  #tail = 0;
  #used = 0;
  #sequence = 0;
  /** Work in the ring, the data of its fence, and the entries it takes: rings themselves, oldest at `#oldest`. */
  readonly #fences: (Invalidation | null)[] = new Array<Invalidation | null>(ENTRIES).fill(null);
  readonly #fenceData = new Uint32Array(ENTRIES);
  readonly #entries = new Uint16Array(ENTRIES);
  #oldest = 0;
  #fenceCount = 0;
  /** Work that is not in the ring yet. */
  readonly #waiting: Invalidation[] = [];
  #firstWaiting = 0;
  #error: EmuError | null = null;

  constructor(port: IommuPort, path: string) {
    this.#port = port;
    this.base = port.host.allocate(RING_BYTES, PAGE);
    this.#status = port.host.allocate(PAGE, PAGE);
    port.host.memory.setU32(this.#status, 0);
    this.#timer = new Timer(port.host.kernel, path, () => this.#poll());
    this.#closing = new Timer(port.host.kernel, path, () => this.#close());
  }

  /** Fences under way and work that waits for room. */
  get outstanding(): number {
    return this.#fenceCount + this.#waiting.length - this.#firstWaiting;
  }

  /** Carries out `work`, in the order of the calls. */
  submit(work: Invalidation): void {
    if (this.#error) return work.failed(this.#error);
    const isFirst = this.#firstWaiting === this.#waiting.length;
    if (isFirst && this.#hasRoom(work)) this.#enter(work);
    else this.#waiting.push(work);
    if (!this.#timer.armed) this.#timer.arm(POLL_PS);
  }

  /** Fails everything outstanding, and all work to come. */
  stop(error: EmuError): void {
    this.#error = error;
    this.#timer.disarm();
    this.#closing.disarm();
    const waiting = this.#waiting.splice(this.#firstWaiting);
    this.#waiting.length = 0;
    this.#firstWaiting = 0;
    while (this.#fenceCount > 0) this.#takeOldest().failed(error);
    for (const work of waiting) work.failed(error);
  }

  /** IOTINVAL.VMA of the leaf at one address of an address space. [RVIOMMU] 3.1.1 */
  invalidatePage(pscid: number, iova: number): void {
    const lo = Command.IotinvalVma | Iotinval.AV.of(1) | Iotinval.PSCID.of(pscid);
    const page = iova / PAGE;
    this.#put(lo, Iotinval.hiPSCV.of(1), lo32(page * 1024), hi32(page * 1024));
  }

  /** IOTINVAL.VMA of a whole address space, tables included. [RVIOMMU] 3.1.1 */
  invalidateSpace(pscid: number): void {
    this.#put(Command.IotinvalVma | Iotinval.PSCID.of(pscid), Iotinval.hiPSCV.of(1), 0, 0);
  }

  /** IOTINVAL.VMA and IODIR.INVAL_DDT of everything: two commands. [RVIOMMU] 3.1.1, 3.1.3 */
  invalidateAll(): void {
    this.#put(Command.IodirInvalDdt, 0, 0, 0);
    this.#put(Command.IotinvalVma, 0, 0, 0);
  }

  /** IODIR.INVAL_DDT of one device. [RVIOMMU] 3.1.3 */
  invalidateDevice(deviceId: number): void {
    this.#put(Command.IodirInvalDdt, Iodir.hiDV.of(1) | Iodir.hiDID.of(deviceId), 0, 0);
  }

  #hasRoom(work: Invalidation): boolean {
    return this.#used + work.commands + 1 < ENTRIES;
  }

  #enter(work: Invalidation): void {
    work.emit(this);
    const at = (this.#oldest + this.#fenceCount) % ENTRIES;
    this.#fences[at] = work;
    this.#fenceData[at] = this.#sequence + 1;
    this.#entries[at] = work.commands;
    this.#used += work.commands;
    this.#fenceCount++;
    if (!this.#closing.armed) this.#closing.arm(0);
  }

  /** Fences what has been written, and tells the hardware of it. */
  #close(): void {
    this.#sequence = (this.#sequence + 1) >>> 0;
    const order = Iofence.PR.of(1) | Iofence.PW.of(1);
    const address = this.#status / 4;
    const lo = Command.IofenceC | Iofence.AV.of(1) | order;
    this.#put(lo, this.#sequence, lo32(address), hi32(address));
    this.#entries[(this.#oldest + this.#fenceCount - 1) % ENTRIES]! += 1;
    this.#used++;
    this.#port.write(Reg.cqt, this.#tail);
  }

  #takeOldest(): Invalidation {
    const work = this.#fences[this.#oldest]!;
    this.#used -= this.#entries[this.#oldest]!;
    this.#fences[this.#oldest] = null;
    this.#oldest = (this.#oldest + 1) % ENTRIES;
    this.#fenceCount--;
    return work;
  }

  #put(lo0: number, hi0: number, lo1: number, hi1: number): void {
    const at = offsetBy(this.base, this.#tail * COMMAND_BYTES);
    // A command does not cross a page.
    const word = (this.#port.host.memory.ensureFrame(at) + (at & (PAGE - 1))) >>> 2;
    arena.i32[word] = lo0;
    arena.i32[word + 1] = hi0;
    arena.i32[word + 2] = lo1;
    arena.i32[word + 3] = hi1;
    this.#tail = (this.#tail + 1) & (ENTRIES - 1);
  }

  #poll(): void {
    const done = this.#port.host.memory.getU32(this.#status);
    while (this.#fenceCount > 0 && this.#isFenced(done)) this.#takeOldest().fenced();
    this.#enterWaiting();
    if (this.outstanding > 0 && !this.#error) this.#timer.arm(POLL_PS);
  }

  /** Whether the fence behind the oldest work is among those that are done; its data wrap. */
  #isFenced(done: number): boolean {
    return ((done - this.#fenceData[this.#oldest]!) | 0) >= 0;
  }

  #enterWaiting(): void {
    for (;;) {
      const work = this.#waiting[this.#firstWaiting];
      if (!work || !this.#hasRoom(work)) break;
      this.#firstWaiting++;
      this.#enter(work);
    }
    const isMostlyPast = this.#firstWaiting >= 64 && 2 * this.#firstWaiting >= this.#waiting.length;
    if (!isMostlyPast) return;
    this.#waiting.splice(0, this.#firstWaiting);
    this.#firstWaiting = 0;
  }
}
