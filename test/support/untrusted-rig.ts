/**
 * An IOMMU with a small bounce pool, and a device that may be hostile or sees no caches. What the device reads and writes
 * goes through the translation, page by page. Builds; asserts nothing but that mapping works. @module
 */
import { physAddr } from '#emu/base/units.ts';
import type { DmaTraits } from '#emu/dma/dma-traits.ts';
import { BouncePool } from '#emu/dma/providers/bounce-pool.ts';
import { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { IommuDriverRig, NEAR } from '#test/support/dma-rig.ts';

const POOL = physAddr(0x4000_0000);
const PAGE = 4096;

export class UntrustedRig {
  readonly rig: IommuDriverRig;
  readonly pool: BouncePool;
  readonly device;
  readonly domain: IommuDomain;
  readonly #requester = NEAR;

  constructor(
    traits: Partial<DmaTraits> = { isUntrusted: true },
    flush: FlushPolicy = FlushPolicy.Strict,
    poolBytes = 512 * 1024,
  ) {
    let made: BouncePool | null = null;
    this.rig = new IommuDriverRig({}, { flush, pool: () => made! });
    made = new BouncePool(this.rig.host.memory, POOL, poolBytes);
    this.pool = made;
    this.device = this.rig.provider.device(this.#requester, {}, traits);
    if (!(this.device.domain instanceof IommuDomain)) throw new Error('no IOMMU domain');
    this.domain = this.device.domain;
  }

  /** Bytes of memory as the CPU sees it, filled with `value`. */
  fill(address: number, sizeBytes: number, value: number): void {
    this.rig.host.memory.fill(physAddr(address), sizeBytes, value);
  }

  cpuReads(address: number, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    this.rig.host.memory.read(physAddr(address), bytes);
    return bytes;
  }

  /** What the device finds at its addresses; null where it faults. */
  deviceReads(address: number, sizeBytes: number): Uint8Array | null {
    const bytes = new Uint8Array(sizeBytes);
    for (let done = 0; done < sizeBytes; ) {
      const length = Math.min(PAGE - ((address + done) % PAGE), sizeBytes - done);
      const at = this.rig.access(address + done, false, this.#requester);
      if (at < 0) return null;
      this.rig.host.memory.read(physAddr(at), bytes.subarray(done, done + length));
      done += length;
    }
    return bytes;
  }

  /** Whether the device could write all of it. */
  deviceWrites(address: number, bytes: Uint8Array): boolean {
    for (let done = 0; done < bytes.length; ) {
      const length = Math.min(PAGE - ((address + done) % PAGE), bytes.length - done);
      const at = this.rig.access(address + done, true, this.#requester);
      if (at < 0) return false;
      this.rig.host.memory.write(physAddr(at), bytes.subarray(done, done + length));
      done += length;
    }
    return true;
  }

  run(): void {
    this.rig.host.kernel.run();
  }

  dispose(): void {
    this.rig.dispose();
  }
}
