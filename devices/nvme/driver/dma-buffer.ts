/**
 * Host memory that driver and device share for as long as the driver runs: queues, lists, structures.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { alignUp, type DmaAddr, PAGE_SIZE, type PhysAddr } from '#emu/base/units.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { DriverHost } from './host-access.ts';

export class DmaBuffer {
  /** Where the driver sees it. */
  readonly address: PhysAddr;
  /** Where the device sees it; contiguous there too. */
  readonly dma: DmaAddr;
  readonly sizeBytes: number;
  readonly #host: DriverHost;
  readonly #mapping: DmaMapping;

  /** Allocates whole zeroed pages and maps them for both directions. @throws NO_MEMORY */
  constructor(host: DriverHost, sizeBytes: number) {
    this.#host = host;
    this.sizeBytes = alignUp(sizeBytes, PAGE_SIZE);
    this.address = host.mm.allocate(this.sizeBytes);
    const list = host.mm.pin(this.address, this.sizeBytes);
    const mapping = host.dma.map(list, Direction.Bidirectional);
    if (isRefusal(mapping) || mapping.ranges.count !== 1) {
      host.mm.free(this.address, this.sizeBytes);
      const reason = isRefusal(mapping) ? mapping.reason : 'it is not contiguous for the device';
      throw new EmuError('NO_MEMORY', `${host.path}: cannot map ${sizeBytes} bytes: ${reason}`);
    }
    this.#mapping = mapping;
    this.dma = mapping.ranges.address(0);
  }

  /** Unmaps and frees it; done once the device can no longer reach it. */
  free(): Pending<void> {
    const unmapped = this.#host.dma.unmap(this.#mapping);
    unmapped.onDone(() => this.#host.mm.free(this.address, this.sizeBytes));
    return unmapped;
  }
}
