/**
 * Data as PRP entries: PRP1 and PRP2, and list pages when two are not enough. Pure functions of the data and of the
 * place for the list. [NVME] 4.1.1
 * @module
 */
import { PRP_SIZE } from '#devices/nvme/spec.ts';
import { alignUp, dmaAddr, hex, offsetBy, PAGE_SIZE, pageOffset } from '#emu/base/units.ts';
import type { CommandFields } from './command-fields.ts';
import type { DataRanges } from './data-ranges.ts';
import type { ListPlace } from './list-place.ts';

const ENTRIES = PAGE_SIZE / PRP_SIZE;
const LAST_ENTRY = ENTRIES - 1;
const DWORD_MASK = 3;

/** Pages of PRP lists that `sizeBytes` of data may need, whatever their offset. */
export function listPages(sizeBytes: number): number {
  const entries = Math.ceil(sizeBytes / PAGE_SIZE);
  // All but the last page spend an entry on the link to the next one.
  return Math.max(1, Math.ceil((entries - 1) / LAST_ENTRY));
}

/** Why PRPs cannot describe `data`, or null: each page but the first and last is a whole one, at its start. */
export function prpObjection(data: DataRanges): string | null {
  if (data.address(0) & DWORD_MASK) {
    return `range 0 begins at ${hex(data.address(0))}, no multiple of 4`;
  }
  for (let i = 1; i < data.count; i++) {
    const end = data.address(i - 1) + data.length(i - 1);
    const start = data.address(i);
    if (start === end) continue;
    if (pageOffset(end) !== 0) return `range ${i - 1} ends inside a page, at ${hex(end)}`;
    if (pageOffset(start) !== 0) return `range ${i} begins inside a page, at ${hex(start)}`;
  }
  return null;
}

/** Describes data that {@link prpObjection} does not object to. The place holds {@link listPages}. */
export function writePrps(data: DataRanges, list: ListPlace, fields: CommandFields): void {
  const first = Math.min(data.sizeBytes, PAGE_SIZE - pageOffset(data.address(0)));
  let left = Math.ceil((data.sizeBytes - first) / PAGE_SIZE);
  fields.pointTo(data.address(0), dmaAddr(0));
  if (left > 1) fields.pointTo(data.address(0), list.dma);
  const isList = left > 1;
  let entry = 0;
  for (let i = 0; left > 0; i++) {
    const end = data.address(i) + data.length(i);
    const start = alignUp(data.address(i) + (i === 0 ? 1 : 0), PAGE_SIZE);
    for (let page = start; page < end; page += PAGE_SIZE) {
      if (!isList) fields.pointTo(data.address(0), dmaAddr(page));
      else entry = putEntry(list, entry, page, left);
      left--;
    }
  }
}

/** Writes an entry, behind a link where the page ends and more than one is `left`; returns the next one's number. */
function putEntry({ memory, address, dma }: ListPlace, at: number, page: number, left: number) {
  let entry = at;
  if (entry % ENTRIES === LAST_ENTRY && left > 1) {
    memory.setU64(address + entry * PRP_SIZE, offsetBy(dma, (entry + 1) * PRP_SIZE));
    entry++;
  }
  memory.setU64(address + entry * PRP_SIZE, page);
  return entry + 1;
}
