/**
 * The IOMMU as the root complex sees it: a translator, and a page of registers. It knows nothing of the
 * software that drives it. [RVIOMMU] 1.0
 * Model: requests have no PASID, privilege or execute; base-format contexts and the first stage only.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import type { Bdf, DmaAddr } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { BarHandler } from '#emu/pcie/endpoint/endpoint.ts';
import type { Translation, Translator } from '#emu/pcie/translator.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import { CommandQueue } from './command-queue.ts';
import { ContextCache } from './context-cache.ts';
import { DeviceDirectory } from './device-directory.ts';
import { FaultQueue } from './fault-queue.ts';
import { InterruptUnit, type MessageSink } from './interrupt-unit.ts';
import { Iotlb } from './iotlb.ts';
import { IommuRegisters } from './registers.ts';
import { Cause, Cqcsr, DdtMode, Ddtp, Reg, Ttyp } from './spec.ts';
import { type AccessCheck, TableMemory } from './table-memory.ts';
import { type IommuProbe, TranslationUnit } from './translation-unit.ts';
import { WalkerPool } from './walker-pool.ts';

export interface IommuOptions {
  readonly path?: string;
  /** Translations cached; a power of two. Default 64. */
  readonly iotlbEntries?: number;
  /** Device contexts cached; a power of two. Default 64. */
  readonly contextEntries?: number;
  /** Time of an answer from the caches, ps. Default 4 ns. */
  readonly hitPs?: number;
  /** Time of each memory access of a walk, ps. Default 100 ns. */
  readonly memoryPs?: number;
  /** Walks that proceed at the same time; more wait. Default 8. */
  readonly walkers?: number;
  /** Time to fetch and execute a command, ps. Default 50 ns. */
  readonly commandPs?: number;
  /** Width of physical addresses, 32 to 52 bits. Default 52. */
  readonly addressBits?: number;
  /** Where interrupt messages go; without it they are written to memory. */
  readonly onInterrupt?: MessageSink;
}

const INTEGERS_TO = 0x7fff_ffff;

export class Iommu implements Translator, BarHandler {
  readonly path: string;
  readonly #registers: IommuRegisters;
  readonly #memory: TableMemory;
  readonly #directory: DeviceDirectory;
  readonly #iotlb: Iotlb;
  readonly #contexts: ContextCache;
  readonly #interrupts: InterruptUnit;
  readonly #faults: FaultQueue;
  readonly #commands: CommandQueue;
  readonly #unit: TranslationUnit;

  /**
   * @param memory host physical memory, indexed by physical address
   * @throws USAGE for an option out of range
   */
  constructor(kernel: Kernel, memory: SparseMemory, options: IommuOptions = {}) {
    const path = options.path ?? 'iommu0';
    const addressBits = integer('addressBits', options.addressBits ?? 52, 32, 52);
    const addressLimit = 2 ** addressBits;
    const registers = new IommuRegisters(addressBits);
    const tables = new TableMemory(memory, addressLimit);
    const interrupts = new InterruptUnit(registers, tables, options.onInterrupt ?? null);
    this.path = path;
    this.#registers = registers;
    this.#memory = tables;
    this.#interrupts = interrupts;
    this.#directory = new DeviceDirectory(tables);
    this.#iotlb = new Iotlb(powerOfTwo('iotlbEntries', options.iotlbEntries ?? 64));
    this.#contexts = new ContextCache(powerOfTwo('contextEntries', options.contextEntries ?? 64));
    this.#faults = new FaultQueue(registers, tables, interrupts);
    const caches = { iotlb: this.#iotlb, contexts: this.#contexts };
    const commandPs = integer('commandPs', options.commandPs ?? 50_000, 0, INTEGERS_TO);
    const queue = { kernel, path, registers, memory: tables, interrupts, commandPs };
    this.#commands = new CommandQueue({ ...queue, ...caches });
    this.#unit = new TranslationUnit({
      kernel,
      memory: tables,
      directory: this.#directory,
      ...caches,
      walkers: new WalkerPool(
        integer('walkers', options.walkers ?? 8, 1, 1024),
        integer('memoryPs', options.memoryPs ?? 100_000, 0, INTEGERS_TO),
      ),
      faults: this.#faults,
      addressLimit,
      hitPs: integer('hitPs', options.hitPs ?? 4_000, 0, INTEGERS_TO),
    });
    interrupts.onWriteFault = (address) =>
      this.#faults.report(Cause.MsiWriteFault, Ttyp.None, 0, address);
    registers.file.onWrite = (register, previous) => this.#written(register, previous);
  }

  /** Events so far, by `IommuCounter`. */
  get counters(): Float64Array {
    return this.#unit.counters;
  }

  /** Commands executed. */
  get commands(): number {
    return this.#commands.executed;
  }

  /** Commands executed that invalidated cached translations: of a page, an address space or all. */
  get invalidations(): number {
    return this.#commands.invalidations;
  }

  /** Who sees faults, or null. */
  set probe(probe: IommuProbe | null) {
    this.#unit.probe = probe;
  }

  /** Decides what the unit's own memory accesses meet, for bad or absent memory; null: all is good. */
  set accessCheck(check: AccessCheck | null) {
    this.#memory.check = check;
  }

  /**
   * Tells when every request translated so far has been carried out, absolute ps. A fence with PR or PW
   * waits for it; with null, requests take no time after their translation.
   */
  set drainedAt(drainedAt: (() => number) | null) {
    this.#commands.drainedAt = drainedAt;
  }

  translate(requester: Bdf, address: DmaAddr, write: boolean, out: Translation): void {
    this.#unit.translate(requester, address, write, out);
  }

  mmioRead(offset: number, size: number, out: DataView, at: number): void {
    if (isLegalAccess(offset, size)) this.#registers.file.read(offset, size, out, at);
    else for (let i = 0; i < size; i++) out.setUint8(at + i, 0);
  }

  mmioWrite(offset: number, size: number, data: DataView, at: number): void {
    if (!isLegalAccess(offset, size)) return;
    if (offset - (offset & 7) === Reg.ddtp) this.#writeDdtp(offset, size, data, at);
    else this.#registers.file.write(offset, size, data, at);
  }

  /**
   * `ddtp` as a whole, since mode and root belong together. A mode that does not exist keeps the old value, and
   * so does a change between two directory depths, which the specification leaves open. [RVIOMMU] 5.5
   */
  #writeDdtp(offset: number, size: number, data: DataView, at: number): void {
    const { file } = this.#registers;
    const isLow = offset === Reg.ddtp;
    const lo = isLow ? data.getUint32(at, true) : this.#registers.get(Reg.ddtp);
    const mode = isDdtMode(Ddtp.iommuMode.get(lo));
    if (mode === null) return;
    if (mode >= DdtMode.OneLevel && this.#directory.mode >= DdtMode.OneLevel) return;
    file.write(offset, size, data, at);
    this.#directory.mode = mode;
    this.#directory.root = this.#registers.pageAt(Reg.ddtp);
    // Caches may survive a change of mode; these do not, so that a hit needs no look at the mode.
    this.#iotlb.clear();
    this.#contexts.clear();
  }

  #written({ offset }: RegisterSpec, previous: number): void {
    switch (offset) {
      case Reg.cqb:
      case Reg.cqb + 4:
        return this.#baseWritten(offset, previous, Reg.cqcsr, Reg.cqt);
      case Reg.fqb:
      case Reg.fqb + 4:
        return this.#baseWritten(offset, previous, Reg.fqcsr, Reg.fqh);
      case Reg.cqt:
        this.#wrapIndex(Reg.cqt, Reg.cqb);
        return this.#commands.kick();
      case Reg.fqh:
        return this.#wrapIndex(Reg.fqh, Reg.fqb);
      case Reg.cqcsr:
        this.#commands.csrWritten(previous);
        return this.#interrupts.update();
      case Reg.fqcsr:
        this.#faults.csrWritten(previous);
        return this.#interrupts.update();
      case Reg.ipsr:
        return this.#interrupts.update();
      default:
        if (offset >= Reg.msiCfgTbl) this.#interrupts.entryWritten((offset - Reg.msiCfgTbl) >> 4);
    }
  }

  /** A queue's base cannot move while it is on; otherwise moving it clears software's index. */
  #baseWritten(offset: number, previous: number, csr: number, index: number): void {
    const isOn = Cqcsr.cqon.get(this.#registers.get(csr)) === 1;
    if (isOn) this.#registers.set(offset, previous);
    else this.#registers.set(index, 0);
  }

  #wrapIndex(index: number, base: number): void {
    const registers = this.#registers;
    registers.set(index, (registers.get(index) & registers.indexMask(base)) >>> 0);
  }
}

/** Registers are accessed by 4 or 8 aligned bytes; anything else reads zero and writes nothing. */
const isLegalAccess = (offset: number, size: number): boolean =>
  (size === 4 || size === 8) && (offset & (size - 1)) === 0;

function isDdtMode(mode: number): DdtMode | null {
  return Object.values(DdtMode).find((known) => known === mode) ?? null;
}

function integer(key: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw usage(`iommu.${key}: expected an integer from ${min} to ${max}, got ${value}`, { key });
}

function powerOfTwo(key: string, value: number): number {
  const entries = integer(key, value, 1, 65_536);
  if ((entries & (entries - 1)) === 0) return entries;
  throw usage(`iommu.${key}: expected a power of two, got ${value}`, { key });
}
