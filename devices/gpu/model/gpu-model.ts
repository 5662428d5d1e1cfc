/**
 * The GPU function: VRAM in BAR0, doorbells in BAR2, registers in BAR5, one copy engine behind them.
 * It sees the world through its endpoint only and never throws on what a driver writes. [AMDGPU]
 * @module
 */
import {
  Bar,
  DOORBELLS_SIZE,
  FB_BASE,
  FB_UNIT,
  Identity,
  PLAIN_STORAGE,
  REGISTERS_SIZE,
  Reg,
  SdmaReg,
} from '#devices/gpu/spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { type BarHandler, Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { type EngineTiming, scratchMap } from './engine.ts';
import { Aperture } from './place.ts';
import { RegisterSpace } from './register-space.ts';
import { type PacketProbe, SdmaQueue } from './sdma-queue.ts';
import { VramPort, type VramTiming } from './vram-port.ts';

const MIB: number = 2 ** 20;
const DOORBELL_BYTES = 8;

export interface GpuModelOptions {
  /** A power of two, at least 1 MiB. */
  readonly vramBytes: number;
  readonly engine: EngineTiming;
  readonly vram: VramTiming;
}

export class GpuModel {
  readonly endpoint: Endpoint;
  readonly vram: SparseMemory;
  readonly registers: RegisterSpace;
  readonly queue: SdmaQueue;

  constructor(fabric: Fabric, path: string, options: GpuModelOptions) {
    this.vram = new SparseMemory(options.vramBytes, `${path}.vram`);
    this.registers = new RegisterSpace(REGISTERS_SIZE, [
      ...Object.values(Reg),
      ...Object.values(SdmaReg),
      ...PLAIN_STORAGE,
    ]);
    const doorbells: BarHandler = {
      mmioRead: (_offset, size, out, at) => zeros(out, at, size),
      mmioWrite: (offset, size, data, at) => this.#doorbell(offset, size, data, at),
    };
    this.endpoint = new Endpoint(fabric, path, {
      identity: Identity,
      bars: [
        bar64(Bar.VRAM, options.vramBytes, this.vram),
        bar64(Bar.DOORBELLS, DOORBELLS_SIZE, doorbells),
        { index: Bar.REGISTERS, sizeBytes: REGISTERS_SIZE, width: 32, target: this.registers },
      ],
      msi: { vectors: 1 },
    });
    const scratch = new SparseMemory(scratchMap(options.engine).sizeBytes, `${path}.scratch`);
    this.queue = new SdmaQueue(
      {
        path: `${path}.sdma0`,
        endpoint: this.endpoint,
        vram: this.vram,
        vramPort: new VramPort(options.vram, fabric.functional),
        aperture: new Aperture(this.registers, options.vramBytes),
        timing: options.engine,
        scratch,
      },
      this.registers,
    );
    this.#powerUp();
    this.endpoint.model = this;
    this.endpoint.onReset = () => {
      this.registers.reset();
      this.#powerUp();
      this.queue.reset();
    };
    this.endpoint.onDispose = () => {
      this.vram.dispose();
      scratch.dispose();
    };
  }

  /** For observers: each packet that has taken effect, NOPs excepted. */
  get probe(): PacketProbe | null {
    return this.queue.probe;
  }
  set probe(probe: PacketProbe | null) {
    this.queue.probe = probe;
  }

  /** Model: firmware has placed the frame buffer and started the engine when the driver comes. */
  #powerUp(): void {
    const { sizeBytes } = this.vram;
    const units = Math.ceil(sizeBytes / FB_UNIT);
    this.registers.set(Reg.RCC_CONFIG_MEMSIZE, sizeBytes / MIB);
    this.registers.set(Reg.MMMC_VM_FB_LOCATION_BASE, FB_BASE / FB_UNIT);
    this.registers.set(Reg.MMMC_VM_FB_LOCATION_TOP, FB_BASE / FB_UNIT + units - 1);
  }

  /** Rings the queue whose doorbell a write covers; a write of part of one is misread by nobody. */
  #doorbell(offset: number, size: number, data: DataView, at: number): void {
    const own = this.queue.doorbellOffset;
    if (own < 0 || offset + size <= own || own + DOORBELL_BYTES <= offset) return;
    if (offset > own || offset + size < own + DOORBELL_BYTES) return this.queue.misring();
    const cell = at + own - offset;
    this.queue.ring(data.getUint32(cell, true), data.getUint32(cell + 4, true));
  }
}

function bar64<T>(index: 0 | 2, sizeBytes: number, target: T) {
  return { index, sizeBytes, width: 64 as const, prefetchable: true, target };
}

function zeros(out: DataView, at: number, size: number): void {
  for (let i = 0; i < size; i++) out.setUint8(at + i, 0);
}
