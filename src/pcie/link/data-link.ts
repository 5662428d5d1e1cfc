/**
 * What the data link layer costs one direction of a link: acknowledgements and credit updates for what comes the
 * other way, and replays of TLPs that arrived damaged. Time and counts only; no sequence numbers are carried.
 * [PCIE] 2.6.1.2, 3.6
 * @module
 */
import type { Random } from '#emu/sim/random.ts';
import { ackLatencyPs, REPLAYS_BEFORE_RETRAIN, replayTimerSymbols } from './ack-timing.ts';
import { flightPs, type LinkSpec, psPerByte } from './link.ts';
import { dllpBytes, symbolPs } from './link-timing.ts';

/** An Ack and an UpdateFC; the limits for both are the same. */
const DLLPS_PER_LIMIT = 2;
/** Recovery after too many replays. `Model:` a round figure; real links take microseconds to milliseconds. */
export const RETRAIN_PS = 10_000_000;
const BITS_PER_BYTE = 8;
const DLLP_BITS = 64;
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
  /** DLLPs that arrived with a bad CRC, Naks among them. */
  badDllps: 4,
  /** Replay timers that ran out because the Nak was such a DLLP. */
  timeouts: 5,
} as const;
const { dllps, badTlps, replays, retrains, badDllps, timeouts } = DataLinkCounter;

export class DataLink {
  /** Since the start, by {@link DataLinkCounter}. */
  readonly counters = new Float64Array(6);
  readonly #random: Random;
  #bitErrorRate = 0.5;
  /** Below this a draw of 32 bits means that a Nak was hit. */
  #dllpLimit = 0.5;
  /** From the end of a bad TLP to its first symbol again: the Nak's way back and its handling. */
  #turnaroundPs = 0;
  /** The same when the Nak is lost. */
  #timerPs = 0;
  #limitPs = 0;
  #dllpPs = 0;
  #lastAckPs = -0.5;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Takes the rate of the link. @param maxPayloadBytes what the limits between acknowledgements are computed from */
  train(link: LinkSpec, maxPayloadBytes: number): void {
    const dllpPs = Math.round(dllpBytes(link.gen) * psPerByte(link));
    this.#bitErrorRate = link.bitErrorRate ?? 0;
    this.#dllpLimit = DLLP_BITS * this.#bitErrorRate * DRAWS;
    this.#limitPs =
      link.overheads === 'eager' ? 0 : Math.round(ackLatencyPs(link, maxPayloadBytes));
    this.#dllpPs = link.overheads ? DLLPS_PER_LIMIT * dllpPs : 0;
    this.#turnaroundPs = 2 * flightPs(link) + dllpPs;
    const timer = replayTimerSymbols(link, maxPayloadBytes).least * symbolPs(link.gen);
    this.#timerPs = Math.round(timer);
  }

  /** Time that DLLPs take on this direction because a TLP has come the other way now; mostly 0. */
  owedPs(nowPs: number): number {
    if (this.#dllpPs === 0 || nowPs - this.#lastAckPs < this.#limitPs) return 0;
    this.#lastAckPs = nowPs;
    this.counters[dllps]! += DLLPS_PER_LIMIT;
    return this.#dllpPs;
  }

  /**
   * Whether one of the DLLPs just sent arrives damaged. Model: that costs no time, since the next one says all that
   * it said.
   */
  losesDllp(): boolean {
    return this.#bitErrorRate > 0 && this.#hits(DLLPS_PER_LIMIT);
  }

  /** How often a TLP of `wireBytes` has to be sent again until it arrives undamaged. */
  replays(wireBytes: number): number {
    if (this.#bitErrorRate === 0) return 0;
    // The chance that any bit is hit, to first order: exact enough far below one error a TLP.
    const limit = Math.min(wireBytes * BITS_PER_BYTE * this.#bitErrorRate, 0.5) * DRAWS;
    let count = 0;
    while (this.#random.u32() < limit) count++;
    this.counters[badTlps]! += count;
    this.counters[replays]! += count;
    return count;
  }

  /** Time that `count` replays of a TLP add: the Nak's way, or the replay timer where it is lost, and retrainings. */
  replayPs(count: number, serialisePs: number): number {
    const rollovers = Math.floor(count / REPLAYS_BEFORE_RETRAIN);
    this.counters[retrains]! += rollovers;
    let lostPs = rollovers * RETRAIN_PS;
    for (let i = 0; i < count; i++) {
      lostPs += serialisePs;
      if (this.#hits(1)) {
        this.counters[timeouts]!++;
        lostPs += this.#timerPs;
      } else {
        lostPs += this.#turnaroundPs;
      }
    }
    return lostPs;
  }

  /** Whether any of so many DLLPs is. */
  #hits(dllpCount: number): boolean {
    const isHit = this.#random.u32() < dllpCount * this.#dllpLimit;
    if (isHit) this.counters[badDllps]!++;
    return isHit;
  }
}
