/**
 * What a port counts of the TLPs that leave by it: slots of its counters and losses, and how they are filled.
 * [PCIE] 4.2
 * @module
 */
import { FlowClass, type Tlp } from '#emu/pcie/tlp/tlp.ts';

/** Slots of `Port.counters`: everything that left by this port. */
export const LinkCounter = {
  tlps: 0,
  wireBytes: 1,
  /** Payload of user data. */
  dataBytes: 2,
  /** Payload of queue entries, lists, doorbells, interrupts and configuration. */
  controlBytes: 3,
} as const;
const { tlps, wireBytes, dataBytes, controlBytes } = LinkCounter;

/** Slots of `Port.losses`: TLPs that a link down lost, and their payload. */
export const LossCounter = { ...FlowClass, bytes: 3 } as const;

/** Adds a TLP that starts on the wire. */
export function countSent(counters: Float64Array, tlp: Tlp): void {
  counters[tlps] = counters[tlps]! + 1;
  counters[wireBytes] = counters[wireBytes]! + tlp.wireBytes;
  countPayload(counters, tlp);
}

/** Adds its payload alone. */
export function countPayload(counters: Float64Array, tlp: Tlp): void {
  const bytes = tlp.payloadBytes;
  if (tlp.purpose === 0) counters[dataBytes] = counters[dataBytes]! + bytes;
  else counters[controlBytes] = counters[controlBytes]! + bytes;
}

/** Adds a TLP that is lost. */
export function countLost(losses: Float64Array, tlp: Tlp): void {
  losses[tlp.flowClass]!++;
  losses[LossCounter.bytes]! += tlp.payloadBytes;
}
