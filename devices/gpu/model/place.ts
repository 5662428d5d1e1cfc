/**
 * Where an address of the GPU's engines leads: into VRAM, or out to the fabric.
 * [AMDGPU] FB_LOCATION
 * @module
 */
import { FB_UNIT, Reg } from '#devices/gpu/spec.ts';
import { TOO_LARGE } from '#emu/base/layout.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';
import { ADDR_LIMIT } from '#emu/base/units.ts';

/** A resolved range; records are reused. */
export class Place {
  inVram = false;
  /** Offset in VRAM, or a bus address. */
  address = 0;

  set(inVram: boolean, address: number): void {
    this.inVram = inVram;
    this.address = address;
  }

  /** Whether `sizeBytes` here and `otherBytes` at `other` share a byte by their addresses. */
  overlaps(sizeBytes: number, other: Place, otherBytes: number): boolean {
    return (
      this.inVram === other.inVram &&
      this.address < other.address + otherBytes &&
      other.address < this.address + sizeBytes
    );
  }
}

interface Registers {
  get(register: RegisterSpec): number;
}

/**
 * The frame buffer's window in the engines' address space.
 * Model: without GPUVM an address inside the window is VRAM, and every other one is a bus address that
 * leaves as TLPs. Page tables with their SYSTEM bit will take this decision where they are enabled.
 */
export class Aperture {
  readonly #registers: Registers;
  readonly #vramBytes: number;

  constructor(registers: Registers, vramBytes: number) {
    this.#registers = registers;
    this.#vramBytes = vramBytes;
  }

  /** Resolves a range of at least one byte; false when it leads nowhere, or to both sides at once. */
  resolve(address: number, sizeBytes: number, out: Place): boolean {
    if (address === TOO_LARGE || address + sizeBytes > ADDR_LIMIT) return false;
    const base = this.#registers.get(Reg.MMMC_VM_FB_LOCATION_BASE) * FB_UNIT;
    const limit = (this.#registers.get(Reg.MMMC_VM_FB_LOCATION_TOP) + 1) * FB_UNIT;
    if (base >= limit || address + sizeBytes <= base || address >= limit) {
      out.set(false, address);
      return true;
    }
    if (address < base || address + sizeBytes > Math.min(limit, base + this.#vramBytes))
      return false;
    out.set(true, address - base);
    return true;
  }
}
