/**
 * Max_Payload_Size of a receiver: a TLP with more data is malformed where it arrives, whoever sent it.
 * [PCIE] 2.2.2, 2.3
 * @module
 */
import { CapabilityId, Pcie } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from '#emu/pcie/config/config-space.ts';
import type { Port } from './port.ts';

/** Keeps a port's limit as software sets it in the functions behind the port. */
export class PayloadLimit implements ConfigWatcher {
  readonly #port: Port;
  readonly #functions: readonly ConfigSpace[];

  /**
   * Model: of several functions that differ, the largest counts, which the specification leaves to the device.
   * @param functions those without a PCI Express capability limit nothing
   */
  constructor(port: Port, functions: readonly ConfigSpace[]) {
    this.#port = port;
    this.#functions = functions.filter((config) => config.capability(CapabilityId.Pcie) !== 0);
    for (const config of this.#functions) {
      config.watch(config.capability(CapabilityId.Pcie) + Pcie.DevCtl, 2, this);
    }
    if (this.#functions.length > 0) this.configWritten();
  }

  configWritten(): void {
    const limits = this.#functions.map(({ maxPayloadBytes }) => maxPayloadBytes);
    this.#port.payloadCredits = Math.max(...limits) >> 4;
  }

  configReset(): void {
    this.configWritten();
  }
}
