/**
 * Whose turn it is to use mapped memory. From map to unmap it is the device's, but for the bytes that were synced for
 * the CPU and not given back; where the device has a copy, syncing moves the bytes. [DMAAPI]
 * @module
 */
import { ByteSet } from '#emu/dma/checker/byte-set.ts';
import { Direction } from './mapping.ts';
import type { MappingRecord } from './mapping-record.ts';

/** Who may use bytes of a mapping. */
export type Owner = 'cpu' | 'device';

/** Gives bytes `start` to `end` of a live mapping to `owner`. Nothing moves against the mapping's direction. */
export function syncBytes(mapping: MappingRecord, owner: Owner, start: number, end: number): void {
  const { bounced, direction } = mapping;
  if (owner === 'cpu') {
    if (bounced !== null && direction !== Direction.ToDevice) bounced.copyOut(start, end);
    mapping.cpuBytes ??= new ByteSet();
    mapping.cpuBytes.add(start, end);
    return;
  }
  if (bounced !== null && direction !== Direction.FromDevice) bounced.copyIn(start, end);
  mapping.cpuBytes?.remove(start, end);
}

/** Who may use bytes `start` to `end` of a mapping; null when that differs from byte to byte. */
export function ownerOf(mapping: MappingRecord, start: number, end: number): Owner | null {
  const { cpuBytes } = mapping;
  if (cpuBytes === null || !cpuBytes.overlaps(start, end)) return 'device';
  return cpuBytes.covers(start, end) ? 'cpu' : null;
}
