/**
 * Secondary Bus Reset: a bridge takes the link below it down, which resets everything there, and brings it up again
 * when software lets go. [PCIE] 6.6.1, 7.5.1.3.13
 * @module
 */
import { CapabilityId, LinkCtl, Pcie, Type1 } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from '#emu/pcie/config/config-space.ts';
import type { Port } from '#emu/pcie/link/port.ts';

export class HotReset implements ConfigWatcher {
  readonly #port: Port;
  readonly #config: ConfigSpace;
  #held = false;

  /** @param config of the bridge that stands at `port` */
  constructor(port: Port, config: ConfigSpace) {
    this.#port = port;
    this.#config = config;
    config.watch(Type1.BridgeControl, 2, this);
  }

  configWritten(): void {
    const { secondaryBusReset } = this.#config;
    if (secondaryBusReset === this.#held) return;
    this.#held = secondaryBusReset;
    if (secondaryBusReset) this.#port.linkDown();
    else if (!this.#isDisabled()) this.#port.linkUp();
  }

  configReset(): void {
    this.configWritten();
  }

  #isDisabled(): boolean {
    const at = this.#config.capability(CapabilityId.Pcie);
    return at !== 0 && LinkCtl.LinkDisable.get(this.#config.read(at + Pcie.LinkCtl, 2)) === 1;
  }
}

/** What a component does below its upstream port when the link there changes: the reset goes on, and ends. */
export function passReset(downstream: readonly Port[], isUp: boolean): void {
  for (const port of downstream) {
    if (isUp) port.linkUp();
    else port.linkDown();
  }
}
