/**
 * What a driver believes a mapping to be when it syncs or unmaps it, and whether it is so. Interfaces of drivers that keep
 * size, direction and count beside the address say it with every call. [DMAAPI]
 * @module
 */

import type { Owner } from '#emu/dma/dma-sync.ts';
import { Direction } from '#emu/dma/mapping.ts';
import type { MappingRecord } from '#emu/dma/mapping-record.ts';
import type { CheckerClass } from './checker-class.ts';

/** What is not said is not compared. */
export interface MappingClaim {
  readonly direction?: Direction;
  /** Of the whole mapping. */
  readonly sizeBytes?: number;
  /** Ranges of the list that was mapped, not of that for the device. */
  readonly count?: number;
  readonly attrs?: number;
}

/** The first thing in which a mapping is not what its driver says, or null. */
export function claimFault(
  { source, direction, attrs }: MappingRecord,
  claim: MappingClaim,
): readonly [kind: CheckerClass, what: string] | null {
  if (claim.sizeBytes !== undefined && claim.sizeBytes !== source.sizeBytes) {
    return ['other-size', `${claim.sizeBytes} bytes, mapped as ${source.sizeBytes}`];
  }
  if (claim.count !== undefined && claim.count !== source.count) {
    return ['other-count', `${claim.count} ranges, mapped as ${source.count}`];
  }
  if (claim.direction !== undefined && claim.direction !== direction) {
    return ['other-direction', `direction ${claim.direction}, mapped as ${direction}`];
  }
  if (claim.attrs !== undefined && claim.attrs !== attrs) {
    return ['other-attributes', `attributes ${claim.attrs}, mapped with ${attrs}`];
  }
  return null;
}

/** A sync that says it is for the side that the mapping is not made for, or null. [DMAAPI] */
export function syncFault(
  { direction }: MappingRecord,
  owner: Owner,
  claimed: Direction | undefined,
): readonly [kind: CheckerClass, what: string] | null {
  if (claimed === undefined || claimed === direction) return null;
  if (owner === 'cpu' && direction === Direction.ToDevice) {
    return ['sync-direction', 'of memory that the device only reads'];
  }
  if (owner === 'device' && direction === Direction.FromDevice) {
    return ['sync-direction', 'of memory that the device only writes'];
  }
  return null;
}
