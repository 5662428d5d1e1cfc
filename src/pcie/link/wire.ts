/**
 * What leaves by one end of a link takes time: serialisation, flight, replays of damaged TLPs, DLLPs for what comes the
 * other way. [PCIE] 3.6, 4.2
 * @module
 */

import type { Fabric } from '#emu/pcie/fabric.ts';
import type { Tlp } from '#emu/pcie/tlp/tlp.ts';
import { DataLink, DataLinkCounter } from './data-link.ts';
import { flightPs, type LinkSpec, serialisationTable } from './link.ts';
import { LinkCounter } from './link-counters.ts';
import { LinkError } from './link-error.ts';

/** A request with 64-bit address and framing: what has to be there before its route is known. */
const HEADER_DW = 24 / 4;
const { wireBytes } = LinkCounter;
const { timeouts, retrains } = DataLinkCounter;

/** Time from freeing a receive buffer to the sender's use of its credits, without the way back, ps. */
const UPDATE_FC_PS = 4_000;

/** The end that a wire leaves. */
export interface WireEnd {
  readonly path: string;
  readonly fabric: Fabric;
  readonly wire: Wire;
  /** Reports one `delayPs` from now. */
  failLater(error: LinkError, delayPs: number): void;
}

export class Wire {
  /** Time on the wire in ps by wire bytes / 4 of a TLP. */
  serialisation: Int32Array = new Int32Array(0);
  /** From the last symbol sent to the arrival, ps. */
  flightPs = 0;
  /** From a receive buffer freed at this end to the use of its credits at the other, ps. */
  creditPs = 0;
  /** Time on the wire of a header, ps. */
  headerPs = 0;
  /** When the next TLP may start. */
  busyUntil = -0.5;
  /** Null while the link charges neither DLLPs nor errors. */
  dataLink: DataLink | null = null;
  readonly #clock: Float64Array;
  readonly #end: WireEnd;
  /** A damaged 8b/10b symbol is no symbol; a damaged block is noticed by the LCRC alone. */
  #hasSymbols = false;

  constructor(end: WireEnd) {
    this.#clock = end.fabric.kernel.clock;
    this.#end = end;
  }

  /** Takes speed and width: what is sent from now on takes their time. */
  train(link: LinkSpec): void {
    const { fabric, path } = this.#end;
    this.serialisation = serialisationTable(link);
    this.flightPs = flightPs(link);
    this.creditPs = UPDATE_FC_PS + this.flightPs;
    this.headerPs = this.serialisation[HEADER_DW] ?? 0;
    this.#hasSymbols = link.gen <= 2;
    if (link.overheads || link.bitErrorRate) {
      this.dataLink ??= new DataLink(fabric.kernel.random(`${path} link`));
    }
    this.dataLink?.train(link, fabric.tlps.slotBytes);
  }

  /** Nothing leaves for so long. */
  hold(delayPs: number): void {
    this.busyUntil = Math.max(this.busyUntil, this.#clock[0]! + delayPs);
  }

  /** Time lost to replays before the transmission that arrives undamaged. Counts them in `counters` of the port. */
  replay(
    dataLink: DataLink,
    tlp: Tlp,
    serialisePs: number,
    counters: Float64Array,
    peer: WireEnd,
  ): number {
    const replays = dataLink.replays(tlp.wireBytes);
    if (replays === 0) return 0;
    counters[wireBytes]! += replays * tlp.wireBytes;
    const all = dataLink.counters;
    const [timeoutsBefore, retrainsBefore] = [all[timeouts]!, all[retrains]!];
    const lostPs = dataLink.replayPs(replays, serialisePs);
    const arrivesPs = serialisePs + this.flightPs;
    for (let i = 0; i < replays; i++) {
      if (this.#hasSymbols) peer.failLater(LinkError.ReceiverError, arrivesPs);
      peer.failLater(LinkError.BadTlp, arrivesPs);
    }
    for (let i = timeoutsBefore; i < all[timeouts]!; i++) {
      this.#end.failLater(LinkError.BadDllp, arrivesPs + this.flightPs);
      this.#end.failLater(LinkError.ReplayTimeout, lostPs);
    }
    for (let i = retrainsBefore; i < all[retrains]!; i++) {
      this.#end.failLater(LinkError.ReplayRollover, lostPs);
      peer.wire.hold(lostPs);
    }
    return lostPs;
  }

  /** DLLPs for what has arrived take their share of this direction; the other end may find one damaged. */
  acknowledge(dataLink: DataLink, peer: WireEnd | null): void {
    const now = this.#clock[0]!;
    const owedPs = dataLink.owedPs(now);
    if (owedPs === 0) return;
    this.busyUntil = Math.max(this.busyUntil, now) + owedPs;
    if (peer !== null && dataLink.losesDllp()) peer.failLater(LinkError.BadDllp, this.flightPs);
  }
}
