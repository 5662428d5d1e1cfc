/**
 * Data as an SGL: one data block in the command, or a last segment with a data block for each range. Pure functions
 * of the data and of the place for the segment. [NVME] 4.1.2
 * @module
 */
import { SglDescriptor, SglType } from '#devices/nvme/spec.ts';
import { SglSupport } from '#devices/nvme/spec-identify.ts';
import { hex, pageOffset } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import type { CommandFields } from './command-fields.ts';
import type { DataRanges } from './data-ranges.ts';
import type { ListPlace } from './list-place.ts';
import { putDescriptor } from './sgl-descriptor.ts';

const { SIZE } = SglDescriptor;
const DWORD_MASK = 3;

/** Why an SGL in this place cannot describe `data`, or null. */
export function sglObjection(
  data: DataRanges,
  list: ListPlace,
  support: SglSupport,
): string | null {
  if (support === SglSupport.None) return 'SGLs are off';
  const room = list.sizeBytes / SIZE;
  if (data.count > 1 && data.count > room) {
    return `there is room for ${room} SGL descriptors, not for ${data.count}`;
  }
  if (support === SglSupport.Byte) return null;
  for (let i = 0; i < data.count; i++) {
    if (((data.address(i) | data.length(i)) & DWORD_MASK) === 0) continue;
    const range = `range ${i} with ${data.length(i)} bytes at ${hex(data.address(i))}`;
    return `the drive's SGLs take whole dwords, not ${range}`;
  }
  return null;
}

/** Describes data that {@link sglObjection} does not object to. */
export function writeSgl(data: DataRanges, list: ListPlace, fields: CommandFields): void {
  if (data.count === 1) {
    fields.pointToSgl(data.address(0), data.length(0), SglType.DataBlock);
    return;
  }
  for (let i = 0; i < data.count; i++) {
    // Frames are pages, and no descriptor straddles two.
    const at = list.address + i * SIZE;
    const frame = list.memory.ensureFrame(at) + pageOffset(at);
    putDescriptor(arena.view, frame, data.address(i), data.length(i), SglType.DataBlock);
  }
  fields.pointToSgl(list.dma, data.count * SIZE, SglType.LastSegment);
}
