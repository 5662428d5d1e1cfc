/**
 * The slot below a port that devices come to and go from while the machine runs: what a hand, the power controller
 * and the link do to its registers, and its interrupt. What software makes of it is not here. [PCIE] 6.7, 7.5.3.9
 * @module
 */

import { CapabilityId, Pcie } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from '#emu/pcie/config/config-space.ts';
import { SlotCap, SlotCtl, SlotSta } from '#emu/pcie/config/slot-registers.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';

/** Negative: dispatched apart from the classes of the TLP path. */
const TRAINED = -5;
/** Power good to a link that carries TLPs, ps. Model: one figure for reset and training. [PCIE] 6.6.1 */
export const POWER_UP_PS = 100_000_000_000;

export interface HotPlugOptions {
  /** Devices may be pulled at any time, so a link that goes down is no error. Default false. [PCIE] 3.2.1 */
  readonly surprise?: boolean;
  readonly slotNumber?: number;
}

/** Slot Capabilities of a port with an attention button, a power controller and both indicators. */
export const hotPlugCapabilities = ({ surprise = false, slotNumber = 0 }: HotPlugOptions): number =>
  (SlotCap.AttentionButton.of(1) |
    SlotCap.PowerController.of(1) |
    SlotCap.AttentionIndicator.of(1) |
    SlotCap.PowerIndicator.of(1) |
    SlotCap.HotPlugSurprise.of(+surprise) |
    SlotCap.HotPlugCapable.of(1) |
    SlotCap.SlotNumber.of(slotNumber)) >>>
  0;

/** Each event in Slot Status with the bit of Slot Control that lets it interrupt. */
const EVENTS = [
  [SlotSta.AttentionPressed, SlotCtl.AttentionEnable],
  [SlotSta.PresenceChanged, SlotCtl.PresenceEnable],
  [SlotSta.CommandCompleted, SlotCtl.CommandEnable],
  [SlotSta.LinkStateChanged, SlotCtl.LinkStateEnable],
] as const;

export class HotPlugSlot implements Target {
  readonly path: string;
  readonly #port: Port;
  readonly #config: ConfigSpace;
  readonly #at: number;
  /** The card's other end of the link, while there is one. */
  #card: Port | null = null;
  #isPowered = true;
  /** Whether the link was up when its state was last looked at. */
  #wasUp: boolean;
  /** Whether an event was waiting for software: an interrupt is sent when one becomes so. [PCIE] 6.7.3.4 */
  #wasPending = false;
  /** Tells one powering up from those before. */
  #training = 0;

  /** @param config the function of `port`, with {@link hotPlugCapabilities} */
  constructor(port: Port, config: ConfigSpace) {
    this.path = `${port.path}.slot`;
    this.#port = port;
    this.#config = config;
    this.#at = config.capability(CapabilityId.Pcie);
    this.#card = port.peer;
    this.#wasUp = port.isUp;
    config.watch(this.#at + Pcie.SlotCtl, 2, new Watcher(() => this.#commanded()));
    config.watch(this.#at + Pcie.SlotSta, 2, new Watcher(() => this.#signal()));
    port.slot = this;
  }

  get isOccupied(): boolean {
    return this.#card !== null;
  }

  /** Whether the power controller gives power. */
  get isPowered(): boolean {
    return this.#isPowered;
  }

  /** A card that is wired to the port, its link down, is pushed in; its link comes up once it has power. */
  inserted(card: Port): void {
    this.#card = card;
    this.#note(SlotSta.PresenceDetect.mask | SlotSta.PresenceChanged.mask);
    if (this.#isPowered) this.#powerUp();
  }

  /** The card is pulled out, whether software knows or not. */
  removed(): void {
    if (this.#card === null) return;
    this.#card = null;
    this.#training++;
    const status = this.#at + Pcie.SlotSta;
    const rest = this.#config.read(status, 2) & ~SlotSta.PresenceDetect.mask;
    this.#config.view.setUint16(status, rest, true);
    const capabilities = this.#config.read(this.#at + Pcie.SlotCap, 4);
    this.#port.unplug(SlotCap.HotPlugSurprise.get(capabilities) === 0);
    this.#note(SlotSta.PresenceChanged.mask);
  }

  /** Someone presses the attention button. */
  pressAttention(): void {
    this.#note(SlotSta.AttentionPressed.mask);
  }

  /** The port's link came up or went down. */
  linkChanged(): void {
    const { isUp } = this.#port;
    if (isUp === this.#wasUp) return;
    this.#wasUp = isUp;
    this.#note(SlotSta.LinkStateChanged.mask);
  }

  handle(_op: number, arg: EventArg): void {
    if (arg === this.#training && this.#isPowered && this.#card !== null) this.#port.linkUp();
  }

  /** Every write to Slot Control is a command, carried out at once. [PCIE] 6.7.3.2 */
  #commanded(): void {
    const powered = SlotCtl.PowerOff.get(this.#config.read(this.#at + Pcie.SlotCtl, 2)) === 0;
    const changes = powered !== this.#isPowered;
    this.#isPowered = powered;
    if (changes && powered) this.#powerUp();
    if (changes && !powered) {
      this.#training++;
      this.#port.linkDown();
    }
    this.#note(SlotSta.CommandCompleted.mask);
  }

  #powerUp(): void {
    if (this.#card === null) return;
    this.#port.fabric.kernel.scheduleFar(POWER_UP_PS, this, TRAINED, ++this.#training);
  }

  #note(bits: number): void {
    this.#config.setStatus(this.#at + Pcie.SlotSta, bits);
    this.#signal();
  }

  /** Sends the interrupt when an event that may interrupt is there and none was. */
  #signal(): void {
    const control = this.#config.read(this.#at + Pcie.SlotCtl, 2);
    const status = this.#config.read(this.#at + Pcie.SlotSta, 2);
    const isPending =
      SlotCtl.InterruptEnable.get(control) === 1 &&
      EVENTS.some(([event, enable]) => event.get(status) === 1 && enable.get(control) === 1);
    if (isPending && !this.#wasPending) this.#port.interrupt?.raise(0);
    this.#wasPending = isPending;
  }
}

/** Calls back on a write; a reset of the port changes nothing that the slot keeps. */
class Watcher implements ConfigWatcher {
  readonly configWritten: () => void;
  constructor(written: () => void) {
    this.configWritten = written;
  }
  configReset(): void {
    this.configWritten();
  }
}
