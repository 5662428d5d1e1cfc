/**
 * Loads and stores of host software to devices. DRAM is reached through HostMemory, not through here.
 * @module
 */
import type { PhysAddr } from '#emu/base/units.ts';
import type { Pending } from '#emu/sim/pending.ts';

/** What turns CPU accesses into requests: the root complex. */
export interface MmioPort {
  mmioRead(address: PhysAddr, size: 1 | 2 | 4): Pending<number>;
  mmioWrite(address: PhysAddr, size: 1 | 2 | 4 | 8, lo: number, hi?: number): void;
}

export class Cpu {
  readonly #port: MmioPort;

  constructor(port: MmioPort) {
    this.#port = port;
  }

  /** Loads 4 bytes; all ones when nothing answers. */
  read32(address: PhysAddr): Pending<number> {
    return this.#port.mmioRead(address, 4);
  }

  /** Stores 4 bytes, posted: nothing tells whether they arrived. */
  write32(address: PhysAddr, value: number): void {
    this.#port.mmioWrite(address, 4, value);
  }

  /** Stores 8 bytes as one request, posted. */
  write64(address: PhysAddr, lo: number, hi: number): void {
    this.#port.mmioWrite(address, 8, lo, hi);
  }
}
