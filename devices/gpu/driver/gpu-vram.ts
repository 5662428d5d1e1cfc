/**
 * VRAM as host software sees it: a window at BAR0, offsets handed out, ranges for peers.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { hex, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { VramAllocator } from './vram-allocator.ts';

export class GpuVram {
  /** Where the CPU sees VRAM offset 0: BAR0. */
  readonly address: PhysAddr;
  readonly sizeBytes: number;
  readonly #allocator: VramAllocator;

  constructor(address: PhysAddr, sizeBytes: number) {
    this.address = address;
    this.sizeBytes = sizeBytes;
    this.#allocator = new VramAllocator(sizeBytes);
  }

  get freeBytes(): number {
    return this.#allocator.freeBytes;
  }

  /** Offset of whole pages, `alignBytes` a power of two. @throws USAGE when there is no room */
  allocate(sizeBytes: number, alignBytes?: number): number {
    return this.#allocator.allocate(sizeBytes, alignBytes);
  }

  /** Takes back what {@link allocate} returned. @throws INVARIANT for anything else */
  free(offset: number): void {
    this.#allocator.free(offset);
  }

  /** The range by CPU addresses, to be mapped for a peer. @throws USAGE outside VRAM */
  range(offset: number, sizeBytes: number): PhyRangeList {
    if (!(offset >= 0 && offset + sizeBytes <= this.sizeBytes)) {
      throw usage(
        `VRAM range: expected at most ${hex(this.sizeBytes)}, got ${sizeBytes} bytes at ${offset}`,
      );
    }
    return PhyRangeList.of(offsetBy(this.address, offset), sizeBytes);
  }
}
