/**
 * What the data link layer costs one direction of a link: acknowledgements and credit updates for what comes the
 * other way, and replays of TLPs that arrived damaged. Time and counts only; no sequence numbers are carried.
 * [PCIE] 2.6.1.2, 3.6
 * @module
 */
import type { Random } from '#emu/sim/random.ts';
import { ackLatencyPs, REPLAYS_BEFORE_RETRAIN } from './ack-timing.ts';
import { type LinkSpec, psPerByte } from './link.ts';
import { dllpBytes } from './link-timing.ts';

/** An Ack and an UpdateFC; the limits for both are the same. */
const DLLPS_PER_LIMIT = 2;
/** Recovery after too many replays. `Model:` a round figure; real links take microseconds to milliseconds. */
export const RETRAIN_PS = 10_000_000;
const BITS_PER_BYTE = 8;
const DRAWS = 2 ** 32;

/** Slots of {@link DataLink.counters}. */
export const DataLinkCounter = {
  /** Acks and UpdateFCs sent. */
  dllps: 0,
  /** TLPs that arrived with a bad LCRC: Bad TLP at the receiver. */
  badTlps: 1,
  /** Replays, one a bad TLP. */
  replays: 2,
  /** REPLAY_NUM rollovers, each with a retraining. */
  retrains: 3,
} as const;

export class DataLink {
  readonly counters = new Float64Array(4);
  readonly #random: Random;
  readonly #bitErrorRate: number;
  /** From the end of a bad TLP to its first symbol again: the Nak's way back and its handling. */
  readonly #turnaroundPs: number;
  readonly #limitPs: number;
  readonly #dllpPs: number;
  #lastAckPs = -0.5;

  /** @param maxPayloadBytes what the limits between acknowledgements are computed from */
  constructor(link: LinkSpec, propagationPs: number, maxPayloadBytes: number, random: Random) {
    const overheads = link.overheads === true;
    const dllpPs = Math.round(dllpBytes(link.gen) * psPerByte(link));
    this.#random = random;
    this.#bitErrorRate = link.bitErrorRate ?? 0;
    this.#limitPs = Math.round(ackLatencyPs(link, maxPayloadBytes));
    this.#dllpPs = overheads ? DLLPS_PER_LIMIT * dllpPs : 0;
    this.#turnaroundPs = 2 * propagationPs + dllpPs;
  }

  /** Time that DLLPs take on this direction because a TLP has come the other way now; mostly 0. */
  owedPs(nowPs: number): number {
    if (this.#dllpPs === 0 || nowPs - this.#lastAckPs < this.#limitPs) return 0;
    this.#lastAckPs = nowPs;
    this.counters[DataLinkCounter.dllps]! += DLLPS_PER_LIMIT;
    return this.#dllpPs;
  }

  /** How often a TLP of `wireBytes` has to be sent again until it arrives undamaged. */
  replays(wireBytes: number): number {
    if (this.#bitErrorRate === 0) return 0;
    // The chance that any bit is hit, to first order: exact enough far below one error a TLP.
    const limit = Math.min(wireBytes * BITS_PER_BYTE * this.#bitErrorRate, 0.5) * DRAWS;
    let count = 0;
    while (this.#random.u32() < limit) count++;
    this.counters[DataLinkCounter.badTlps]! += count;
    this.counters[DataLinkCounter.replays]! += count;
    return count;
  }

  /** Time that `replays` of a TLP add, with the retraining after every fourth. */
  replayPs(replays: number, serialisePs: number): number {
    const retrains = Math.floor(replays / REPLAYS_BEFORE_RETRAIN);
    this.counters[DataLinkCounter.retrains]! += retrains;
    return replays * (serialisePs + this.#turnaroundPs) + retrains * RETRAIN_PS;
  }
}
