/**
 * The seam between devices' mappings and the ways to make them, and what all of them need of the host.
 * Interfaces only; the host implements DmaHost, providers the rest.
 * @module
 */
import type { Bdf, DmaAddr, PhysAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaTraits } from '#emu/dma/dma-traits.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import type { Direction, MapRefusal } from '#emu/dma/mapping.ts';
import type { MappingRecord } from '#emu/dma/mapping-record.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';

/** What DMA software uses of the machine it runs on. */
export interface DmaHost {
  readonly kernel: Kernel;
  /** Host physical address space; loads and stores to DRAM go straight to it. */
  readonly memory: SparseMemory;
  /** DRAM for tables and queues. @throws EmuError NO_MEMORY */
  allocate(sizeBytes: number, alignBytes: number): PhysAddr;
  free(address: PhysAddr, sizeBytes: number): void;
  mmioRead32(address: PhysAddr): Pending<number>;
  mmioWrite32(address: PhysAddr, value: number): void;
  /** A message-signalled interrupt; the handler runs as an event of its own. */
  interrupt(path: string, handler: () => void): { address: PhysAddr; data: number };
}

/** Limits of a function's DMA engine, as its driver declares them. [DMAAPI] */
export interface DmaLimits {
  /** Exclusive upper bound of addresses it can make: a power of two. Default 2^52. */
  readonly addressLimit: number;
  /** Longest segment. Default 4 GiB - 4 KiB. */
  readonly maxSegmentBytes: number;
  /** Segments must not cross multiples of this power of two. Default 4 GiB. */
  readonly boundaryBytes: number;
}

export const DEFAULT_LIMITS: DmaLimits = {
  addressLimit: 2 ** 52,
  maxSegmentBytes: 0xffff_f000,
  boundaryBytes: 2 ** 32,
};

/** Whether peer traffic of `client` to memory of `provider` may pass a host bridge. */
export type HostBridgePolicy = (provider: Bdf, client: Bdf) => boolean;

/** One function's address space, by one provider. Arguments have been checked. */
export interface DmaDomain {
  /** How the function reaches memory; absent where that is not for the domain to tell. */
  readonly segments?: SegmentCursor;
  /** @param attrs of DmaAttr; default none */
  map(list: PhyRangeList, direction: Direction, attrs?: number): MappingRecord | MapRefusal;
  /** Ends a mapping; `done` is completed when no access to it is possible any more. */
  unmap(mapping: MappingRecord, done: Pending<void>): void;
  /**
   * Ends bytes `start` to `end` of a mapping's list, for good and at once; `mapping.ended` has them already. Absent
   * where mappings end whole.
   */
  unmapPart?(mapping: MappingRecord, start: number, end: number): void;
  /** Maps memory that both sides use at once, both ways and never by copies; absent where `map` makes none. */
  mapCoherent?(list: PhyRangeList): MappingRecord | MapRefusal;
  /** Exclusive bound of where such memory may lie; absent where it may lie anywhere. */
  readonly coherentLimit?: number | undefined;
  /** Longest range that can be mapped wherever it lies; absent for any. */
  readonly maxRangeBytes?: number;
  mapDoorbell(address: PhysAddr): DmaAddr;
  /** Gives everything up that serves the function, which has no mapping any more; absent where nothing does. */
  detach?(done: Pending<void>): void;
  /** Lets the function, which may have mappings, reach nothing any more; before detach. Absent where nothing keeps it from it. */
  cutOff?(): void;
}

/** A way to make memory accessible to devices. */
export interface DmaProvider {
  readonly name: string;
  /** Brings its hardware up; before the first device. */
  start(): Process<void>;
  /** The DMA interface of a function: when BARs are assigned, and again only after it was detached. */
  device(client: Bdf, limits?: Partial<DmaLimits>, traits?: Partial<DmaTraits>): DmaDevice;
}
