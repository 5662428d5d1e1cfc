/**
 * A host with memory on both sides of 4 GiB, a small bounce pool and one client below the usual topology. The
 * "device" reads and writes host memory at the addresses it is given, which is all a bus address needs. Builds;
 * asserts nothing but that mapping works. @module
 */
import assert from 'node:assert/strict';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaTraits } from '#emu/dma/dma-traits.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { type Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { BouncePool } from '#emu/dma/providers/bounce-pool.ts';
import { BounceProvider } from '#emu/dma/providers/bounce-provider.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import { CLIENT, exceptBanned, FakeView, threePorts } from '#test/support/dma-rig.ts';

const KiB = 1024;
export const FOUR_GIB: number = 2 ** 32;
/** Memory that a 32-bit device reaches, and memory that it does not. */
export const LOW = physAddr(0x9000_0000);
export const HIGH = physAddr(FOUR_GIB + 0x1000_0000);
export const POOL = physAddr(0x8000_0000);

export interface BounceRigOptions {
  readonly limits?: Partial<DmaLimits>;
  readonly isForced?: boolean;
  readonly poolBytes?: number;
  readonly traits?: Partial<DmaTraits>;
}

export class BounceRig {
  readonly kernel = new Kernel();
  readonly memory = new SparseMemory(2 ** 34, 'host');
  readonly view = new FakeView(threePorts());
  readonly pool: BouncePool;
  readonly device: DmaDevice;

  constructor(options: BounceRigOptions = {}) {
    const {
      limits = { addressLimit: FOUR_GIB },
      isForced = false,
      poolBytes = 512 * KiB,
    } = options;
    this.pool = new BouncePool(this.memory, POOL, poolBytes);
    const provider = new BounceProvider({
      kernel: this.kernel,
      view: this.view,
      hostBridgeAllowed: exceptBanned,
      pool: this.pool,
      isForced,
    });
    const started = this.kernel.spawn('start', provider.start());
    assert.ok(started.done);
    this.device = provider.device(CLIENT, limits, options.traits);
  }

  map(list: PhyRangeList, direction: Direction): DmaMapping {
    const result = this.device.map(list, direction);
    if (isRefusal(result)) return assert.fail(`${result.refused}: ${result.reason}`);
    return result;
  }

  refusal(list: PhyRangeList, direction: Direction): string {
    const used = this.pool.usedSlots;
    const result = this.device.map(list, direction);
    assert.equal(this.pool.usedSlots, used);
    assert.equal(list.mappings, 0);
    return isRefusal(result) ? `${result.refused} ${result.reason}` : 'mapped';
  }

  /** Memory of a list as the CPU sees it. */
  load(list: PhyRangeList): Uint8Array {
    const bytes = new Uint8Array(list.sizeBytes);
    let done = 0;
    for (const { address, length } of list) {
      this.memory.read(address, bytes.subarray(done, done + length));
      done += length;
    }
    return bytes;
  }

  store(list: PhyRangeList, bytes: Uint8Array): void {
    let done = 0;
    for (const { address, length } of list) {
      this.memory.write(address, bytes.subarray(done, done + length));
      done += length;
    }
  }

  /** What the device finds in part of a mapping. */
  deviceReads({ ranges }: DmaMapping, offset = 0, size: number = ranges.sizeBytes): Uint8Array {
    const bytes = new Uint8Array(size);
    let done = 0;
    for (const { address, length } of ranges.slice(offset, size)) {
      this.memory.read(address, bytes.subarray(done, done + length));
      done += length;
    }
    return bytes;
  }

  deviceWrites({ ranges }: DmaMapping, offset: number, bytes: Uint8Array): void {
    let done = 0;
    for (const { address, length } of ranges.slice(offset, bytes.length)) {
      this.memory.write(address, bytes.subarray(done, done + length));
      done += length;
    }
  }

  dispose(): void {
    assert.deepEqual(this.kernel.outstanding(), []);
    this.memory.dispose();
  }
}

/** Bytes that differ by position and seed. */
export const pattern = (sizeBytes: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: sizeBytes }, (_, i) => (i * 7 + (i >> 8) * 13 + seed * 89 + 1) & 0xff);

export const high = (bytes: number) => offsetBy(HIGH, bytes);
export const low = (bytes: number) => offsetBy(LOW, bytes);
