/**
 * Host memory as its software manages it: physical pages handed out and taken back, and ranges pinned for DMA.
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { alignUp, hex, PAGE_SIZE, type PhysAddr, physAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { Span } from '#emu/host/machine-spec.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { PageAllocator } from './page-allocator.ts';

export class HostMemory {
  /** Host physical address space: the index is the physical address. */
  readonly memory: SparseMemory;
  readonly #pages: PageAllocator;

  constructor(memory: SparseMemory, dram: Span) {
    this.memory = memory;
    this.#pages = new PageAllocator(dram.base, dram.sizeBytes);
  }

  /** Bytes allocated now, whole pages. */
  get usedBytes(): number {
    return this.#pages.usedBytes;
  }
  /** Allocations not freed yet. */
  get allocations(): number {
    return this.#pages.count;
  }

  /**
   * Physically contiguous zeroed bytes, in whole pages that end at `limit` or before; `alignBytes` is a power of
   * two. @throws NO_MEMORY
   */
  allocate(
    sizeBytes: number,
    alignBytes: number = PAGE_SIZE,
    limit: number = Number.POSITIVE_INFINITY,
  ): PhysAddr {
    invariant(
      Number.isSafeInteger(sizeBytes) && sizeBytes > 0,
      `an allocation of ${sizeBytes} bytes`,
    );
    const align = Math.max(alignBytes, PAGE_SIZE);
    return physAddr(this.#pages.allocate(alignUp(sizeBytes, PAGE_SIZE), align, limit));
  }

  /** Gives a whole allocation back; its bytes are gone. @throws INVARIANT for anything that is not one */
  free(address: PhysAddr, sizeBytes: number): void {
    const wholeBytes = alignUp(sizeBytes, PAGE_SIZE);
    this.#pages.free(address, wholeBytes);
    this.memory.discard(address, wholeBytes);
  }

  /** The range as a list to be mapped for a device; it must stay allocated while it is mapped. */
  pin(address: PhysAddr, sizeBytes: number): PhyRangeList {
    const { base, sizeBytes: size } = this.#pages;
    invariant(
      address >= base && address + sizeBytes <= base + size,
      `${hex(address)} with ${sizeBytes} bytes is not in DRAM`,
    );
    return PhyRangeList.of(address, sizeBytes);
  }
}
