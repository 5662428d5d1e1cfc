/**
 * A machine with one opened drive and memory mapped for it, for tests of the driver. Builds; asserts nothing.
 * @module
 */
import {
  type NvmeDrive,
  type NvmeOptions,
  nvme,
  type OpenOptions,
  openNvme,
} from '#devices/nvme/index.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type BlockStore, MemoryStore } from '#emu/memory/block-store.ts';
import { installNodeEventLoop } from '#emu/observe/event-loop.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';

installNodeEventLoop();

/** Block size of the bench's own store, which has 16384 of them. */
export const BLOCK = 512;

export interface Setup {
  readonly fidelity?: Fidelity;
  readonly iommu?: boolean;
  readonly device?: Partial<NvmeOptions>;
  readonly open?: OpenOptions;
  readonly seed?: number;
}

/** A machine with one opened drive, and memory mapped for it. */
export class Bench {
  readonly machine: Machine;
  readonly drive: NvmeDrive;
  readonly store: BlockStore;

  constructor(host: Machine, drive: NvmeDrive, store: BlockStore) {
    this.machine = host;
    this.drive = drive;
    this.store = store;
  }

  static async open(setup: Setup = {}): Promise<Bench> {
    const { fidelity = 'functional', iommu = false, device = {}, seed = 1 } = setup;
    const blocks = new MemoryStore({ blockCount: 16384, blockSizeBytes: BLOCK });
    const store = typeof device.store === 'object' ? device.store : blocks;
    const plan = machine({
      iommu,
      rootPorts: [
        { link: { gen: 3, width: 4 }, device: nvme({ timing: 'instant', ...device, store }) },
      ],
    });
    const host = plan.build({ fidelity, seed });
    await host.boot();
    return new Bench(host, await openNvme(host, 'nvme0', setup.open), store);
  }

  /** Pages, mapped for both directions, in the order given or as allocated. */
  map(list: PhyRangeList): DmaMapping {
    const mapping = this.drive.dma.map(list, Direction.Bidirectional);
    if (isRefusal(mapping)) throw new Error(mapping.reason);
    return mapping;
  }
  buffer(sizeBytes: number): { address: PhysAddr; mapping: DmaMapping } {
    const address = this.machine.mm.allocate(sizeBytes);
    return { address, mapping: this.map(this.machine.mm.pin(address, sizeBytes)) };
  }
  scribble(address: PhysAddr, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    this.machine.kernel.random(`${address}`).fill(bytes);
    this.machine.mm.memory.write(address, bytes);
    return bytes;
  }
  bytes(address: PhysAddr, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    this.machine.mm.memory.read(address, bytes);
    return bytes;
  }
}
