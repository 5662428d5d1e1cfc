/**
 * The GPU as scenario code uses it: VRAM, and copies, fills and writes by the copy engine.
 * Opening it is open-gpu.ts's business.
 * @module
 */
import type { SdmaGeneration } from '#devices/gpu/spec.ts';
import { usage } from '#emu/base/errors.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { PciFunction } from '#emu/host/pci-function.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';
import type { GpuVram } from './gpu-vram.ts';
import { CopySource, FillSource, type PacketSource, WriteSource } from './jobs.ts';
import {
  type EngineSpace,
  type GpuLocation,
  isAmbiguous,
  LocationCursor,
} from './location-cursor.ts';
import type { GpuFault } from './queue-setup.ts';
import { GpuStatus, type SdmaDriver } from './sdma-driver.ts';

export interface GpuCopy {
  readonly from: GpuLocation;
  readonly to: GpuLocation;
  readonly sizeBytes: number;
}
export interface GpuFill {
  readonly to: GpuLocation;
  readonly sizeBytes: number;
  /** What to fill with: a byte, or with `unit: 'dword'` a little-endian dword. */
  readonly value: number;
  /** Default `byte`. Dwords need sizes, and ranges, of whole dwords. */
  readonly unit?: 'byte' | 'dword';
}
export interface GpuWrite {
  readonly to: GpuLocation;
  /** A multiple of 4 bytes, which the packets carry; copied when the packets are written. */
  readonly bytes: Uint8Array;
}

/** What opening the device made. */
export interface GpuParts {
  readonly kernel: Kernel;
  readonly function: PciFunction;
  readonly sdma: SdmaGeneration;
  readonly engine: SdmaDriver;
  readonly space: EngineSpace;
  readonly vram: GpuVram;
  /** Why the queue stopped, read from the hardware. */
  readonly readFault: () => Process<GpuFault | null>;
  /** Programs an empty queue. */
  readonly restart: () => Process<void>;
  readonly close: () => Process<void>;
}

export class GpuDevice {
  readonly name: string;
  readonly function: PciFunction;
  /** Mappings of memory for this GPU. */
  readonly dma: DmaDevice;
  readonly vram: GpuVram;
  readonly #parts: GpuParts;
  #fault: GpuFault | null = null;

  constructor(name: string, parts: GpuParts) {
    this.name = name;
    this.function = parts.function;
    this.dma = parts.function.dma;
    this.vram = parts.vram;
    this.#parts = parts;
  }

  /** Why the queue stopped, null while it works. */
  get fault(): GpuFault | null {
    return this.#fault;
  }
  /** Jobs not completed yet. */
  get outstanding(): number {
    return this.#parts.engine.outstanding;
  }

  /**
   * Copies between any two of VRAM, host memory and peers. Jobs complete in order; a copy of 0 bytes completes
   * behind those before it. @throws USAGE when a side has too few bytes
   */
  copy({ from, to, sizeBytes }: GpuCopy): Pending<GpuStatus> {
    const source = this.#cursor(from, sizeBytes);
    const dest = this.#cursor(to, sizeBytes);
    const isBad = this.#isBad(from, sizeBytes) || this.#isBad(to, sizeBytes);
    return this.#submit('copy', new CopySource(this.#parts.sdma, source, dest, sizeBytes), isBad);
  }

  /** Fills memory. @throws USAGE */
  fill({ to, sizeBytes, value, unit = 'byte' }: GpuFill): Pending<GpuStatus> {
    const step = unit === 'dword' ? 4 : 1;
    this.#checkWhole(to, sizeBytes, step);
    const dest = this.#cursor(to, sizeBytes);
    const source = new FillSource(this.#parts.sdma, dest, sizeBytes, value, step);
    return this.#submit('fill', source, this.#isBad(to, sizeBytes));
  }

  /** Stores bytes that travel in the ring itself. @throws USAGE */
  write({ to, bytes }: GpuWrite): Pending<GpuStatus> {
    this.#checkWhole(to, bytes.length, 4);
    const dest = this.#cursor(to, bytes.length);
    const source = new WriteSource(this.#parts.sdma, dest, bytes);
    return this.#submit('write', source, this.#isBad(to, bytes.length));
  }

  /** VRAM by CPU addresses, to be mapped for a peer. @throws USAGE outside VRAM */
  vramRange(offset: number, sizeBytes: number): PhyRangeList {
    return this.vram.range(offset, sizeBytes);
  }

  /** Starts over after a fault or a timeout: an empty queue, and jobs are taken again. */
  restart(): Pending<void> {
    return this.#parts.kernel.spawn(`${this.name} restart`, this.#restart());
  }

  /** Stops the engine and frees what opening took; jobs under way end with `Closed`. */
  close(): Pending<void> {
    this.#parts.engine.lose(GpuStatus.Closed);
    return this.#parts.kernel.spawn(`${this.name} close`, this.#parts.close());
  }

  /** For interrupts without a completed job: looks whether the queue has stopped. */
  diagnose(): void {
    this.#parts.kernel.spawn(`${this.name} diagnose`, this.#diagnose());
  }

  *#diagnose(): Process<void> {
    const fault = yield* this.#parts.readFault();
    if (fault === null) return;
    this.#fault = fault;
    this.#parts.engine.lose(GpuStatus.QueueStopped);
  }

  *#restart(): Process<void> {
    this.#parts.engine.lose(GpuStatus.QueueStopped);
    yield* this.#parts.restart();
    this.#fault = null;
    this.#parts.engine.reset();
  }

  #submit(what: string, source: PacketSource, isBad: boolean): Pending<GpuStatus> {
    const result = this.#parts.kernel.pending<GpuStatus>(`${this.name} ${what}`);
    if (isBad) result.complete(GpuStatus.BadAddress);
    else this.#parts.engine.submit(source, result);
    return result;
  }

  #cursor(location: GpuLocation, sizeBytes: number): LocationCursor {
    return new LocationCursor(this.#parts.space, location, sizeBytes);
  }

  #isBad(location: GpuLocation, sizeBytes: number): boolean {
    return isAmbiguous(this.#parts.space, location, sizeBytes);
  }

  /** Every range of a fill or write by dwords must hold whole ones. */
  #checkWhole(location: GpuLocation, sizeBytes: number, step: number): void {
    const cursor = this.#cursor(location, sizeBytes);
    for (let left = sizeBytes; left > 0 && step > 1; ) {
      const size = Math.min(left, cursor.left);
      if (size % step !== 0) {
        throw usage(`${this.name}: expected ranges of whole dwords, got one of ${size} bytes`);
      }
      left -= size;
      cursor.advance(size);
    }
  }
}
