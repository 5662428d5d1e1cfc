/**
 * A GPU below a root port, driven as a driver would: registers, a ring in memory, doorbells, and packets written
 * dword by dword, without the project's own driver. Builds; asserts nothing.
 * @module
 */

import { GpuModel, type GpuOptions, gpu } from '#devices/gpu/index.ts';
import { SdmaReg } from '#devices/gpu/spec.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import { hi32, lo32, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import type { PciFunction } from '#emu/host/pci-function.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { LinkSpec } from '#emu/pcie/link/link.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';

/** Where the frame buffer stands after reset. */
export const FB = 0x80_0000_0000;
const DOORBELL = 0x800;
const RB_ENABLE = 1;
const RPTR_WRITEBACK = 1 << 12;

export interface GpuRigOptions {
  readonly fidelity?: Fidelity;
  readonly gpu?: GpuOptions;
  /** Dwords of the ring, a power of two. Default 256. */
  readonly ringDwords?: number;
  readonly ringInVram?: boolean;
  /** First byte counter of the ring. Default 0. */
  readonly counter?: number;
  readonly link?: LinkSpec;
  /** More bits of RB_CNTL. */
  readonly control?: number;
}

export class GpuRig {
  readonly machine: Machine;
  readonly model: GpuModel;
  readonly pci: PciFunction;
  readonly memory: SparseMemory;
  readonly vram: SparseMemory;
  /** Ring, and a page for pointers and fences behind it, as the CPU sees them; VRAM offsets if there. */
  readonly ring: number;
  readonly page: PhysAddr;
  readonly ringBytes: number;
  readonly #options: GpuRigOptions;
  wptr: number;
  interrupts = 0;

  constructor(options: GpuRigOptions = {}) {
    const { fidelity = 'timed', ringDwords = 256, ringInVram = false, counter = 0 } = options;
    this.#options = options;
    const gpuOptions = { vramBytes: 2 ** 24, ...options.gpu, name: 'gpu0' };
    const link = options.link ?? { gen: 4, width: 16 };
    const plan = machine({ rootPorts: [{ device: gpu(gpuOptions), link }] });
    this.machine = plan.build({ fidelity, seed: 1 });
    this.finish(this.machine.boot());
    const { model } = this.machine.endpoint('gpu0');
    if (!(model instanceof GpuModel)) throw new TypeError('gpu0 is no GPU');
    this.model = model;
    this.pci = this.machine.function('gpu0');
    this.memory = this.machine.mm.memory;
    this.vram = model.vram;
    this.ringBytes = 4 * ringDwords;
    this.page = this.machine.mm.allocate(4096);
    this.ring = ringInVram ? 0x10_0000 : this.machine.mm.allocate(this.ringBytes);
    this.wptr = counter;
    this.process(this.pci.setBusMaster(true));
    this.process(this.pci.enableMsi(() => this.interrupts++));
    this.start(counter);
  }

  /** Engine address of the ring. */
  get ringAddress(): number {
    return this.#options.ringInVram ? FB + this.ring : this.ring;
  }

  /** Programs and enables the queue at a pointer, and lets that happen. */
  start(counter: number): void {
    this.program(counter);
    this.machine.kernel.run();
  }

  /** As {@link start}; the register writes are still on their way. */
  program(counter: number, control = this.#options.control ?? RPTR_WRITEBACK): void {
    const log2 = 31 - Math.clz32(this.ringBytes / 4);
    this.wptr = counter;
    this.write(SdmaReg.RB_CNTL, 0);
    this.pair(SdmaReg.RB_BASE, this.ringAddress / 256);
    this.pair(SdmaReg.RB_RPTR, counter);
    this.pair(SdmaReg.RB_WPTR, counter);
    this.write(SdmaReg.RB_RPTR_ADDR_LO, lo32(this.page));
    this.write(SdmaReg.RB_RPTR_ADDR_HI, hi32(this.page));
    this.write(SdmaReg.RB_WPTR_POLL_ADDR_LO, lo32(this.page + 8));
    this.write(SdmaReg.RB_WPTR_POLL_ADDR_HI, hi32(this.page + 8));
    this.write(SdmaReg.DOORBELL_OFFSET, DOORBELL);
    this.write(SdmaReg.DOORBELL, 1 << 28);
    this.write(SdmaReg.SDMA0_CNTL, 1);
    this.write(SdmaReg.RB_CNTL, RB_ENABLE | (log2 << 1) | control);
  }

  /** Appends dwords to the ring as a stream, straddling its end where they do. */
  put(...dwords: number[]): this {
    const memory = this.#options.ringInVram ? this.vram : this.memory;
    for (const dword of dwords) {
      memory.setU32(this.ring + (this.wptr % this.ringBytes), dword >>> 0);
      this.wptr += 4;
    }
    return this;
  }

  nop(extra: number): this {
    return this.put(extra << 16, ...new Array<number>(extra).fill(0xdeadbeef));
  }
  copy(source: number, dest: number, sizeBytes: number, flags = 0): this {
    const places = [lo32(source), hi32(source), lo32(dest), hi32(dest)];
    return this.put(1 | flags, sizeBytes - 1, 0, ...places);
  }
  fill(dest: number, count: number, data: number, fillSize: number): this {
    return this.put((fillSize << 30) | 11, lo32(dest), hi32(dest), data, count);
  }
  store(dest: number, ...dwords: number[]): this {
    return this.put(2, lo32(dest), hi32(dest), dwords.length - 1, ...dwords);
  }
  fence(address: number, value: number): this {
    return this.put(5, lo32(address), hi32(address), value);
  }
  trap(): this {
    return this.put(6, 0);
  }

  /** Rings the doorbell and lets everything happen. */
  go(value = this.wptr): this {
    this.doorbell(value);
    this.machine.kernel.run();
    return this;
  }
  doorbell(value: number): void {
    const { address } = this.pci.bar(2);
    this.machine.cpu.write64(offsetBy(address, DOORBELL), lo32(value), hi32(value));
  }

  write(register: RegisterSpec, value: number): void {
    this.machine.cpu.write32(offsetBy(this.pci.bar(5).address, register.offset), value);
  }
  /** Low half at the register, high half behind it. */
  pair(register: RegisterSpec, value: number): void {
    const address = offsetBy(this.pci.bar(5).address, register.offset);
    this.machine.cpu.write32(address, lo32(value));
    this.machine.cpu.write32(offsetBy(address, 4), hi32(value));
  }
  read(register: RegisterSpec): number {
    return this.readAt(register.offset);
  }
  readAt(offset: number): number {
    return this.finish(this.machine.cpu.read32(offsetBy(this.pci.bar(5).address, offset)));
  }
  /** The read pointer as the registers show it. */
  get rptr(): number {
    return this.read(SdmaReg.RB_RPTR) + this.read(SdmaReg.RB_RPTR_HI) * 2 ** 32;
  }
  /** The read pointer as written back to memory. */
  get reported(): number {
    return this.memory.getU64(this.page);
  }
  get exception(): number {
    return (this.read(SdmaReg.CONTEXT_STATUS) >>> 4) & 7;
  }

  /** Fresh host memory with bytes that differ from place to place. */
  buffer(sizeBytes: number, seed = 1): PhysAddr {
    const address = this.machine.mm.allocate(sizeBytes);
    this.memory.write(address, patternBytes(sizeBytes, seed));
    return address;
  }
  bytes(memory: SparseMemory, at: number, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    memory.read(at, bytes);
    return bytes;
  }

  process<T>(steps: Process<T>): T {
    return this.finish(this.machine.kernel.spawn('test', steps));
  }
  finish<T>(pending: Pending<T>): T {
    this.machine.kernel.run();
    return pending.value;
  }
  dispose(): void {
    this.machine.dispose();
  }
}

/** Bytes of a linear congruential generator. */
export function patternBytes(sizeBytes: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let x = seed >>> 0;
  for (let i = 0; i < sizeBytes; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}
