/**
 * Memory that driver and function share for as long as the driver runs, such as queues: both see what the other
 * writes at once, so it is never copied and never synced. Where it lies is decided here; its life is DmaDevice's.
 * [DMAAPI]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { alignUp, type DmaAddr, PAGE_SIZE, type PhysAddr } from '#emu/base/units.ts';
import type { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal, type MapRefusal } from '#emu/dma/mapping.ts';
import type { MappingRecord } from '#emu/dma/mapping-record.ts';
import type { DmaDomain } from './dma-provider.ts';

/** Whole pages at a multiple of their size rounded up to a power of two, for the CPU and for the function. */
export interface CoherentMemory {
  /** Where the driver sees it; zeros at first. */
  readonly address: PhysAddr;
  /** Where the function sees it; contiguous there too. */
  readonly dma: DmaAddr;
  readonly sizeBytes: number;
  /** The same for whoever takes lists. */
  readonly ranges: DmaRangeList;
}

/** Where coherent memory comes from. */
export interface CoherentPages {
  /** Contiguous zeroed bytes that end at `limit` or before. @throws EmuError NO_MEMORY */
  allocate(sizeBytes: number, alignBytes: number, limit: number): PhysAddr;
  free(address: PhysAddr, sizeBytes: number): void;
}

/** Coherent memory with the mapping behind it. Drivers see it as CoherentMemory. */
export class CoherentRecord implements CoherentMemory {
  readonly address: PhysAddr;
  readonly sizeBytes: number;
  readonly mapping: MappingRecord;
  readonly pages: CoherentPages;

  constructor(address: PhysAddr, mapping: MappingRecord, pages: CoherentPages) {
    this.address = address;
    this.sizeBytes = mapping.source.sizeBytes;
    this.mapping = mapping;
    this.pages = pages;
  }

  get dma(): DmaAddr {
    return this.ranges.address(0);
  }
  get ranges(): DmaRangeList {
    return this.mapping.ranges;
  }
}

/** Takes pages that the function reaches and maps them both ways; a refusal leaves nothing taken. */
export function makeCoherent(
  domain: DmaDomain,
  pages: CoherentPages,
  sizeBytes: number,
): CoherentRecord | MapRefusal {
  const wholeBytes = alignUp(sizeBytes, PAGE_SIZE);
  const limit = domain.coherentLimit ?? Number.POSITIVE_INFINITY;
  const address = allocate(pages, wholeBytes, limit);
  if (typeof address === 'object') return address;
  const list = PhyRangeList.of(address, wholeBytes);
  const mapping = domain.mapCoherent?.(list) ?? domain.map(list, Direction.Bidirectional);
  if (isRefusal(mapping)) {
    pages.free(address, wholeBytes);
    return mapping;
  }
  mapping.isCoherent = true;
  return new CoherentRecord(address, mapping, pages);
}

function allocate(pages: CoherentPages, sizeBytes: number, limit: number): PhysAddr | MapRefusal {
  let align: number = PAGE_SIZE;
  while (align < sizeBytes) align *= 2;
  try {
    return pages.allocate(sizeBytes, align, limit);
  } catch (error) {
    if (!(error instanceof EmuError && error.code === 'NO_MEMORY')) throw error;
    return { refused: 'ENOMEM', reason: error.message };
  }
}
