/**
 * What is wrong with a mapping as it was made, and with an access to one. Pure functions of DeviceChecker. [DMAAPI]
 * @module
 */
import { hex } from '#emu/base/units.ts';
import type { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import { Direction, MapType } from '#emu/dma/mapping.ts';
import { type MappingRecord, MappingState } from '#emu/dma/mapping-record.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import type { CheckerClass } from './checker-class.ts';

export type Fault = readonly [kind: CheckerClass, what: string];

/** Where the machine has memory. */
export interface MemorySpan {
  readonly base: number;
  readonly sizeBytes: number;
}

/** A host range that is not in memory, or null. */
export function areaFault(
  { source }: MappingRecord,
  segments: SegmentCursor | undefined,
  { base, sizeBytes }: MemorySpan,
): Fault | null {
  if (segments === undefined) return null;
  segments.open(source);
  while (segments.next()) {
    const { address, length, type } = segments;
    if (type !== MapType.None) continue;
    if (address >= base && address + length <= base + sizeBytes) continue;
    return ['invalid-area', `${length} bytes at ${hex(address)} are not in memory`];
  }
  return null;
}

/**
 * A range beyond what the driver said its device can take, or null. Lists are not cut by limits that nobody declared:
 * their ranges are cut when they become descriptors.
 */
export function segmentFault(
  { ranges, isCoherent }: MappingRecord,
  { maxSegmentBytes, boundaryBytes }: Partial<DmaLimits>,
): Fault | null {
  // Segments are what lists have.
  if (isCoherent || (maxSegmentBytes === undefined && boundaryBytes === undefined)) return null;
  for (const { address, length } of ranges) {
    const range = `a range of ${length} bytes at ${hex(address)}`;
    if (maxSegmentBytes !== undefined && length > maxSegmentBytes) {
      return ['long-segment', `${range}, where the device takes ${maxSegmentBytes}`];
    }
    if (boundaryBytes === undefined) continue;
    const last = address + length - 1;
    if (Math.floor(address / boundaryBytes) !== Math.floor(last / boundaryBytes)) {
      return ['segment-boundary', `${range} crosses a multiple of ${hex(boundaryBytes)}`];
    }
  }
  return null;
}

/** What is wrong with an access to bytes of a mapping, or null. */
export function accessFault(
  mapping: MappingRecord,
  offset: number,
  length: number,
  isWrite: boolean,
): Fault | null {
  if (mapping.state === MappingState.Gone) return ['after-unmap', 'the mapping has ended'];
  if (mapping.state === MappingState.Unmapping) return ['after-unmap', 'the mapping is ending'];
  if (mapping.ended?.overlaps(offset, offset + length)) {
    return ['after-unmap', 'this part of the mapping has ended'];
  }
  if (mapping.source.hold?.isRevoked) return REVOKED;
  const wrongWay = directionFault(mapping.direction, isWrite);
  if (wrongWay !== null) return wrongWay;
  if (mapping.cpuBytes?.overlaps(offset, offset + length)) {
    return ['cpu-owned', 'it was synced for the CPU and not given back'];
  }
  return null;
}

export const REVOKED: Fault = ['revoked', 'the owner took the memory back'];

/** An access against the direction, or null. */
export function directionFault(direction: Direction, isWrite: boolean): Fault | null {
  if (direction !== (isWrite ? Direction.ToDevice : Direction.FromDevice)) return null;
  return ['direction', `the mapping is for ${isWrite ? 'reading' : 'writing'} only`];
}
