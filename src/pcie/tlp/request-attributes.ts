/**
 * What a function's own requests say beside address and data, and how much of it software has enabled.
 * [PCIE] 2.2.6, 6.20, 7.5.3.4, 7.5.3.16
 * @module
 */

import { ExtendedId } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { Pasid, PasidControl } from '#emu/pcie/config/function-registers.ts';
import type { DmaJob } from '#emu/pcie/endpoint/dma-job.ts';
import type { Aer } from '#emu/pcie/errors/aer.ts';
import type { Pasid as ProcessSpace } from './pasid-prefix.ts';
import { type Tlp, TlpFlag, tlpFlags } from './tlp.ts';

/** What a model asks for; everything off by default. Bits that software has not enabled are left out. */
export interface RequestAttributes {
  /** Needs Enable Relaxed Ordering. */
  readonly relaxedOrdering?: boolean;
  /** Needs Enable No Snoop. */
  readonly noSnoop?: boolean;
  /** Needs IDO Request Enable. */
  readonly idOrdering?: boolean;
  /** 0 to 7. */
  readonly trafficClass?: number;
  /** An `AddressType`: 2 for addresses that ATS has translated. */
  readonly addressType?: number;
  /** Needs PASID Enable, and for the two requests in it their own enables. */
  readonly pasid?: ProcessSpace;
  /** Only 8-bit tags, for completers that have no more. [PCIE] 2.2.6.2 */
  readonly smallTags?: boolean;
}

/** What the requests of one function say from now on. */
export class RequestStyle {
  /** Of the function, if it has one: whether requests leave with a digest. */
  aer: Aer | null = null;
  readonly #config: ConfigSpace;
  #wanted = 0;
  #pasid = 0;
  #smallTags = false;

  constructor(config: ConfigSpace) {
    this.#config = config;
  }

  /** Replaces what was asked for. */
  ask(attributes: RequestAttributes): void {
    this.#wanted = wantedFlags(attributes);
    this.#pasid = attributes.pasid?.pasid ?? 0;
    this.#smallTags = attributes.smallTags === true;
  }

  /** Of interrupts: nothing but a digest where AER generates one. */
  get plainFlags(): number {
    return this.aer?.ecrcGeneration ? TlpFlag.TD : 0;
  }

  /** Gives a transfer as much of it as software has enabled. */
  mark(job: DmaJob): void {
    job.smallTags = this.#smallTags;
    job.flags = this.plainFlags;
    if (this.#wanted === 0) return;
    job.flags |= enabledFlags(this.#wanted, this.#config);
    job.pasid = this.#pasid;
  }
}

/** As asked for. */
function wantedFlags(attributes: RequestAttributes): number {
  const { relaxedOrdering, noSnoop, idOrdering, pasid } = attributes;
  const bits =
    (relaxedOrdering ? TlpFlag.RO : 0) |
    (noSnoop ? TlpFlag.NS : 0) |
    (idOrdering ? TlpFlag.IDO : 0) |
    (pasid ? TlpFlag.Pasid : 0) |
    (pasid?.execute ? TlpFlag.Execute : 0) |
    (pasid?.privileged ? TlpFlag.Privileged : 0);
  return tlpFlags(bits, attributes.trafficClass ?? 0, attributes.addressType ?? 0);
}

/** As software lets them leave. */
function enabledFlags(wanted: number, config: ConfigSpace): number {
  let off = 0;
  if (!config.relaxedOrdering) off |= TlpFlag.RO;
  if (!config.noSnoop) off |= TlpFlag.NS;
  if (!config.idoRequest) off |= TlpFlag.IDO;
  if ((wanted & TlpFlag.Pasid) !== 0) off |= pasidFlagsOff(config);
  return wanted & ~off;
}

/** IDO for completions of `request` by a function with `config`: they have it as requests do, once enabled. */
export const completionFlags = (request: Tlp, config: ConfigSpace): number =>
  config.idoCompletion ? request.flags & TlpFlag.IDO : 0;

function pasidFlagsOff(config: ConfigSpace): number {
  const at = config.extendedCapability(ExtendedId.Pasid);
  const control = at === 0 ? 0 : config.read(at + Pasid.Control, 2);
  const { Execute, Privileged } = TlpFlag;
  if (!PasidControl.Enable.get(control)) return TlpFlag.Pasid | Execute | Privileged;
  const execute = PasidControl.Execute.get(control) ? 0 : Execute;
  return execute | (PasidControl.Privileged.get(control) ? 0 : Privileged);
}
