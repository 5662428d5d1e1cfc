/**
 * The driver's access to the IOMMU's registers, by MMIO. [RVIOMMU] 5.1
 * @module
 */
import { hi32, lo32, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { DmaHost } from '#emu/dma/providers/dma-provider.ts';
import { delay, type Process, wait } from '#emu/sim/process.ts';

/** Between two looks at a register that is waited for. */
const POLL_PS = 100_000;

export class IommuPort {
  readonly host: DmaHost;
  readonly #base: PhysAddr;

  /** @param base physical address of the register page */
  constructor(host: DmaHost, base: PhysAddr) {
    this.host = host;
    this.#base = base;
  }

  *read(offset: number): Process<number> {
    return (yield* wait(this.host.mmioRead32(offsetBy(this.#base, offset)))) >>> 0;
  }

  write(offset: number, value: number): void {
    this.host.mmioWrite32(offsetBy(this.#base, offset), value);
  }

  /** Writes a 64-bit register in halves, high half first: the low half holds what takes effect. */
  writeAddress(offset: number, value: number): void {
    this.write(offset + 4, hi32(value));
    this.write(offset, lo32(value));
  }

  /** Reads until the bits of `mask` are `wanted`. */
  *poll(offset: number, mask: number, wanted: number): Process<void> {
    while (((yield* this.read(offset)) & mask) >>> 0 !== wanted >>> 0) yield* delay(POLL_PS);
  }
}
