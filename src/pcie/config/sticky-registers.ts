/**
 * Registers that keep their value across hot and function-level resets, which clear the configuration space
 * around them. Only power does clear them. [PCIE] 7.4
 * @module
 */
import type { RegisterSpec } from '#emu/base/registers.ts';
import type { ConfigSpace } from './config-space.ts';

export class StickyRegisters {
  readonly #config: ConfigSpace;
  readonly #registers: readonly RegisterSpec[];
  readonly #kept: Uint32Array;

  /** @param registers defined in `config`, 16 or 32 bits wide */
  constructor(config: ConfigSpace, registers: readonly RegisterSpec[]) {
    this.#config = config;
    this.#registers = registers;
    this.#kept = new Uint32Array(registers.length);
    this.save();
  }

  /** Remembers the values as they stand; call after every change. */
  save(): void {
    for (const [i, { offset, width }] of this.#registers.entries()) {
      this.#kept[i] = this.#config.read(offset, width === 32 ? 4 : 2);
    }
  }

  /** Puts the remembered values back after a reset. */
  restore(): void {
    for (const [i, register] of this.#registers.entries()) this.#set(register, this.#kept[i] ?? 0);
  }

  /** Forgets them: what power-up finds. */
  clear(): void {
    for (const register of this.#registers) this.#set(register, register.reset ?? 0);
    this.save();
  }

  #set({ offset, width }: RegisterSpec, value: number): void {
    if (width === 32) this.#config.view.setUint32(offset, value, true);
    else this.#config.view.setUint16(offset, value, true);
  }
}
