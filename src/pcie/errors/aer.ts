/**
 * Advanced Error Reporting of one function: what an error sets, logs and asks to be sent. Sending the message
 * is the owner's. [PCIE] 6.2, 7.8.4
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { CapabilityId, DevSta, ExtendedId } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace, ConfigWatcher } from '#emu/pcie/config/config-space.ts';
import { StickyRegisters } from '#emu/pcie/config/sticky-registers.ts';
import type { LoggedTlp } from '#emu/pcie/tlp/tlp-encode.ts';
import {
  AER_VERSION,
  AerControl,
  type AerOptions,
  AerRegister,
  aerRegisters,
  Correctable,
  Uncorrectable,
} from './aer-registers.ts';
import {
  ErrorMessage,
  noteSystemError,
  reportsCorrectable,
  reportsUncorrectable,
} from './error-message.ts';
import { HeaderLog } from './header-log.ts';

/** What the reporting function was to the TLP: decides which non-fatal errors are only advisory. [PCIE] 6.2.3.2.4 */
export const ErrorRole = {
  /** The TLP ends here and its sender learns nothing: a posted request, a completion, a link error. */
  Receiver: 0,
  /** A completion with Unsupported Request or Completer Abort tells the requester. */
  Completer: 1,
  /** The TLP goes on; its target will report. */
  Forwarder: 2,
  /** It tries again, or can live without the data. */
  Recovering: 3,
} as const;
export type ErrorRole = (typeof ErrorRole)[keyof typeof ErrorRole];

const ADVISORY: Readonly<Record<ErrorRole, readonly Uncorrectable[]>> = {
  [ErrorRole.Receiver]: [],
  [ErrorRole.Completer]: [
    Uncorrectable.UnsupportedRequest,
    Uncorrectable.CompleterAbort,
    Uncorrectable.AcsViolation,
    Uncorrectable.AtomicEgressBlocked,
    Uncorrectable.PrefixBlocked,
    Uncorrectable.PoisonedEgressBlocked,
  ],
  [ErrorRole.Forwarder]: [Uncorrectable.PoisonedTlp, Uncorrectable.Ecrc],
  [ErrorRole.Recovering]: [Uncorrectable.PoisonedTlp, Uncorrectable.CompletionTimeout],
};

/** Whether an error of non-fatal severity is reported as correctable. [PCIE] 6.2.3.2.4 */
export const isAdvisory = (error: Uncorrectable, role: ErrorRole): boolean =>
  error === Uncorrectable.UnexpectedCompletion || ADVISORY[role].includes(error);

/** Messages to send, in order; usually none or one. */
export type ErrorMessages = readonly ErrorMessage[];
const NOTHING: ErrorMessages = [];

export class Aer implements ConfigWatcher {
  /** Of the capability in configuration space. */
  readonly offset: number;
  /** Requests leave with a digest. Refreshed by every write; cheap to read. */
  ecrcGeneration = false;
  /** Digests that arrive are checked. */
  ecrcCheck = false;
  /** Asked about every unmasked uncorrectable error that is not advisory: true keeps its message back. */
  onUncorrectable: ((message: ErrorMessage) => boolean) | null = null;
  readonly #config: ConfigSpace;
  readonly #log: HeaderLog;
  readonly #sticky: StickyRegisters;

  /** Appends the capability; one of PCI Express must be there. */
  constructor(config: ConfigSpace, options: AerOptions = {}) {
    invariant(config.capability(CapabilityId.Pcie) !== 0, 'AER needs a PCI Express capability');
    this.#config = config;
    this.offset = config.appendExtended(ExtendedId.Aer, AER_VERSION, AerRegister.SIZE);
    const registers = aerRegisters(this.offset, options);
    for (const register of registers) config.define(register);
    this.#log = new HeaderLog(config, this.offset, options.headerRecords ?? 1);
    this.#sticky = new StickyRegisters(config, registers);
    config.watch(this.offset, AerRegister.SIZE, this);
  }

  /**
   * Takes an uncorrectable error: sets status, logs the first unmasked one's header, and tells which
   * messages Device Control and the masks let go.
   * @param tlp header and prefixes of the TLP, or null where there is none
   */
  report(
    error: Uncorrectable,
    tlp: LoggedTlp | null,
    role: ErrorRole = ErrorRole.Receiver,
  ): ErrorMessages {
    const isFatal = this.#has(AerRegister.UncorrectableSeverity, error);
    const messages =
      !isFatal && isAdvisory(error, role)
        ? this.#advise(error, tlp)
        : this.#signal(error, tlp, isFatal);
    this.#sticky.save();
    return messages;
  }

  /** Takes a correctable error. */
  reportCorrectable(error: Correctable): ErrorMessages {
    const messages = this.#correct(error, false);
    this.#sticky.save();
    return messages;
  }

  /** What power-up finds; every other reset leaves the capability as it was. */
  powerUp(): void {
    this.#log.clear();
    this.#sticky.clear();
    this.#decode();
  }

  configWritten(): void {
    const status = this.#read(AerRegister.UncorrectableStatus);
    const waiting = this.#log.serviced(status);
    this.#write(AerRegister.UncorrectableStatus, status | waiting);
    this.#sticky.save();
    this.#decode();
  }

  configReset(): void {
    this.#sticky.restore();
    this.#decode();
  }

  #signal(error: Uncorrectable, tlp: LoggedTlp | null, isFatal: boolean): ErrorMessages {
    const isUnsupported = error === Uncorrectable.UnsupportedRequest;
    const detected = isFatal ? DevSta.Fatal.mask : DevSta.NonFatal.mask;
    this.#config.setDeviceStatus(detected | DevSta.Unsupported.of(+isUnsupported));
    this.#set(AerRegister.UncorrectableStatus, error);
    if (this.#has(AerRegister.UncorrectableMask, error)) return NOTHING;
    const overflow = this.#record(error, tlp);
    const message = isFatal ? ErrorMessage.Fatal : ErrorMessage.NonFatal;
    if (this.onUncorrectable?.(message)) return overflow;
    if (!reportsUncorrectable(this.#config, message, isUnsupported)) return overflow;
    noteSystemError(this.#config);
    return [message, ...overflow];
  }

  #advise(error: Uncorrectable, tlp: LoggedTlp | null): ErrorMessages {
    const isUnsupported = error === Uncorrectable.UnsupportedRequest;
    const messages = this.#correct(Correctable.AdvisoryNonFatal, isUnsupported);
    if (this.#has(AerRegister.CorrectableMask, Correctable.AdvisoryNonFatal)) return messages;
    this.#set(AerRegister.UncorrectableStatus, error);
    if (this.#has(AerRegister.UncorrectableMask, error)) return messages;
    return [...messages, ...this.#record(error, tlp)];
  }

  #correct(error: Correctable, isUnsupported: boolean): ErrorMessages {
    const detected = DevSta.Correctable.mask | DevSta.Unsupported.of(+isUnsupported);
    this.#config.setDeviceStatus(detected);
    this.#set(AerRegister.CorrectableStatus, error);
    if (this.#has(AerRegister.CorrectableMask, error)) return NOTHING;
    return reportsCorrectable(this.#config, isUnsupported) ? [ErrorMessage.Correctable] : NOTHING;
  }

  /** Logs the header; a log without room is a correctable error of its own. */
  #record(error: Uncorrectable, tlp: LoggedTlp | null): ErrorMessages {
    if (this.#log.record(error, tlp)) return NOTHING;
    return this.#correct(Correctable.HeaderLogOverflow, false);
  }

  #decode(): void {
    const control = this.#read(AerRegister.Control);
    this.ecrcGeneration = AerControl.EcrcGenerationEnable.get(control) === 1;
    this.ecrcCheck = AerControl.EcrcCheckEnable.get(control) === 1;
  }

  #read(register: number): number {
    return this.#config.read(this.offset + register, 4);
  }

  #write(register: number, value: number): void {
    this.#config.view.setUint32(this.offset + register, value, true);
  }

  #has(register: number, bit: number): boolean {
    return ((this.#read(register) >>> bit) & 1) === 1;
  }

  #set(register: number, bit: number): void {
    this.#write(register, this.#read(register) | (1 << bit));
  }
}
