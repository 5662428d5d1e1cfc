/**
 * Time limits of the data link layer up to generation 5, in symbol times and ps: Ack and UpdateFC latency,
 * replay timer, and the share of a link that their DLLPs take. Flits need none of it. [PCIE] 2.6.1.2, 3.6.2, 3.6.3
 * @module
 */
import type { LinkSpec } from './link.ts';
import { dllpBytes, symbolPs } from './link-timing.ts';

type AckedLink = Pick<LinkSpec, 'gen' | 'width'>;

/** Header, digest, sequence number, framing: what the limits add to a full payload, bytes. [PCIE] 3.6.3.1 */
const TLP_OVERHEAD = 28;

/** Time inside the receiver, symbol times. [PCIE] 3.6.3.1 */
const internalDelay = (gen: LinkSpec['gen']): number => (gen === 1 ? 19 : gen === 2 ? 70 : 115);

/** AckFactor: TLPs of full size between two Acks. [PCIE] 3.6.3.1 */
function ackFactor(width: number, maxPayloadBytes: number): number {
  if (maxPayloadBytes > 256) return width === 16 ? 2 : 1;
  if (width === 16) return 3;
  return width === 8 ? 2.5 : 1.4;
}

/** Longest time from a TLP's last symbol to its Ack's first, symbol times. [PCIE] 3.6.3.1 */
export const ackLatencySymbols = ({ gen, width }: AckedLink, maxPayloadBytes: number): number =>
  Math.floor(((maxPayloadBytes + TLP_OVERHEAD) * ackFactor(width, maxPayloadBytes)) / width) +
  internalDelay(gen);

/** The same, ps. */
export const ackLatencyPs = (link: AckedLink, maxPayloadBytes: number): number =>
  ackLatencySymbols(link, maxPayloadBytes) * symbolPs(link.gen);

/** Longest time from freeing a buffer to its UpdateFC, symbol times: the limit of an Ack. [PCIE] 2.6.1.2 */
export const updateFcLatencySymbols: typeof ackLatencySymbols = ackLatencySymbols;
/** The same, ps. */
export const updateFcLatencyPs: typeof ackLatencyPs = ackLatencyPs;

/** A span of symbol times, both ends inclusive. */
export interface SymbolRange {
  readonly least: number;
  readonly most: number;
}

/**
 * When an unacknowledged TLP is sent again: three Ack limits, up to twice that; from generation 4 on one
 * range for all widths and payloads. [PCIE] 3.6.2.1
 */
export function replayTimerSymbols(link: AckedLink, maxPayloadBytes: number): SymbolRange {
  if (link.gen >= 4) return { least: 24_000, most: 31_000 };
  const least = 3 * ackLatencySymbols(link, maxPayloadBytes);
  return { least, most: 2 * least };
}

/** Failed replays after which the link is retrained: REPLAY_NUM rolls over. [PCIE] 3.6.2.1 */
export const REPLAYS_BEFORE_RETRAIN = 4;
/** Sequence numbers, and how many TLPs may wait for their Ack. [PCIE] 3.6.2.1 */
export const SEQUENCE_NUMBERS = 4096;
export const REPLAY_WINDOW: number = SEQUENCE_NUMBERS / 2;

/** Longest time between two UpdateFCs of a finite credit type, ps. [PCIE] 2.6.1.2 */
export const UPDATE_FC_PERIOD_PS = 30e6;
/** The same with extended synchronisation. */
export const UPDATE_FC_PERIOD_EXTENDED_PS = 120e6;
/** After so long without one, a receiver may retrain the link, ps. */
export const UPDATE_FC_TIMEOUT_PS = 200e6;

/**
 * Share of one direction that DLLPs take when the other is saturated with full-size TLPs: `count` DLLPs (an
 * Ack and an UpdateFC) in each Ack limit.
 */
export const dllpShare = (link: AckedLink, maxPayloadBytes: number, count = 2): number =>
  (count * dllpBytes(link.gen)) / link.width / ackLatencySymbols(link, maxPayloadBytes);
