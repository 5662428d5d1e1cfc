/**
 * Downstream Port Containment: decides whether an uncorrectable error switches off what is below a port. Taking
 * the link down and answering requests meanwhile is the owner's. [PCIE] 6.2.11, 7.9.14
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import { ExtendedId } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from '#emu/pcie/config/config-space.ts';
import { StickyRegisters } from '#emu/pcie/config/sticky-registers.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import {
  DPC_SOFTWARE,
  DPC_VERSION,
  DpcControl,
  DpcReason,
  DpcRegister,
  DpcStatus,
  DpcTrigger,
  dpcSettings,
  dpcState,
} from './dpc-registers.ts';
import { ErrorMessage, reportsCorrectable } from './error-message.ts';

/** The port that is contained. */
export interface DpcOwner {
  /** The link below must go down now and stay down. */
  contain(): void;
  /** Software has cleared the trigger: the link may train again. */
  release(): void;
  /** Containment wants an interrupt. */
  dpcInterrupt(vector: number): void;
  /** Containment wants an ERR_COR message. */
  dpcCorrectable(): void;
}

export interface DpcOptions {
  /** Interrupt message number, 0 to 31. Default 0. */
  readonly vector?: number;
}

export class Dpc implements ConfigWatcher {
  /** Of the capability in configuration space. */
  readonly offset: number;
  /** The link below is held down. */
  contained = false;
  /** Poisoned TLPs do not leave downwards. */
  blocksPoisoned = false;
  /** Answer to non-posted requests that cannot go down. */
  refusal: DmaStatus = DmaStatus.CompleterAbort;
  readonly #config: ConfigSpace;
  readonly #owner: DpcOwner;
  readonly #vector: number;
  readonly #sticky: StickyRegisters;
  #asserted = false;

  constructor(config: ConfigSpace, owner: DpcOwner, options: DpcOptions = {}) {
    this.#config = config;
    this.#owner = owner;
    this.#vector = options.vector ?? 0;
    this.offset = config.appendExtended(ExtendedId.Dpc, DPC_VERSION, DpcRegister.SIZE);
    const state = dpcState(this.offset);
    for (const register of dpcSettings(this.offset, this.#vector)) config.define(register);
    for (const register of state) config.define(register);
    this.#sticky = new StickyRegisters(config, state);
    config.watch(this.offset, DpcRegister.SIZE, this);
  }

  /**
   * Shows the port an error message before it goes up; true when containment takes its place.
   * @param source who sent it from below, or null when the port itself would send it
   */
  takes(message: ErrorMessage, source: Bdf | null): boolean {
    if (this.contained) return true;
    if (!this.#triggeredBy(message)) return false;
    const received =
      message === ErrorMessage.Fatal ? DpcReason.FatalMessage : DpcReason.NonFatalMessage;
    this.#trigger(source === null ? DpcReason.OwnError : received, 0, source ?? 0);
    return true;
  }

  /** What power-up finds. */
  powerUp(): void {
    this.#sticky.clear();
    this.#decode();
    this.#interrupt();
  }

  configWritten(): void {
    const control = this.#control;
    const byHand = DpcControl.SoftwareTrigger.get(control) === 1;
    // It reads as 0 whatever is written.
    const without = DpcControl.SoftwareTrigger.put(control, 0);
    this.#config.view.setUint16(this.offset + DpcRegister.Control, without, true);
    this.#decode();
    this.#sticky.save();
    const isOn = DpcControl.Trigger.get(control) !== DpcTrigger.Off;
    if (byHand && isOn && !this.contained) this.#trigger(DpcReason.Extended, DPC_SOFTWARE, 0);
    else this.#interrupt();
  }

  configReset(): void {
    this.#sticky.restore();
    this.#decode();
    this.#interrupt();
  }

  #triggeredBy(message: ErrorMessage): boolean {
    const trigger = DpcControl.Trigger.get(this.#control);
    if (message === ErrorMessage.Fatal) {
      return trigger === DpcTrigger.Fatal || trigger === DpcTrigger.NonFatal;
    }
    return message === ErrorMessage.NonFatal && trigger === DpcTrigger.NonFatal;
  }

  #trigger(reason: DpcReason, extension: number, source: number): void {
    const { view } = this.#config;
    const status =
      DpcStatus.Triggered.of(1) |
      DpcStatus.Interrupt.of(1) |
      DpcStatus.Reason.of(reason) |
      DpcStatus.ReasonExtension.of(extension);
    view.setUint16(this.offset + DpcRegister.Status, status, true);
    view.setUint16(this.offset + DpcRegister.Source, source, true);
    this.#sticky.save();
    this.#decode();
    this.#interrupt();
    const signals = DpcControl.CorrectableEnable.get(this.#control) === 1;
    if (signals && reportsCorrectable(this.#config, false)) this.#owner.dpcCorrectable();
  }

  #decode(): void {
    const control = this.#control;
    this.blocksPoisoned = DpcControl.PoisonedEgressBlocking.get(control) === 1;
    this.refusal = DpcControl.Completion.get(control)
      ? DmaStatus.UnsupportedRequest
      : DmaStatus.CompleterAbort;
    const before = this.contained;
    this.contained = DpcStatus.Triggered.get(this.#status) === 1;
    if (this.contained && !before) this.#owner.contain();
    else if (before && !this.contained) this.#owner.release();
  }

  /** Edge triggered, like the root port's error interrupt. */
  #interrupt(): void {
    const enabled = DpcControl.InterruptEnable.get(this.#control);
    const asserted = (enabled & DpcStatus.Interrupt.get(this.#status)) === 1;
    const rises = asserted && !this.#asserted;
    this.#asserted = asserted;
    if (rises) this.#owner.dpcInterrupt(this.#vector);
  }

  get #control(): number {
    return this.#config.read(this.offset + DpcRegister.Control, 2);
  }

  get #status(): number {
    return this.#config.read(this.offset + DpcRegister.Status, 2);
  }
}
