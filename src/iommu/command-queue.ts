/**
 * The command queue: fetches commands from host memory one after the other, checks and executes them, and
 * stops at the first it cannot. [RVIOMMU] 3.1, 5.6 to 5.8, 5.15
 * @module
 */
import type { EventArg, Kernel, Target } from '#emu/sim/kernel.ts';
import type { ContextCache } from './context-cache.ts';
import type { InterruptUnit } from './interrupt-unit.ts';
import type { Iotlb } from './iotlb.ts';
import type { IommuRegisters } from './registers.ts';
import { COMMAND_BYTES, Command, Cqcsr, Iodir, Iofence, Iotinval, Reg } from './spec.ts';
import { Access, type TableMemory } from './table-memory.ts';

const ERRORS = Cqcsr.cqmf.mask | Cqcsr.cmd_to.mask | Cqcsr.cmd_ill.mask;
const CLEARED_ON_ENABLE = ERRORS | Cqcsr.fence_w_ip.mask;
const STEP = -1;

/** How a command ended: done, still waiting for traffic to drain, or not executable. */
const Outcome = { Done: 0, Waiting: 1, Illegal: 2, MemoryFault: 3 } as const;
type Outcome = (typeof Outcome)[keyof typeof Outcome];

/** Opcode and func3. */
const CODE_MASK = 0x3ff;
/** Reserved bits of IOTINVAL, those of NL and S included, which are not advertised. */
const INVAL_RESERVED = { lo0: 0x0000_0800, hi0: 0xf000_0ffc, lo1: 0x0000_03ff, hi1: 0xc000_0000 };
/** Reserved bits of IOFENCE.C, and WSI, which needs wires. */
const FENCE_RESERVED = { lo0: 0xffff_c000 | Iofence.WSI.mask, hi1: 0xc000_0000 };
/** Reserved bits of IODIR.INVAL_DDT; PID must be 0. */
const IODIR_RESERVED = { lo0: 0xffff_fc00, hi0: 0x0000_00fd };

export interface CommandQueueParts {
  readonly kernel: Kernel;
  readonly path: string;
  readonly registers: IommuRegisters;
  readonly memory: TableMemory;
  readonly interrupts: InterruptUnit;
  readonly iotlb: Iotlb;
  readonly contexts: ContextCache;
  /** Time to fetch and execute one command, ps. */
  readonly commandPs: number;
}

export class CommandQueue implements Target {
  readonly path: string;
  /** When every request translated so far has been carried out, ps; null when requests take no time. */
  drainedAt: (() => number) | null = null;
  /** Commands executed. */
  executed = 0;
  /** Those of them that dropped translations. */
  invalidations = 0;
  readonly #parts: CommandQueueParts;
  #isScheduled = false;
  /** When the fence at the head may go on; negative when none waits. */
  #fenceDue = -0.5;
  /** The command being executed: words 0 and 1, low and high halves. */
  #lo0 = 0;
  #hi0 = 0;
  #lo1 = 0;
  #hi1 = 0;

  constructor(parts: CommandQueueParts) {
    this.#parts = parts;
    this.path = `${parts.path}.cq`;
  }

  /** Starts on what is in the queue, unless it is stopped or already at work. */
  kick(): void {
    const { registers, kernel, commandPs } = this.#parts;
    const csr = registers.get(Reg.cqcsr);
    const isRunning = Cqcsr.cqon.get(csr) === 1 && (csr & ERRORS) === 0;
    const isEmpty = registers.get(Reg.cqh) === registers.get(Reg.cqt);
    if (!isRunning || isEmpty || this.#isScheduled) return;
    this.#isScheduled = true;
    kernel.schedule(commandPs, this, STEP, null);
  }

  /** `cqcsr` was written: turns the queue on or off, or goes on after an error was cleared. */
  csrWritten(previous: number): void {
    const { registers } = this.#parts;
    const isEnabled = Cqcsr.cqen.get(registers.get(Reg.cqcsr)) === 1;
    const wasEnabled = Cqcsr.cqen.get(previous) === 1;
    if (isEnabled && !wasEnabled) {
      registers.set(Reg.cqh, 0);
      registers.clearBits(Reg.cqcsr, CLEARED_ON_ENABLE);
      registers.setBits(Reg.cqcsr, Cqcsr.cqon.mask);
    } else if (!isEnabled) {
      registers.clearBits(Reg.cqcsr, Cqcsr.cqon.mask);
      this.#fenceDue = -0.5;
    }
    this.kick();
  }

  handle(_op: number, _arg: EventArg): void {
    this.#isScheduled = false;
    const { registers, interrupts, kernel, commandPs } = this.#parts;
    const csr = registers.get(Reg.cqcsr);
    const head = registers.get(Reg.cqh);
    const tail = registers.get(Reg.cqt);
    if (Cqcsr.cqon.get(csr) === 0 || (csr & ERRORS) !== 0 || head === tail) return;
    const outcome = this.#fetch(head) ? this.#execute() : Outcome.MemoryFault;
    if (outcome === Outcome.Waiting) return;
    if (outcome === Outcome.Done) {
      this.executed++;
      const next = (head + 1) & registers.indexMask(Reg.cqb);
      registers.set(Reg.cqh, next);
      if (next === tail) return;
      // No command changes these registers, so that the queue still runs.
      this.#isScheduled = true;
      kernel.schedule(commandPs, this, STEP, null);
      return;
    }
    const error = outcome === Outcome.Illegal ? Cqcsr.cmd_ill : Cqcsr.cqmf;
    registers.setBits(Reg.cqcsr, error.mask);
    interrupts.update();
  }

  #fetch(head: number): boolean {
    const { registers, memory } = this.#parts;
    const at = registers.pageAt(Reg.cqb) + COMMAND_BYTES * head;
    if (memory.read(at) !== Access.Ok) return false;
    this.#lo0 = memory.lo;
    this.#hi0 = memory.hi;
    if (memory.read(at + 8) !== Access.Ok) return false;
    this.#lo1 = memory.lo;
    this.#hi1 = memory.hi;
    return true;
  }

  #execute(): Outcome {
    switch (this.#lo0 & CODE_MASK) {
      case Command.IotinvalVma:
        return this.#invalidate();
      case Command.IotinvalGvma:
        return this.#invalidateGuest();
      case Command.IofenceC:
        return this.#fence();
      case Command.IodirInvalDdt:
        return this.#invalidateContexts();
      default:
        return Outcome.Illegal;
    }
  }

  /** IOTINVAL.VMA. Global mappings are dropped with the others, which is always allowed. */
  #invalidate(): Outcome {
    if (this.#hasReservedInval()) return Outcome.Illegal;
    // Every cached translation is of a host address space: those of guests do not exist.
    if (Iotinval.hiGV.get(this.#hi0) === 1) return Outcome.Done;
    this.invalidations++;
    const { iotlb } = this.#parts;
    const isSpace = Iotinval.hiPSCV.get(this.#hi0) === 1;
    const pscid = isSpace ? Iotinval.PSCID.get(this.#lo0) : -1;
    if (Iotinval.AV.get(this.#lo0) === 1) {
      const page = (this.#lo1 >>> 10) + (this.#hi1 & 0x3fff_ffff) * 0x40_0000;
      iotlb.dropAddress(pscid, page * 4096);
    } else if (isSpace) iotlb.dropSpace(pscid);
    else iotlb.clear();
    return Outcome.Done;
  }

  /** IOTINVAL.GVMA: there is nothing of a second stage to drop. */
  #invalidateGuest(): Outcome {
    const isIllegal = this.#hasReservedInval() || Iotinval.hiPSCV.get(this.#hi0) === 1;
    return isIllegal ? Outcome.Illegal : Outcome.Done;
  }

  #hasReservedInval(): boolean {
    const word0 = (this.#lo0 & INVAL_RESERVED.lo0) | (this.#hi0 & INVAL_RESERVED.hi0);
    const word1 = (this.#lo1 & INVAL_RESERVED.lo1) | (this.#hi1 & INVAL_RESERVED.hi1);
    return (word0 | word1) !== 0;
  }

  #invalidateContexts(): Outcome {
    const reserved = (this.#lo0 & IODIR_RESERVED.lo0) | (this.#hi0 & IODIR_RESERVED.hi0);
    if ((reserved | this.#lo1 | this.#hi1) !== 0) return Outcome.Illegal;
    const { contexts } = this.#parts;
    if (Iodir.hiDV.get(this.#hi0) === 1) contexts.drop(Iodir.hiDID.get(this.#hi0));
    else contexts.clear();
    return Outcome.Done;
  }

  #fence(): Outcome {
    const reserved = (this.#lo0 & FENCE_RESERVED.lo0) | (this.#hi1 & FENCE_RESERVED.hi1);
    if (reserved !== 0) return Outcome.Illegal;
    if (this.#mustWait()) return Outcome.Waiting;
    if (Iofence.AV.get(this.#lo0) === 0) return Outcome.Done;
    const address = (this.#lo1 + (this.#hi1 & 0x3fff_ffff) * 0x1_0000_0000) * 4;
    const access = this.#parts.memory.write32(address, this.#hi0);
    return access === Access.Ok ? Outcome.Done : Outcome.MemoryFault;
  }

  /** PR and PW: earlier requests, already translated, reach memory first. Later ones do not delay it. */
  #mustWait(): boolean {
    const isOrdered = (this.#lo0 & (Iofence.PR.mask | Iofence.PW.mask)) !== 0;
    if (!isOrdered || this.drainedAt === null) return false;
    const { kernel } = this.#parts;
    if (this.#fenceDue < 0) this.#fenceDue = this.drainedAt();
    if (this.#fenceDue <= kernel.now) {
      this.#fenceDue = -0.5;
      return false;
    }
    this.#isScheduled = true;
    kernel.scheduleAt(this.#fenceDue, this, STEP, null);
    return true;
  }
}
