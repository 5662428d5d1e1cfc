/**
 * Host software for the teaching device: finds it, turns it on, and offers what it can do as pendings.
 * It touches the hardware through configuration, MMIO, memory and interrupts only. [EDU]
 * @module
 */
import {
  BAR,
  BUFFER_BASE,
  BUFFER_SIZE,
  DMA_MASK_BITS,
  DmaCommand,
  Identity,
  Irq,
  MAX_DMA_MASK_BITS,
  Reg,
  Status,
} from '#devices/edu/spec.ts';
import { usage } from '#emu/base/errors.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import { type DmaAddr, hex, hi32, lo32, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import type { Cpu } from '#emu/host/cpu.ts';
import type { Machine } from '#emu/host/machine.ts';
import type { PciFunction } from '#emu/host/pci-function.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { type Process, wait } from '#emu/sim/process.ts';

export interface EduOpenOptions {
  /** DMA mask that the driver believes in; mapped addresses beyond it are refused. Default 28. */
  readonly dmaMaskBits?: number;
}

/** Memory mapped for the device, and where it goes in the device's buffer. */
export interface EduTransfer {
  readonly ranges: DmaRangeList;
  /** Default 0. */
  readonly bufferOffset?: number;
}

/** Opens the `edu` of that name; the machine must have booted. Fails with USAGE for another device. */
export function openEdu(
  machine: Machine,
  name: string,
  options: EduOpenOptions = {},
): Pending<EduDevice> {
  return machine.kernel.spawn(`${name} open`, open(machine, name, options));
}

function* open(machine: Machine, name: string, options: EduOpenOptions): Process<EduDevice> {
  const pci = machine.function(name);
  if (pci.vendorId !== Identity.vendorId || pci.deviceId !== Identity.deviceId) {
    const found = `${hex(pci.vendorId, 4)}:${hex(pci.deviceId, 4)}`;
    throw usage(`${name}: expected an edu device 0x1234:0x11e8, found ${found}`);
  }
  const { dmaMaskBits = DMA_MASK_BITS } = options;
  checkMask(name, dmaMaskBits);
  pci.limitDma({ addressLimit: 2 ** dmaMaskBits });
  const device = new EduDevice(machine, pci, dmaMaskBits);
  yield* pci.setBusMaster(true);
  yield* pci.enableMsi(() => device.interrupt());
  return device;
}

function checkMask(name: string, bits: number): void {
  if (Number.isInteger(bits) && bits >= 1 && bits <= MAX_DMA_MASK_BITS) return;
  const expected = `an integer from 1 to ${MAX_DMA_MASK_BITS}`;
  throw usage(`${name} dmaMaskBits: expected ${expected}, got ${bits}`);
}

export class EduDevice {
  readonly name: string;
  readonly function: PciFunction;
  /** Largest address that the device reaches. */
  readonly lastAddress: number;
  readonly #kernel: Kernel;
  readonly #cpu: Cpu;
  readonly #base: PhysAddr;
  readonly #busy = new Set<'factorial' | 'dma'>();
  /** What waits for the device's interrupt. */
  #factorial: Pending<void> | null = null;
  #dma: Pending<void> | null = null;

  constructor({ kernel, cpu }: Machine, pci: PciFunction, dmaMaskBits: number) {
    this.name = pci.name;
    this.function = pci;
    this.lastAddress = 2 ** dmaMaskBits - 1;
    this.#kernel = kernel;
    this.#cpu = cpu;
    this.#base = pci.bar(BAR).address;
  }

  /** The identification register: `0xRRrr00ed`, major and minor version. */
  identification(): Pending<number> {
    return this.#spawn('identification', this.#read(Reg.ID));
  }

  /** Writes a value to the liveness register; true when its inversion comes back. */
  isAlive(value = 0x1234_5678): Pending<boolean> {
    return this.#spawn('liveness', this.#isAlive(value));
  }

  /** n! modulo 2^32, computed by the device; one at a time. */
  factorial(n: number): Pending<number> {
    return this.#spawn('factorial', this.#alone('factorial', this.#compute(n)));
  }

  /** Fills the device's buffer from memory by DMA; one transfer at a time. */
  toDevice(transfer: EduTransfer): Pending<void> {
    return this.#spawn('dma to device', this.#alone('dma', this.#transfer(transfer, false)));
  }

  /** Stores what is in the device's buffer to memory by DMA; one transfer at a time. */
  fromDevice(transfer: EduTransfer): Pending<void> {
    return this.#spawn('dma from device', this.#alone('dma', this.#transfer(transfer, true)));
  }

  /** Turns the device off. */
  close(): Pending<void> {
    return this.#spawn('close', this.#close());
  }

  /** The device's interrupt: asks why, acknowledges, and wakes who waits. */
  interrupt(): void {
    this.#spawn('interrupt', this.#serve());
  }

  *#isAlive(value: number): Process<boolean> {
    this.#write(Reg.LIVENESS, value);
    return (yield* this.#read(Reg.LIVENESS)) === ~value >>> 0;
  }

  *#compute(n: number): Process<number> {
    this.#factorial = this.#kernel.pending<void>(`${this.name} factorial interrupt`);
    this.#write(Reg.STATUS, Status.RAISE_IRQ.of(1));
    this.#write(Reg.FACTORIAL, n);
    yield* wait(this.#factorial);
    return yield* this.#read(Reg.FACTORIAL);
  }

  *#transfer({ ranges, bufferOffset = 0 }: EduTransfer, toHost: boolean): Process<void> {
    if (bufferOffset < 0 || bufferOffset + ranges.sizeBytes > BUFFER_SIZE) {
      throw usage(
        `${this.name}: expected at most ${BUFFER_SIZE} bytes, got ${ranges.sizeBytes} at ${bufferOffset}`,
      );
    }
    let inside = BUFFER_BASE + bufferOffset;
    for (const { address, length } of ranges) {
      yield* this.#transferRange(address, inside, length, toHost);
      inside += length;
    }
  }

  *#transferRange(
    address: DmaAddr,
    inside: number,
    sizeBytes: number,
    toHost: boolean,
  ): Process<void> {
    if (address + sizeBytes - 1 > this.lastAddress) {
      throw usage(
        `${this.name}: expected addresses up to ${hex(this.lastAddress)}, its DMA mask, got ${hex(address)}`,
      );
    }
    this.#dma = this.#kernel.pending<void>(`${this.name} dma interrupt`);
    this.#write64(Reg.DMA_SOURCE, toHost ? inside : address);
    this.#write64(Reg.DMA_DEST, toHost ? address : inside);
    this.#write64(Reg.DMA_COUNT, sizeBytes);
    const direction = DmaCommand.TO_HOST.of(toHost ? 1 : 0);
    this.#write(Reg.DMA_COMMAND, DmaCommand.START.of(1) | direction | DmaCommand.RAISE_IRQ.of(1));
    yield* wait(this.#dma);
  }

  *#serve(): Process<void> {
    const causes = yield* this.#read(Reg.IRQ_STATUS);
    this.#write(Reg.IRQ_ACK, causes);
    const { FACTORIAL, DMA } = Irq;
    const woken = [causes & FACTORIAL ? this.#factorial : null, causes & DMA ? this.#dma : null];
    if (causes & FACTORIAL) this.#factorial = null;
    if (causes & DMA) this.#dma = null;
    for (const pending of woken) pending?.complete();
  }

  *#close(): Process<void> {
    yield* this.function.disableInterrupts();
    yield* this.function.setBusMaster(false);
    this.function.dma.unbind();
  }

  *#read(register: RegisterSpec): Process<number> {
    return yield* wait(this.#cpu.read32(offsetBy(this.#base, register.offset)));
  }

  #write(register: RegisterSpec, value: number): void {
    this.#cpu.write32(offsetBy(this.#base, register.offset), value);
  }

  #write64(register: RegisterSpec, value: number): void {
    this.#cpu.write64(offsetBy(this.#base, register.offset), lo32(value), hi32(value));
  }

  #spawn<T>(what: string, steps: Process<T>): Pending<T> {
    return this.#kernel.spawn(`${this.name} ${what}`, steps);
  }

  /** Lets no other work use the same unit of the device meanwhile. */
  *#alone<T>(unit: 'factorial' | 'dma', steps: Process<T>): Process<T> {
    if (this.#busy.has(unit)) throw usage(`${this.name}: expected one ${unit} at a time`);
    this.#busy.add(unit);
    try {
      return yield* steps;
    } finally {
      this.#busy.delete(unit);
    }
  }
}
