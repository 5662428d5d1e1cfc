/**
 * What happens to one request: caches, walks, and the record of a fault. Registers and commands reach it
 * only through what they change: the directory's root and the caches. [RVIOMMU] 2.3
 * @module
 */
import { physAddr } from '#emu/base/units.ts';
import type { Translation } from '#emu/pcie/translator.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import { type ContextCache, DeviceContext } from './context-cache.ts';
import { type DeviceDirectory, NO_FAULT } from './device-directory.ts';
import type { FaultQueue } from './fault-queue.ts';
import type { Iotlb } from './iotlb.ts';
import { PageWalk } from './page-walk.ts';
import { Cause, DdtMode, FirstStage, Ttyp } from './spec.ts';
import type { TableMemory } from './table-memory.ts';
import type { WalkerPool } from './walker-pool.ts';

/** Slots of the unit's counters. */
export const IommuCounter = { hits: 0, misses: 1, accesses: 2, faults: 3 } as const;

/** Sees every fault as it happens, also those that the fault queue drops. Must change nothing. */
export interface IommuProbe {
  fault(cause: number, deviceId: number, address: number, write: boolean): void;
}

export interface TranslationParts {
  readonly kernel: Kernel;
  readonly memory: TableMemory;
  readonly directory: DeviceDirectory;
  readonly contexts: ContextCache;
  readonly iotlb: Iotlb;
  readonly walkers: WalkerPool;
  readonly faults: FaultQueue;
  /** Exclusive bound of physical addresses. */
  readonly addressLimit: number;
  /** Time of an answer from the caches, ps. */
  readonly hitPs: number;
}

/** No address space, since the request was not paged; or no slot. */
const NONE = -1;

export class TranslationUnit {
  /** Events by {@link IommuCounter}. */
  readonly counters = new Float64Array(4);
  probe: IommuProbe | null = null;
  readonly #kernel: Kernel;
  readonly #contexts: ContextCache;
  readonly #iotlb: Iotlb;
  readonly #hitPs: number;
  readonly #parts: TranslationParts;
  readonly #pages: PageWalk;
  readonly #walked = new DeviceContext();
  /** Of the latest slow request: its address space, the cache slot that answers it after all, quiet faults. */
  #pscid = NONE;
  #slot = NONE;
  #isQuiet = false;

  constructor(parts: TranslationParts) {
    this.#parts = parts;
    this.#kernel = parts.kernel;
    this.#contexts = parts.contexts;
    this.#iotlb = parts.iotlb;
    this.#hitPs = parts.hitPs;
    this.#pages = new PageWalk(parts.memory, parts.addressLimit);
  }

  /** Answers one request of at most a page. The caches are empty whenever translation is not on. */
  translate(deviceId: number, address: number, write: boolean, out: Translation): void {
    const context = this.#contexts.find(deviceId);
    if (context !== null && context.firstStage !== FirstStage.Bare) {
      const slot = this.#iotlb.find(context.pscid, address, write);
      if (slot >= 0) {
        this.counters[IommuCounter.hits]!++;
        // A walk for the same page may still be under way: its followers wait for it.
        const waitPs = this.#iotlb.readyAt(slot) - this.#kernel.now;
        out.fault = false;
        out.address = physAddr(this.#iotlb.translate(slot, address));
        out.latencyPs = waitPs > 0 ? waitPs + this.#hitPs : this.#hitPs;
        return;
      }
    }
    this.#translateSlowly(deviceId, address, write, context, out);
  }

  #translateSlowly(
    deviceId: number,
    address: number,
    write: boolean,
    cached: DeviceContext | null,
    out: Translation,
  ): void {
    const { memory, faults } = this.#parts;
    memory.accesses = 0;
    this.#pscid = NONE;
    this.#slot = NONE;
    this.#isQuiet = false;
    const cause = this.#walk(deviceId, address, write, cached);
    const walkPs = this.#walkPs(memory.accesses);
    out.latencyPs = walkPs + this.#hitPs;
    out.fault = cause !== NO_FAULT;
    if (cause !== NO_FAULT) {
      out.address = physAddr(0);
      this.counters[IommuCounter.faults]!++;
      if (this.probe !== null) this.probe.fault(cause, deviceId, address, write);
      const ttyp = write ? Ttyp.UntranslatedWrite : Ttyp.UntranslatedRead;
      if (!this.#isQuiet) faults.report(cause, ttyp, deviceId, address);
    } else if (this.#pscid === NONE) {
      out.address = physAddr(address);
    } else if (this.#slot >= 0) {
      out.address = physAddr(this.#iotlb.translate(this.#slot, address));
    } else {
      out.address = physAddr(this.#pages.target);
      this.#fill(address, this.#kernel.now + walkPs);
    }
  }

  /** Context, then page; returns the cause. */
  #walk(deviceId: number, address: number, write: boolean, cached: DeviceContext | null): number {
    const { directory, contexts } = this.#parts;
    if (directory.mode === DdtMode.Off) return Cause.AllInboundDisallowed;
    if (directory.mode === DdtMode.Bare) return NO_FAULT;
    const context = cached ?? this.#walked;
    if (cached === null) {
      const cause = directory.walk(deviceId, context);
      if (cause !== NO_FAULT) return cause;
      contexts.insert(deviceId, context);
    }
    if (context.firstStage === FirstStage.Bare) return NO_FAULT;
    this.#pscid = context.pscid;
    this.#isQuiet = context.quiet;
    if (cached === null) this.#slot = this.#iotlb.find(context.pscid, address, write);
    if (this.#slot >= 0) return NO_FAULT;
    this.counters[IommuCounter.misses]!++;
    return this.#pages.walk(context.firstStage, context.root, address, write);
  }

  #walkPs(accesses: number): number {
    if (accesses === 0) return 0;
    this.counters[IommuCounter.accesses]! += accesses;
    return this.#parts.walkers.occupy(this.#kernel.now, accesses);
  }

  #fill(address: number, readyAt: number): void {
    const pages = this.#pages;
    if (pages.napot) this.#iotlb.sawNapot = true;
    this.#iotlb.insert(this.#pscid, pages.level, address, pages.target, pages.writable, readyAt);
  }
}
