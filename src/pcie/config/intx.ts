/**
 * A function's interrupt pin: a level that becomes Assert and Deassert messages, unless software has turned it off
 * or uses MSI or MSI-X. [PCIE] 6.1.4.1, 6.1.4.4
 * @module
 */
import { Command, Header, Status } from './config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from './config-space.ts';

/** INTA to INTD as Interrupt Pin codes them. [PCIE] 7.5.1.1.13 */
export type InterruptPin = 1 | 2 | 3 | 4;

/** What has an interrupt of another kind, which makes the pin mute. */
interface Preferred {
  readonly enabled: boolean;
}

export class Intx implements ConfigWatcher {
  readonly #config: ConfigSpace;
  readonly #preferred: readonly Preferred[];
  /** Sends a message when the wire changes. */
  readonly #send: (asserted: boolean) => void;
  #level = false;
  #asserted = false;

  constructor(
    config: ConfigSpace,
    preferred: readonly Preferred[],
    send: (asserted: boolean) => void,
  ) {
    this.#config = config;
    this.#preferred = preferred;
    this.#send = send;
    // After MSI and MSI-X, whose state it looks at.
    config.watch(0, config.view.byteLength, this);
  }

  /** What the device wants to say, whether it may or not: Interrupt Status shows it. [PCIE] 7.5.1.1.4 */
  set(level: boolean): void {
    this.#level = level;
    const { view } = this.#config;
    const status = view.getUint16(Header.Status, true);
    view.setUint16(Header.Status, Status.InterruptStatus.put(status, +level), true);
    this.configWritten();
  }

  configWritten(): void {
    const command = this.#config.read(Header.Command, 2);
    const isMute = Command.INTxDisable.get(command) === 1;
    const asserted = this.#level && !isMute && !this.#preferred.some(({ enabled }) => enabled);
    if (asserted === this.#asserted) return;
    this.#asserted = asserted;
    this.#send(asserted);
  }

  /** The owner lets go once it can send again. */
  configReset(): void {
    // Interrupt Status is a register, so it is clear already.
  }
}
