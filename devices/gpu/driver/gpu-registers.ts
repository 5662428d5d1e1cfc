/**
 * The register BAR as host software reaches it: loads and stores through the CPU.
 * @module
 */
import type { RegisterSpec } from '#emu/base/registers.ts';
import { hi32, lo32, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { Cpu } from '#emu/host/cpu.ts';
import { type Process, wait } from '#emu/sim/process.ts';

export class GpuRegisters {
  readonly #cpu: Cpu;
  readonly #base: PhysAddr;

  constructor(cpu: Cpu, base: PhysAddr) {
    this.#cpu = cpu;
    this.#base = base;
  }

  *read(register: RegisterSpec): Process<number> {
    return yield* wait(this.#cpu.read32(offsetBy(this.#base, register.offset)));
  }

  /** Posted. */
  write(register: RegisterSpec, value: number): void {
    this.#cpu.write32(offsetBy(this.#base, register.offset), value);
  }

  /** Writes a value of up to 52 bits to two registers, low half first. */
  writePair(low: RegisterSpec, high: RegisterSpec, value: number): void {
    this.write(low, lo32(value));
    this.write(high, hi32(value));
  }
}
