/**
 * What the checker's reports are about: every class that dma-debug knows and that has a counterpart here, and those that
 * it does not see. Maps from the stack, from kernel text and of vmalloc memory have none: there is no such memory. [DMAAPI]
 * @module
 */

export const CheckerClass = {
  /** An access to what has been unmapped, or is being unmapped. */
  AfterUnmap: 'after-unmap',
  /** A write to a mapping for reading, or a read of one for writing. */
  Direction: 'direction',
  /** An access to memory that its owner took back. */
  Revoked: 'revoked',
  /** An access to what was synced for the CPU and not given back. */
  CpuOwned: 'cpu-owned',
  /** An access to two-step addresses that are not linked or not synced. */
  NotSynced: 'not-synced',
  /** Two mappings that start in one cache line, both written by devices. */
  Overlap: 'overlap',
  /** More mappings that start in one cache line than anybody needs. */
  OverlapCount: 'overlap-count',
  /** A driver has gone and its mappings have not. */
  Leak: 'leak',
  /** Memory that the machine does not have. */
  InvalidArea: 'invalid-area',
  /** A range longer than the driver said its device can take. */
  LongSegment: 'long-segment',
  /** A range across a boundary that the driver said its device cannot cross. */
  SegmentBoundary: 'segment-boundary',
  /** A call for what was never mapped, is not mapped any more, or belongs to another function. */
  NotMapped: 'not-mapped',
  /** A call of one way to map for what another way has mapped. */
  WrongFunction: 'wrong-function',
  /** The address that stands for a failure, unmapped or synced. */
  InvalidAddress: 'invalid-address',
  /** A call that names another size, count of ranges, direction or attributes than the mapping has. */
  OtherSize: 'other-size',
  OtherCount: 'other-count',
  OtherDirection: 'other-direction',
  OtherAttributes: 'other-attributes',
  /** An address in use that nobody has asked for a failure. */
  Unchecked: 'unchecked',
  /** A sync, or an unmap, of bytes that the mapping does not have. */
  Outside: 'outside',
  /** A sync for whom the mapping is not made. */
  SyncDirection: 'sync-direction',
  /** A two-step call, or one of a request, out of order. */
  Order: 'order',
} as const;
export type CheckerClass = (typeof CheckerClass)[keyof typeof CheckerClass];
