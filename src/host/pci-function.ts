/**
 * A driver's handle on one function: configuration accesses, BARs, interrupts, bus mastering and its DMA
 * mappings. Everything it does to the hardware is a request on the fabric. [PCIE] 6.1.4, 7.5, 7.7
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { type Bdf, hi32, lo32, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { ConfigIo, type ConfigPort } from '#emu/host/enumeration/config-io.ts';
import type { PciNode } from '#emu/host/enumeration/pci-node.ts';
import type { InterruptMessage, Interrupts } from '#emu/host/services/interrupts.ts';
import { type LegacyInterrupts, lineOf } from '#emu/host/services/legacy-interrupts.ts';
import {
  CapabilityId,
  Command,
  type ExtendedId,
  Header,
  Msi,
  MsiControl,
  MsiX,
  MsiXControl,
  MsiXEntry,
  MsiXLocation,
} from '#emu/pcie/config/config-registers.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import type { Cpu } from './cpu.ts';

/** A BAR as the CPU reaches it. */
export interface FunctionBar {
  readonly index: number;
  readonly address: PhysAddr;
  readonly sizeBytes: number;
}

/** Makes the DMA interface of one function. */
export type MakeDma = (limits: Partial<DmaLimits>) => DmaDevice;

/** What of the host a function handle works with. */
export interface FunctionHost {
  readonly root: ConfigPort;
  readonly cpu: Cpu;
  readonly interrupts: Interrupts;
  readonly legacyInterrupts: LegacyInterrupts;
}

export class PciFunction {
  readonly name: string;
  readonly path: string;
  readonly bdf: Bdf;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly classCode: number;
  readonly bars: readonly FunctionBar[];
  /**
   * How the driver leaves when the device goes away, by itself or by the button; it unmaps what it has mapped. The
   * device does not answer any more when that comes as a surprise.
   */
  onRemove: ((isSurprise: boolean) => Process<void>) | null = null;
  readonly #host: FunctionHost;
  readonly #io: ConfigIo;
  readonly #capabilities: ReadonlyMap<number, number>;
  readonly #extended: ReadonlyMap<number, number>;
  readonly #makeDma: MakeDma;
  #dma: DmaDevice | null = null;
  #limits: Partial<DmaLimits> = {};
  #messages: InterruptMessage[] = [];
  readonly #node: PciNode;
  /** Of the interrupt pin while it is in use, else -1. */
  #line = -1;

  /** @param makeDma called once, when a driver first asks for mappings */
  constructor(host: FunctionHost, node: PciNode, makeDma: MakeDma) {
    this.name = node.name;
    this.path = node.path;
    this.bdf = node.bdf;
    this.vendorId = node.vendorId;
    this.deviceId = node.deviceId;
    this.classCode = node.classCode;
    this.bars = node.bars;
    this.#makeDma = makeDma;
    this.#node = node;
    this.#host = host;
    this.#io = new ConfigIo(host.root, node.bdf);
    this.#capabilities = node.capabilities;
    this.#extended = node.extendedCapabilities;
  }

  /** Mappings of memory for this function. */
  get dma(): DmaDevice {
    this.#dma ??= this.#makeDma(this.#limits);
    return this.#dma;
  }

  /**
   * Declares what the function's DMA engine cannot do; a driver that comes back may say the same again.
   * @throws INVARIANT for other limits after the first use of `dma`
   */
  limitDma(limits: Partial<DmaLimits>): void {
    const isFree = this.#dma === null || sameLimits(limits, this.#limits);
    invariant(isFree, `${this.path}: DMA limits come before the first mapping`);
    this.#limits = limits;
  }

  /** Ends the DMA interface, with which nothing is mapped any more; the next use of `dma` makes another. @throws CHECKER */
  *detachDma(): Process<void> {
    if (this.#dma === null) return;
    yield* wait(this.#dma.detach());
    this.#dma = null;
  }

  /** @throws INVARIANT when the function has no such memory BAR */
  bar(index: number): FunctionBar {
    const found = this.bars.find((bar) => bar.index === index);
    invariant(found !== undefined, `${this.path} has no BAR${index}`);
    return found;
  }

  /** Offset of a capability, or 0. */
  capability(id: CapabilityId): number {
    return this.#capabilities.get(id) ?? 0;
  }

  /** Offset of an extended capability, or 0. */
  extendedCapability(id: ExtendedId): number {
    return this.#extended.get(id) ?? 0;
  }

  configRead32(offset: number): Process<number> {
    return this.#io.read(offset, 4);
  }
  configWrite32(offset: number, value: number): Process<void> {
    return this.#io.write(offset, 4, value);
  }
  configRead16(offset: number): Process<number> {
    return this.#io.read(offset, 2);
  }
  configWrite16(offset: number, value: number): Process<void> {
    return this.#io.write(offset, 2, value);
  }

  /** Lets the function send requests, or stops it. [PCIE] 7.5.1.1.3 */
  setBusMaster(on: boolean): Process<void> {
    return this.#io.update16(Header.Command, [Command.BME, +on]);
  }

  /** Vectors of the MSI-X table, 0 without the capability. */
  *msixVectors(): Process<number> {
    const at = this.capability(CapabilityId.MsiX);
    if (at === 0) return 0;
    return MsiXControl.TableSize.get(yield* this.#io.read(at + MsiX.Control, 2)) + 1;
  }

  /**
   * Turns MSI-X on with one handler for each of the first `count` vectors; the others stay masked.
   * @throws INVARIANT when the table is smaller
   */
  *enableMsix(count: number, handlers: readonly (() => void)[]): Process<void> {
    const vectors = yield* this.msixVectors();
    invariant(
      count <= vectors && handlers.length === count,
      `${this.path}: ${handlers.length} handlers for ${count} MSI-X vectors of ${vectors}`,
    );
    this.#release();
    const at = this.capability(CapabilityId.MsiX);
    const enable = [MsiXControl.Enable, 1] as const;
    yield* this.#io.update16(at + MsiX.Control, enable, [MsiXControl.FunctionMask, 1]);
    const location = yield* this.#io.read(at + MsiX.Table, 4);
    const bar = this.bar(MsiXLocation.Bir.get(location));
    const table = offsetBy(bar.address, MsiXLocation.Bir.put(location, 0));
    for (const [i, handler] of handlers.entries()) {
      this.#programVector(offsetBy(table, i * MsiXEntry.SIZE), this.#allocate(i, handler));
    }
    // A configuration write cannot overtake the table writes before it. [PCIE] 2.4.1
    yield* this.#io.update16(at + MsiX.Control, [MsiXControl.FunctionMask, 0]);
  }

  /** Turns MSI on with one vector. @throws INVARIANT without the capability */
  *enableMsi(handler: () => void): Process<void> {
    const at = this.capability(CapabilityId.Msi);
    invariant(at !== 0, `${this.path} has no MSI capability`);
    this.#release();
    const { address, data } = this.#allocate(0, handler);
    const target = this.dma.mapDoorbell(address);
    yield* this.#io.write(at + Msi.AddressLow, 4, lo32(target));
    yield* this.#io.write(at + Msi.AddressHigh, 4, hi32(target));
    yield* this.#io.write(at + Msi.Data, 2, data);
    yield* this.#io.update16(at + Msi.Control, [MsiControl.Allocated, 0], [MsiControl.Enable, 1]);
  }

  /**
   * Uses the interrupt pin: `handler` runs while it is asserted, so it has to calm the device. Others may share the
   * line and run too. @throws INVARIANT without a pin
   */
  *enableIntx(handler: () => void): Process<void> {
    const pin = yield* this.#io.read(Header.InterruptPin, 1);
    invariant(pin >= 1 && pin <= 4, `${this.path} has no interrupt pin`);
    this.#release();
    const line = lineOf(this.#node, pin);
    this.#line = line;
    this.#host.legacyInterrupts.listen(line, this, handler);
    yield* this.#io.write(Header.InterruptLine, 1, line);
    yield* this.#io.update16(Header.Command, [Command.INTxDisable, 0]);
  }

  /** Turns interrupts off and gives their numbers back. */
  *disableInterrupts(): Process<void> {
    const msix = this.capability(CapabilityId.MsiX);
    if (msix) yield* this.#io.update16(msix + MsiX.Control, [MsiXControl.Enable, 0]);
    const msi = this.capability(CapabilityId.Msi);
    if (msi) yield* this.#io.update16(msi + Msi.Control, [MsiControl.Enable, 0]);
    if (this.#line >= 0) yield* this.#io.update16(Header.Command, [Command.INTxDisable, 1]);
    this.#release();
  }

  /** The device goes away or is gone: its driver leaves, and interrupts and addresses that served it are free. */
  *remove(isSurprise: boolean): Process<void> {
    if (this.onRemove !== null) yield* this.onRemove(isSurprise);
    this.#release();
    if (this.#dma === null) return;
    // What is still mapped for a device that is gone stays so until its users notice.
    if (isSurprise) this.#dma.gone();
    else yield* wait(this.#dma.detach());
  }

  #programVector(entry: PhysAddr, { address, data }: InterruptMessage): void {
    const { cpu } = this.#host;
    const target = this.dma.mapDoorbell(address);
    cpu.write32(offsetBy(entry, MsiXEntry.AddressLow), lo32(target));
    cpu.write32(offsetBy(entry, MsiXEntry.AddressHigh), hi32(target));
    cpu.write32(offsetBy(entry, MsiXEntry.Data), data);
    cpu.write32(offsetBy(entry, MsiXEntry.Control), 0);
  }

  #allocate(vector: number, handler: () => void): InterruptMessage {
    const message = this.#host.interrupts.allocate(`${this.path}.vector${vector}`, handler);
    this.#messages.push(message);
    return message;
  }

  #release(): void {
    for (const message of this.#messages) this.#host.interrupts.free(message);
    this.#messages = [];
    if (this.#line >= 0) this.#host.legacyInterrupts.forget(this.#line, this);
    this.#line = -1;
  }
}

const sameLimits = (a: Partial<DmaLimits>, b: Partial<DmaLimits>): boolean =>
  a.addressLimit === b.addressLimit &&
  a.maxSegmentBytes === b.maxSegmentBytes &&
  a.boundaryBytes === b.boundaryBytes;
