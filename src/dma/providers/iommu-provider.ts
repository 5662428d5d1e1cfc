/**
 * The IOMMU's driver: brings the unit up, gives every function a context and an address space of its own,
 * and takes its interrupts. [RVIOMMU] 6
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { type Bdf, hex, type PhysAddr } from '#emu/base/units.ts';
import { DmaDevice } from '#emu/dma/dma-device.ts';
import { DEFAULT_TRAITS, type DmaTraits } from '#emu/dma/dma-traits.ts';
import { CommandRing, RING_LOG2SZ_MINUS_1 } from '#emu/dma/iommu-driver/command-ring.ts';
import { ContextTable } from '#emu/dma/iommu-driver/context-table.ts';
import { FAULT_RING_LOG2SZ_MINUS_1, FaultLog } from '#emu/dma/iommu-driver/fault-log.ts';
import { IommuPort } from '#emu/dma/iommu-driver/iommu-port.ts';
import type { Reserved } from '#emu/dma/iova/iova-allocator.ts';
import { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import type { PciView } from '#emu/dma/p2p/pci-view.ts';
import {
  Capabilities,
  Cqcsr,
  DdtMode,
  Ddtp,
  Icvec,
  Ipsr,
  MsiCfg,
  ppnHi,
  ppnLo,
  QueueBase,
  Reg,
} from '#emu/iommu/spec.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import type { BouncePool } from './bounce-pool.ts';
import {
  DEFAULT_LIMITS,
  type DmaHost,
  type DmaLimits,
  type DmaProvider,
  type HostBridgePolicy,
} from './dma-provider.ts';
import { FlushPolicy } from './flush-queue.ts';
import { IommuBouncer } from './iommu-bouncer.ts';
import { IommuDomain } from './iommu-domain.ts';

export interface IommuProviderOptions {
  readonly host: DmaHost;
  readonly view: PciView;
  /** Physical address of the register page. */
  readonly registers: PhysAddr;
  /** Where interrupt messages are written: reserved in every domain. */
  readonly doorbell: Reserved;
  /** Default: never allowed. */
  readonly hostBridgeAllowed?: HostBridgePolicy;
  /** Smallest unit of I/O virtual addresses. Default 4 KiB. */
  readonly granuleBytes?: number;
  /** Whether unmap waits until no cache holds the addresses, or leaves that to a later flush. Default strict. */
  readonly flush?: FlushPolicy;
  /**
   * Whether no I/O virtual address is a peer's bus address too; default true. Without, a switch takes some requests for memory
   * to the peer instead: to see what that looks like. [DMAAPI]
   */
  readonly reservesWindows?: boolean;
  /** Memory for copies, asked for when the first one is made: for devices not coherent or not trusted. */
  readonly pool?: () => BouncePool;
  /** For errors and interrupts. Default `iommu0`. */
  readonly path?: string;
}

const COMMAND_ERRORS = Cqcsr.cqmf.mask | Cqcsr.cmd_to.mask | Cqcsr.cmd_ill.mask;
const VERSION_1_0 = 0x10;

export class IommuProvider implements DmaProvider {
  readonly name = 'iommu';
  readonly faults: FaultLog;
  readonly ring: CommandRing;
  readonly #options: IommuProviderOptions;
  readonly #path: string;
  readonly #port: IommuPort;
  readonly #contexts: ContextTable;
  #domains = 0;
  /** The handler runs, and the interrupt came since it last looked. */
  #isServing = false;
  #isDue = false;

  constructor(options: IommuProviderOptions) {
    const { host, registers } = options;
    this.#options = options;
    this.#path = options.path ?? 'iommu0';
    this.#port = new IommuPort(host, registers);
    this.ring = new CommandRing(this.#port, this.#path);
    this.faults = new FaultLog(this.#port);
    this.#contexts = new ContextTable(host);
  }

  /** Brings the unit up: interrupt, queues, directory; then drops whatever its caches held. [RVIOMMU] 6.1 */
  *start(): Process<void> {
    yield* this.#identify();
    this.#setInterrupt();
    yield* this.#startQueue(Reg.cqb, this.ring.base, RING_LOG2SZ_MINUS_1, Reg.cqt, Reg.cqcsr);
    yield* this.#startQueue(
      Reg.fqb,
      this.faults.base,
      FAULT_RING_LOG2SZ_MINUS_1,
      Reg.fqh,
      Reg.fqcsr,
    );
    const { root } = this.#contexts;
    this.#port.write(Reg.ddtp + 4, ppnHi(root));
    this.#port.write(Reg.ddtp, ppnLo(root) | Ddtp.iommuMode.of(DdtMode.TwoLevel));
    const inUse = Ddtp.busy.mask | Ddtp.iommuMode.mask;
    yield* this.#port.poll(Reg.ddtp, inUse, Ddtp.iommuMode.of(DdtMode.TwoLevel));
    const flushed = this.#options.host.kernel.pending<void>(`${this.#path} flush`);
    this.ring.submit({
      commands: 2,
      emit: (ring) => ring.invalidateAll(),
      fenced: () => flushed.complete(),
      failed: (error) => flushed.fail(error),
    });
    yield* wait(flushed);
  }

  device(
    client: Bdf,
    limits: Partial<DmaLimits> = {},
    partOfTraits: Partial<DmaTraits> = {},
  ): DmaDevice {
    const { host, view, doorbell, granuleBytes = 4096, flush = FlushPolicy.Strict } = this.#options;
    const { reservesWindows = true } = this.#options;
    const traits = { ...DEFAULT_TRAITS, ...partOfTraits };
    const policy = this.#options.hostBridgeAllowed ?? (() => false);
    const domain = new IommuDomain({
      host,
      ring: this.ring,
      segments: new SegmentCursor(view, client, policy),
      limits: checkLimits({ ...DEFAULT_LIMITS, ...limits }, granuleBytes),
      pscid: ++this.#domains,
      granuleBytes,
      // A bus address of a peer must never be an I/O virtual address too. [DMAAPI]
      reserved: [
        ...(reservesWindows
          ? view.windows.map(({ busBase, sizeBytes }) => ({ base: busBase, sizeBytes }))
          : []),
        doorbell,
      ],
      doorbell,
      // What was taken from a device that may be hostile must be out of its reach at once. [DMAAPI]
      flush: traits.isUntrusted ? FlushPolicy.Strict : flush,
      bouncer: this.#bouncer(traits, granuleBytes),
      contexts: {
        clear: () => this.#contexts.clear(client),
        invalidate: (ring) => ring.invalidateDevice(client),
      },
    });
    this.#contexts.set(client, domain.table.root, domain.pscid);
    return new DmaDevice(host.kernel, client, domain, traits);
  }

  /** Who makes copies for a function, if it ever needs some. @throws USAGE without memory for them */
  #bouncer(traits: DmaTraits, granuleBytes: number): IommuBouncer | null {
    const { pool } = this.#options;
    if (traits.isCoherent && !traits.isUntrusted) return null;
    if (pool !== undefined) return new IommuBouncer(pool, traits, granuleBytes);
    throw usage(`${this.#path}: expected a bounce pool for devices not coherent or not trusted`);
  }

  *#identify(): Process<void> {
    const capabilities = yield* this.#port.read(Reg.capabilities);
    const isKnown = Capabilities.version.get(capabilities) === VERSION_1_0;
    if (isKnown && Capabilities.Sv48.get(capabilities) === 1) return;
    const got = `capabilities ${hex(capabilities)}`;
    throw usage(`${this.#path}: expected a RISC-V IOMMU 1.0 with Sv48, got ${got}`);
  }

  /** Both queues share vector 0. */
  #setInterrupt(): void {
    const { address, data } = this.#options.host.interrupt(this.#path, () => this.#interrupted());
    this.#port.write(Reg.icvec, Icvec.civ.of(0) | Icvec.fiv.of(0));
    this.#port.writeAddress(Reg.msiCfgTbl + MsiCfg.addrLo, address);
    this.#port.write(Reg.msiCfgTbl + MsiCfg.data, data);
    this.#port.write(Reg.msiCfgTbl + MsiCfg.control, 0);
  }

  *#startQueue(
    baseReg: number,
    base: PhysAddr,
    log2szMinus1: number,
    indexReg: number,
    csrReg: number,
  ): Process<void> {
    this.#port.write(baseReg + 4, ppnHi(base));
    this.#port.write(baseReg, ppnLo(base) | QueueBase.log2szMinus1.of(log2szMinus1));
    this.#port.write(indexReg, 0);
    // Enable, interrupt enable and on bits stand at the same places in both csrs.
    this.#port.write(csrReg, Cqcsr.cqen.of(1) | Cqcsr.cie.of(1));
    yield* this.#port.poll(csrReg, Cqcsr.cqon.mask | Cqcsr.busy.mask, Cqcsr.cqon.mask);
  }

  #interrupted(): void {
    this.#isDue = true;
    if (this.#isServing) return;
    this.#isServing = true;
    void this.#options.host.kernel.spawn(`${this.#path} interrupt`, this.#serve());
  }

  /** Clears the pending bits before the work, so that what comes meanwhile interrupts again. [RVIOMMU] 6.3 */
  *#serve(): Process<void> {
    while (this.#isDue) {
      this.#isDue = false;
      const pending = yield* this.#port.read(Reg.ipsr);
      if (Ipsr.cip.get(pending) === 1) yield* this.#commandError();
      this.#port.write(Reg.ipsr, pending);
      if (Ipsr.fip.get(pending) === 1) yield* this.faults.drain();
    }
    this.#isServing = false;
  }

  /** The driver writes no illegal commands, so the queue's memory is gone or was overwritten. */
  *#commandError(): Process<void> {
    const csr = yield* this.#port.read(Reg.cqcsr);
    if ((csr & COMMAND_ERRORS) === 0) return;
    const head = yield* this.#port.read(Reg.cqh);
    this.#port.write(Reg.cqcsr, 0);
    const message = `${this.#path}: the command queue stopped at entry ${head}`;
    this.ring.stop(new EmuError('INVARIANT', message, { cqcsr: csr, head }));
  }
}

function checkLimits(limits: DmaLimits, granuleBytes: number): DmaLimits {
  let power = 1;
  while (power < limits.boundaryBytes) power *= 2;
  const isPowerOfTwo = power === limits.boundaryBytes;
  if (!isPowerOfTwo || limits.boundaryBytes < granuleBytes) {
    throw usage(
      `boundaryBytes: expected a power of two of at least ${granuleBytes}, got ${limits.boundaryBytes}`,
    );
  }
  return limits;
}
