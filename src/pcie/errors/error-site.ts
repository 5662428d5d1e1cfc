/**
 * One function's part in error reporting: takes the errors that happen at it, sets what software reads, and
 * sends or passes on error messages towards the root. [PCIE] 6.2
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import {
  CapabilityId,
  Command,
  Header,
  Pcie,
  PcieCaps,
  PortType,
  Status,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { FlowClass, type Tlp } from '#emu/pcie/tlp/tlp.ts';
import { loggedRecord } from '#emu/pcie/tlp/tlp-describe.ts';
import { type Aer, type ErrorMessages, ErrorRole } from './aer.ts';
import { type Correctable, Uncorrectable } from './aer-registers.ts';
import { baselineCorrectable, baselineUncorrectable } from './baseline-errors.ts';
import type { Dpc } from './dpc.ts';
import { type ErrorMessage, passesErrorUp } from './error-message.ts';
import { ERROR_CLASSES, type FabricError } from './fabric-error.ts';

/** Takes error messages on their way to the root: the function above, the link above, or the root itself. */
export interface ErrorUplink {
  receive(message: ErrorMessage, source: Bdf): void;
}

export interface ErrorSiteParts {
  readonly path: string;
  readonly config: ConfigSpace;
  /** Null leaves the capability out. */
  readonly aer: Aer | null;
  /** Requester ID as it stands now. */
  readonly id: () => Bdf;
  readonly uplink: ErrorUplink;
}

export class ErrorSite implements ErrorUplink {
  readonly path: string;
  readonly config: ConfigSpace;
  readonly aer: Aer | null;
  readonly #id: () => Bdf;
  readonly #uplink: ErrorUplink;
  /** A root port or a switch's downstream port: TLPs come to its secondary side. */
  readonly #facesDown: boolean;
  #dpc: Dpc | null = null;

  /** Errors at `path` of `fabric` come here from now on. */
  constructor(fabric: Fabric, { path, config, aer, id, uplink }: ErrorSiteParts) {
    this.path = path;
    this.config = config;
    this.aer = aer;
    this.#id = id;
    this.#uplink = uplink;
    this.#facesDown = facesDown(config);
    fabric.errorSites.set(path, this);
  }

  get dpc(): Dpc | null {
    return this.#dpc;
  }

  /** Containment that takes this function's uncorrectable errors and those from below. */
  contain(dpc: Dpc): void {
    this.#dpc = dpc;
    if (this.aer !== null) this.aer.onUncorrectable = (message) => dpc.takes(message, null);
  }

  /** Takes an error that happened here, with the TLP it happened to if there is one. */
  refused(error: FabricError, tlp: Tlp | null): void {
    const isAnswered = tlp !== null && tlp.flowClass === FlowClass.NonPosted;
    if (tlp !== null) this.#setStatus(error, tlp);
    const kind = ERROR_CLASSES[error];
    // Completions that meet a link that is down are dropped without a word. [PCIE] 2.9.1
    const isSilent = error === 'link-down' && tlp?.flowClass === FlowClass.Completion;
    if (kind === null || isSilent) return;
    const role = isAnswered ? ErrorRole.Completer : ErrorRole.Receiver;
    if ('correctable' in kind) this.#send(this.#correctable(kind.correctable));
    else this.#send(this.#uncorrectable(kind.uncorrectable, tlp, role));
  }

  /** A poisoned TLP goes on from here: its target will report it. [PCIE] 6.2.3.2.4.2 */
  forwardsPoison(tlp: Tlp): void {
    this.#setStatus('poisoned-tlp', tlp);
    this.#send(this.#uncorrectable(Uncorrectable.PoisonedTlp, tlp, ErrorRole.Forwarder));
  }

  /** Whether an error message from below goes on from this bridge: containment or software may keep it. */
  passes(message: ErrorMessage, source: Bdf): boolean {
    return !this.#dpc?.takes(message, source) && passesErrorUp(this.config, message);
  }

  receive(message: ErrorMessage, source: Bdf): void {
    if (this.passes(message, source)) this.#uplink.receive(message, source);
  }

  /** Sends what the function itself reports. */
  send(message: ErrorMessage): void {
    this.#uplink.receive(message, this.#id());
  }

  #uncorrectable(error: Uncorrectable, tlp: Tlp | null, role: ErrorRole): ErrorMessages {
    if (this.aer === null) return baselineUncorrectable(this.config, error, role);
    return this.aer.report(error, tlp === null ? null : loggedRecord(tlp), role);
  }

  #correctable(error: Correctable): ErrorMessages {
    return this.aer?.reportCorrectable(error) ?? baselineCorrectable(this.config);
  }

  #send(messages: ErrorMessages): void {
    for (const message of messages) this.send(message);
  }

  /** What conventional PCI calls them, on the side of a bridge that the TLP came to. [PCIE] 7.5.1.1.4 */
  #setStatus(error: FabricError, tlp: Tlp): void {
    const isAbort = tlp.flowClass === FlowClass.NonPosted && ABORTS.includes(error);
    const isPoison = POISON.includes(error);
    if (!isAbort && !isPoison) return;
    const isBelow = this.#facesDown && error !== 'poisoned-egress-blocked';
    const isOwnData = tlp.flowClass === FlowClass.Completion && this.config.type === 0;
    const command = this.config.read(Header.Command, 2);
    this.config.setStatus(
      isBelow ? Type1.SecondaryStatus : Header.Status,
      Status.SignaledTargetAbort.of(+isAbort) |
        Status.DetectedParityError.of(+isPoison) |
        Status.MasterDataParityError.of(+(isPoison && isOwnData) & Command.PER.get(command)),
    );
  }
}

/** Answered with Completer Abort. */
const ABORTS: readonly FabricError[] = ['completer-abort', 'acs-violation'];
const POISON: readonly FabricError[] = ['poisoned-tlp', 'poisoned-egress-blocked'];

const facesDown = (config: ConfigSpace): boolean => {
  const at = config.capability(CapabilityId.Pcie);
  const type = PcieCaps.PortType.get(config.read(at + Pcie.Capabilities, 2));
  return type === PortType.RootPort || type === PortType.SwitchDownstream;
};

/**
 * Notes in a requester that a completion came back with an error. @param register Status, or Secondary Status of
 * a root port that asked for the CPU. [PCIE] 7.5.1.1.4, 7.5.1.3.7
 */
export function noteFailedRequest(
  config: ConfigSpace,
  status: number,
  register: number = Header.Status,
): void {
  if (status === DmaStatus.CompleterAbort) {
    config.setStatus(register, Status.ReceivedTargetAbort.mask);
  } else if (status === DmaStatus.UnsupportedRequest) {
    config.setStatus(register, Status.ReceivedMasterAbort.mask);
  }
}
