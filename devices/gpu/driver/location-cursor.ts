/**
 * One side of a transfer as the engine addresses it, walked range by range.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { ADDR_LIMIT, type DmaAddr, hex } from '#emu/base/units.ts';
import { type DmaRangeList, dmaCursor } from '#emu/dma/lists/dma-range-list.ts';
import type { RangeCursor } from '#emu/dma/lists/range-cursor.ts';

/** Where a transfer begins: an offset in VRAM, a bus address or IOVA, or ranges mapped for the GPU. */
export type GpuLocation =
  | { readonly vram: number }
  | { readonly address: DmaAddr }
  | { readonly ranges: DmaRangeList; readonly offset?: number };

/** What the engine's address space looks like to its driver. */
export interface EngineSpace {
  /** Where VRAM stands in it. */
  readonly vramBase: number;
  readonly vramBytes: number;
  /** End of the frame buffer's window, exclusive. */
  readonly vramLimit: number;
}

export class LocationCursor {
  /** Engine address here. */
  address = 0;
  /** Bytes that follow without a gap. */
  left = 0;
  readonly #ranges: RangeCursor<DmaAddr> | null = null;

  /** @throws USAGE when fewer than `sizeBytes` are there */
  constructor(space: EngineSpace, location: GpuLocation, sizeBytes: number) {
    if ('ranges' in location) {
      this.#ranges = dmaCursor();
      if (sizeBytes > 0) location.ranges.open(this.#ranges, location.offset ?? 0, sizeBytes);
      this.advance(0);
    } else if ('vram' in location) {
      checkRoom('vram', location.vram, sizeBytes, space.vramBytes);
      this.address = space.vramBase + location.vram;
      this.left = sizeBytes;
    } else {
      checkRoom('address', location.address, sizeBytes, ADDR_LIMIT);
      this.address = location.address;
      this.left = sizeBytes;
    }
  }

  /** Moves on by at most {@link left} bytes. */
  advance(sizeBytes: number): void {
    this.address += sizeBytes;
    this.left -= sizeBytes;
    if (this.left > 0 || !this.#ranges?.next()) return;
    this.address = this.#ranges.address;
    this.left = this.#ranges.length;
  }
}

/** Whether the engine would take a bus address of the location for VRAM. */
export function isAmbiguous(space: EngineSpace, location: GpuLocation, sizeBytes: number): boolean {
  if ('vram' in location) return false;
  const cursor = new LocationCursor(space, location, sizeBytes);
  for (let left = sizeBytes; left > 0; ) {
    const size = Math.min(left, cursor.left);
    if (cursor.address < space.vramLimit && cursor.address + size > space.vramBase) return true;
    left -= size;
    cursor.advance(size);
  }
  return false;
}

function checkRoom(what: string, offset: number, sizeBytes: number, room: number): void {
  if (offset >= 0 && sizeBytes >= 0 && offset + sizeBytes <= room) return;
  throw usage(
    `${what}: expected ${sizeBytes} bytes at offset ${hex(Math.max(offset, 0))} within ${room}`,
  );
}
