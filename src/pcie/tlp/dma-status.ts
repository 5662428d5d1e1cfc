/**
 * How a DMA transfer ended, and what its bytes are for. Values, since hardware said so; never exceptions.
 * [PCIE] 2.2.9
 * @module
 */

/** Completion status 0 to 7 as printed in the completion header; 8 and above are the requester's own findings. */
export const DmaStatus = {
  Ok: 0,
  UnsupportedRequest: 1,
  RequestRetry: 2,
  CompleterAbort: 4,
  /** No completion came in time. */
  Timeout: 8,
  /** Bus Master Enable is 0, so nothing was sent. */
  BusMasterOff: 9,
  Poisoned: 10,
  /** AtomicOp Requester Enable is 0, so nothing was sent. */
  AtomicsOff: 11,
} as const;
export type DmaStatus = (typeof DmaStatus)[keyof typeof DmaStatus];

/**
 * What a TLP's payload is: user data, or protocol bytes (queue entries, PRP lists, interrupts, doorbells,
 * configuration). Not on the wire: it only keeps the two apart in the link counters.
 */
export const Purpose = { Data: 0, Control: 1 } as const;
export type Purpose = (typeof Purpose)[keyof typeof Purpose];
