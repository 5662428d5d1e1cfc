/**
 * The hardware: registers behind the BAR, a factorial unit, a DMA engine with a 4 KiB buffer, one interrupt.
 * It sees the world through its endpoint only and never throws on what a driver writes. [EDU]
 * @module
 */
import {
  BAR,
  BAR_SIZE,
  BUFFER_SIZE,
  DmaCommand,
  Identity,
  Irq,
  REGISTERS_SIZE,
  Reg,
  Status,
  WIDE_FROM,
  Wide,
} from '#devices/edu/spec.ts';
import { TOO_LARGE } from '#emu/base/layout.ts';
import { RegisterFile, type RegisterSpec } from '#emu/base/registers.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { type BarHandler, type DmaClient, Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { Timer } from '#emu/sim/timer.ts';
import { bufferOffset, factorial, wireAddress } from './arithmetic.ts';

export interface EduModelOptions {
  /** Width of the addresses that the DMA engine drives, 1 to 52. */
  readonly dmaMaskBits: number;
  /** Simulated time of one multiplication. */
  readonly multiplyPs: number;
}

/** Model: the interrupt is MSI only; there is no INTx to fall back on. [EDU] "IRQ controller" */
export class EduModel implements BarHandler, DmaClient {
  readonly endpoint: Endpoint;
  readonly registers: RegisterFile = new RegisterFile(REGISTERS_SIZE, Object.values(Reg));
  readonly buffer: SparseMemory;
  /** How the last DMA transfer ended. Model: no register tells a driver. */
  dmaStatus: DmaStatus = DmaStatus.Ok;
  readonly #options: EduModelOptions;
  readonly #multiplier: Timer;
  /** Number of the latest transfer: a completion that a reset left behind carries an older one. */
  #transfer = 0;

  constructor(fabric: Fabric, path: string, options: EduModelOptions) {
    this.#options = options;
    this.buffer = new SparseMemory(BUFFER_SIZE, `${path}.buffer`);
    this.#multiplier = new Timer(fabric.kernel, `${path}.multiplier`, () => this.#computed());
    this.registers.onWrite = (register, previous) => this.#written(register, previous);
    this.endpoint = new Endpoint(fabric, path, {
      identity: Identity,
      bars: [{ index: BAR, sizeBytes: BAR_SIZE, width: 32, target: this }],
      msi: { vectors: 1 },
    });
    this.endpoint.model = this;
    this.endpoint.onReset = () => this.#reset();
    this.endpoint.onDispose = () => this.buffer.dispose();
  }

  /** A bad access reads as all ones. [EDU] "MMIO area spec" */
  mmioRead(offset: number, size: number, out: DataView, at: number): void {
    if (isAccess(offset, size)) this.registers.read(offset, size, out, at);
    else for (let i = 0; i < size; i++) out.setUint8(at + i, 0xff);
  }

  /** A bad access writes nothing. */
  mmioWrite(offset: number, size: number, data: DataView, at: number): void {
    if (isAccess(offset, size)) this.registers.write(offset, size, data, at);
  }

  /** The endpoint has moved, or failed to move, the bytes of a transfer. */
  dmaDone(status: DmaStatus, transfer: number): void {
    if (transfer !== this.#transfer) return;
    this.dmaStatus = status;
    this.#endTransfer();
  }

  /** What a write does beyond storing its value. */
  #written(register: RegisterSpec, previous: number): void {
    const value = this.registers.get(register);
    switch (register) {
      case Reg.LIVENESS:
        return this.registers.set(register, ~value >>> 0);
      case Reg.FACTORIAL:
        return this.#compute(value, previous);
      case Reg.IRQ_RAISE:
        this.registers.set(register, 0);
        return this.#raise(value);
      case Reg.IRQ_ACK:
        this.registers.set(register, 0);
        return this.#acknowledge(value);
      case Reg.DMA_COMMAND:
        return this.#command(value, previous);
      default:
        if (register.offset >= WIDE_FROM && this.#transferring) {
          this.registers.set(register, previous);
        }
    }
  }

  #compute(n: number, previous: number): void {
    const status = this.registers.get(Reg.STATUS);
    if (Status.COMPUTING.get(status)) return this.registers.set(Reg.FACTORIAL, previous);
    this.registers.set(Reg.STATUS, Status.COMPUTING.put(status, 1));
    this.#multiplier.arm(n * this.#options.multiplyPs);
  }

  #computed(): void {
    const status = this.registers.get(Reg.STATUS);
    this.registers.set(Reg.FACTORIAL, factorial(this.registers.get(Reg.FACTORIAL)));
    this.registers.set(Reg.STATUS, Status.COMPUTING.put(status, 0));
    if (Status.RAISE_IRQ.get(status)) this.#raise(Irq.FACTORIAL);
  }

  get #transferring(): boolean {
    return DmaCommand.START.get(this.registers.get(Reg.DMA_COMMAND)) === 1;
  }

  /** While a transfer runs, the DMA registers keep their values. */
  #command(command: number, previous: number): void {
    if (DmaCommand.START.get(previous)) this.registers.set(Reg.DMA_COMMAND, previous);
    else if (DmaCommand.START.get(command)) this.#startTransfer(command);
  }

  /** Model: a transfer that does not fit the buffer moves nothing and ends like any other. */
  #startTransfer(command: number): void {
    const { view } = this.registers;
    const toHost = DmaCommand.TO_HOST.get(command) === 1;
    const size = Wide.COUNT.get(view, 0);
    const inside = (toHost ? Wide.SOURCE : Wide.DEST).get(view, 0);
    const outside = (toHost ? Wide.DEST : Wide.SOURCE).get(view, 0);
    const at = bufferOffset(inside, size);
    if (at < 0 || size <= 0 || outside === TOO_LARGE) return this.#endTransfer();
    const address = wireAddress(outside, this.#options.dmaMaskBits);
    const id = ++this.#transfer;
    if (toHost) this.endpoint.write(address, size, this.buffer, at, Purpose.Data, this, id);
    else this.endpoint.read(address, size, this.buffer, at, Purpose.Data, this, id);
  }

  #endTransfer(): void {
    const command = this.registers.get(Reg.DMA_COMMAND);
    this.registers.set(Reg.DMA_COMMAND, DmaCommand.START.put(command, 0));
    if (DmaCommand.RAISE_IRQ.get(command)) this.#raise(Irq.DMA);
  }

  /** Every raise sends a message, also while earlier ones wait to be acknowledged. */
  #raise(bits: number): void {
    const pending = this.registers.get(Reg.IRQ_STATUS) | bits;
    this.registers.set(Reg.IRQ_STATUS, pending);
    if (pending !== 0) this.endpoint.raise(0);
  }

  #acknowledge(bits: number): void {
    this.registers.set(Reg.IRQ_STATUS, this.registers.get(Reg.IRQ_STATUS) & ~bits);
  }

  #reset(): void {
    this.registers.reset();
    this.#multiplier.disarm();
    this.#transfer++;
  }
}

/** Whether the device answers an access: aligned, 4 bytes, from 0x80 on also 8. [EDU] "MMIO area spec" */
function isAccess(offset: number, size: number): boolean {
  const isSize = size === 4 || (size === 8 && offset >= WIDE_FROM);
  return isSize && offset % size === 0 && offset < REGISTERS_SIZE;
}
