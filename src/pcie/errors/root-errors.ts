/**
 * A root port's end of error reporting: Root Error Command, Status and Source, and the interrupt they ask for.
 * [PCIE] 6.2.4.1, 7.8.4.9, 7.8.4.10, 7.8.4.11
 * @module
 */
import { type Bdf, bdfFromId } from '#emu/base/units.ts';
import type { ConfigSpace, ConfigWatcher } from '#emu/pcie/config/config-space.ts';
import { StickyRegisters } from '#emu/pcie/config/sticky-registers.ts';
import type { Aer } from './aer.ts';
import {
  AerRegister,
  RootCommand,
  RootStatus,
  rootCommandRegister,
  rootErrorRegisters,
} from './aer-registers.ts';
import { ErrorMessage } from './error-message.ts';

export interface RootErrorOptions {
  /** Interrupt message number that software reads, 0 to 31. Default 0. */
  readonly vector?: number;
}

export class RootErrors implements ConfigWatcher {
  /** Called when an enabled error is there and none was before: once, however many follow. */
  onInterrupt: ((vector: number) => void) | null = null;
  readonly #config: ConfigSpace;
  readonly #at: number;
  readonly #vector: number;
  readonly #sticky: StickyRegisters;
  #asserted = false;

  /** Adds the root registers to the capability of `aer`. */
  constructor(config: ConfigSpace, aer: Aer, options: RootErrorOptions = {}) {
    this.#config = config;
    this.#at = aer.offset;
    this.#vector = options.vector ?? 0;
    const registers = rootErrorRegisters(this.#at, this.#vector);
    for (const register of registers) config.define(register);
    config.define(rootCommandRegister(this.#at));
    this.#sticky = new StickyRegisters(config, registers);
    const sizeBytes = AerRegister.PrefixLog - AerRegister.RootCommand;
    config.watch(this.#at + AerRegister.RootCommand, sizeBytes, this);
  }

  /** Takes an error message from below, or of the root port's own function. */
  receive(message: ErrorMessage, source: Bdf): void {
    if (message === ErrorMessage.Correctable) this.#correctable(source);
    else this.#uncorrectable(source, message === ErrorMessage.Fatal);
    this.#sticky.save();
    this.#signal();
  }

  /** Function that sent the first message since software cleared its status. */
  get correctableSource(): Bdf {
    return bdfFromId(this.#config.read(this.#at + AerRegister.CorrectableSource, 2));
  }

  /** The same for ERR_NONFATAL and ERR_FATAL. */
  get uncorrectableSource(): Bdf {
    return bdfFromId(this.#config.read(this.#at + AerRegister.UncorrectableSource, 2));
  }

  /** What power-up finds. */
  powerUp(): void {
    this.#sticky.clear();
    this.#asserted = false;
  }

  configWritten(): void {
    this.#sticky.save();
    this.#signal();
  }

  configReset(): void {
    this.#sticky.restore();
    this.#signal();
  }

  #correctable(source: Bdf): void {
    const before = this.#status;
    if (RootStatus.Correctable.get(before)) return this.#set(RootStatus.MultipleCorrectable.mask);
    this.#config.view.setUint16(this.#at + AerRegister.CorrectableSource, source, true);
    this.#set(RootStatus.Correctable.mask);
  }

  #uncorrectable(source: Bdf, isFatal: boolean): void {
    const before = this.#status;
    this.#set(isFatal ? RootStatus.Fatal.mask : RootStatus.NonFatal.mask);
    if (RootStatus.Uncorrectable.get(before)) {
      return this.#set(RootStatus.MultipleUncorrectable.mask);
    }
    this.#config.view.setUint16(this.#at + AerRegister.UncorrectableSource, source, true);
    this.#set(RootStatus.Uncorrectable.mask | RootStatus.FirstFatal.of(+isFatal));
  }

  /** Edge triggered: only a rise of any enabled status makes an interrupt. [PCIE] 6.2.4.1.2 */
  #signal(): void {
    const command = this.#config.read(this.#at + AerRegister.RootCommand, 4);
    const status = this.#status;
    const asserted =
      (RootCommand.Correctable.get(command) & RootStatus.Correctable.get(status)) |
      (RootCommand.NonFatal.get(command) & RootStatus.NonFatal.get(status)) |
      (RootCommand.Fatal.get(command) & RootStatus.Fatal.get(status));
    const rises = asserted === 1 && !this.#asserted;
    this.#asserted = asserted === 1;
    if (rises) this.onInterrupt?.(this.#vector);
  }

  get #status(): number {
    return this.#config.read(this.#at + AerRegister.RootStatus, 4);
  }

  #set(bits: number): void {
    this.#config.view.setUint32(this.#at + AerRegister.RootStatus, this.#status | bits, true);
  }
}
