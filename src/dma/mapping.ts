/**
 * What mapping gives: the list for the device, or a refusal with its reason. Plain values; lifetimes are
 * DmaDevice's. [DMAAPI], [P2PDMA]
 * @module
 */

import type { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { CoherentMemory } from '#emu/dma/providers/coherent-memory.ts';

/** Which way a mapping's bytes may go. [DMAAPI] */
export const Direction = { ToDevice: 1, FromDevice: 2, Bidirectional: 3 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

/** How a device reaches a piece of memory. [P2PDMA] */
export const MapType = {
  /** It must not. */
  NotSupported: 'NOT_SUPPORTED',
  /** Below a common bridge, by the peer's bus address. */
  BusAddress: 'BUS_ADDR',
  /** Through the root complex. */
  ThruHostBridge: 'THRU_HOST_BRIDGE',
  /** It is host memory. */
  None: 'NONE',
} as const;
export type MapType = (typeof MapType)[keyof typeof MapType];

/** A live mapping, until its unmap completes. */
export interface DmaMapping {
  /** For the device; of the caller only to read. */
  readonly ranges: DmaRangeList;
  /** The list that was mapped, unchanged. */
  readonly source: PhyRangeList;
  readonly direction: Direction;
  /** Of DmaAttr. */
  readonly attrs: number;
  /** Type of the first range that is peer memory, or NONE when all is host memory. */
  readonly mapType: MapType;
  /**
   * Whether the device has a copy of some bytes, or does not see what is in caches, so that `sync` does something; else it only
   * tells whose turn it is.
   */
  readonly needsSync: boolean;
}

/** Part of a mapping, in bytes of its list. */
export interface ByteRange {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Nothing was mapped. */
export interface MapRefusal {
  /**
   * EREMOTEIO: peer memory out of this device's reach, for good. ENOMEM: no I/O virtual addresses or no memory
   * for tables or bounce buffers, for now. EINVAL: an empty list, or addresses that nothing decodes. EIO: beyond the
   * device's address width, or memory that would need a copy and must have none. ENODEV: its owner took the memory back.
   * EPERM: memory that devices may only read, or two-step memory that must have no copy. EOPNOTSUPP: coherent memory for a
   * device that is not.
   */
  readonly refused: 'EREMOTEIO' | 'ENOMEM' | 'EINVAL' | 'EIO' | 'ENODEV' | 'EPERM' | 'EOPNOTSUPP';
  readonly reason: string;
}

/** Tells a refusal from a mapping. */
export const isRefusal = (result: DmaMapping | CoherentMemory | MapRefusal): result is MapRefusal =>
  'refused' in result;
