/**
 * A machine on which lists of every kind of memory are mapped and unmapped, in want of whatever, with an account of
 * what mappings hold. Asserts that a list never changes and that a refusal changes nothing.
 * @module
 */
import assert from 'node:assert/strict';
import { offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { type Direction, type DmaMapping, isRefusal, type MapRefusal } from '#emu/dma/mapping.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { type DmaSpec, type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { AddressSpace } from '#emu/host/memory/address-space.ts';
import { PinLedger } from '#emu/host/memory/pin-ledger.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig } from '#test/support/bridges-rig.ts';
import { rangesOf } from '#test/support/dma-rig.ts';
import { MiB, PAGE } from '#test/support/requester-rig.ts';

const BAR: number = 32 * MiB;
const HOST_PAGES = 64;

export interface Setup {
  readonly iommu?: MachineSpec['iommu'];
  readonly dma?: DmaSpec;
  readonly limits?: Partial<DmaLimits>;
  readonly dramBytes?: number;
}

/** Where a piece of a list lies; the last two are never mapped. */
const PLACES = ['host', 'near', 'far', 'banned', 'nobody'] as const;
type PlaceName = (typeof PLACES)[number];

export interface Piece {
  readonly place: PlaceName;
  readonly page: number;
  readonly offset: number;
  readonly size: number;
}

/** A client with a peer below its switch, one below another root port, and one out of reach. */
export class Workbench {
  readonly rig: BridgesRig;
  readonly live: DmaMapping[] = [];
  readonly refusals = new Set<string>();
  readonly space: AddressSpace;
  readonly pins = new PinLedger({ callSites: false });
  readonly #bases: Readonly<Record<PlaceName, PhysAddr>>;
  #filler: { address: PhysAddr; sizeBytes: number }[] = [];

  constructor({ iommu, dma, limits = {}, dramBytes = 4 * MiB }: Setup) {
    // Listed for traffic within one host bridge only. [P2PDMA]
    const identity = { vendorId: 0x8086, deviceId: 0x3c00 };
    const device = pcieSwitch({
      ports: [{ device: barMemory('a', MiB) }, { device: barMemory('near', BAR) }],
    });
    const spec: MachineSpec = {
      ...(iommu === undefined ? {} : { iommu }),
      ...(dma === undefined ? {} : { dma }),
      acs: 'off',
      memory: { sizeBytes: dramBytes },
      hostBridges: [
        { identity, rootPorts: [{ device }, { device: barMemory('far', BAR) }] },
        { identity, rootPorts: [{ device: barMemory('banned', BAR) }] },
      ],
    };
    this.rig = new BridgesRig(spec, 'functional');
    const { built } = this.rig;
    built.function('a').limitDma(limits);
    const bar = (name: string): PhysAddr => built.function(name).bar(0).address;
    this.#bases = {
      host: built.mm.allocate(HOST_PAGES * PAGE),
      near: bar('near'),
      far: bar('far'),
      banned: bar('banned'),
      nobody: offsetBy(built.map.high.base, built.map.high.sizeBytes - BAR),
    };
    this.space = new AddressSpace({ mm: built.mm, pins: this.pins });
    assert.equal(this.dma.liveMappings, 0);
  }

  get dma(): DmaDevice {
    return this.rig.built.function('a').dma;
  }
  get domain(): IommuDomain | null {
    const { domain } = this.dma;
    return domain instanceof IommuDomain ? domain : null;
  }

  /** Everything that a mapping can leave behind. Tables that are there are no leak, if nothing is in them. */
  account(): Record<string, number> {
    const { built } = this.rig;
    const { domain } = this;
    const isHidden = built.iommu !== null && domain === null;
    return {
      mappings: this.dma.liveMappings,
      iovaBytes: domain?.iovas.usedBytes ?? 0,
      leaves: domain?.table.leaves ?? 0,
      // A wrapper does not show how many tables there are behind it.
      pages: isHidden ? 0 : built.mm.usedBytes / PAGE - (domain?.table.tables ?? 0),
      slots: built.bounce?.usedSlots ?? 0,
    };
  }

  list(pieces: readonly Piece[]): PhyRangeList {
    const list = new PhyRangeList();
    for (const { place, page, offset, size } of pieces) {
      const pages = place === 'host' ? HOST_PAGES : BAR / PAGE;
      const at = (page % pages) * PAGE + offset;
      const most = Math.min(size, pages * PAGE - at);
      if (most > 0) list.appendApart(offsetBy(this.#bases[place], at), most);
    }
    return list;
  }

  /** Maps a list; a refusal, and a list that is refused, have changed nothing. */
  map(list: PhyRangeList, direction: Direction): DmaMapping | MapRefusal {
    const before = rangesOf(list);
    const account = this.account();
    const answer = this.dma.map(list, direction);
    assert.deepEqual(rangesOf(list), before);
    if (isRefusal(answer)) {
      this.refusals.add(answer.refused);
      assert.deepEqual(this.account(), account, answer.refused);
      assert.equal(list.mappings, 0);
    } else {
      assert.equal(list.mappings, 1);
      this.live.push(answer);
    }
    return answer;
  }

  /** Ends one of the live mappings; it may take until the kernel has run. */
  unmap(index: number): void {
    if (this.live.length === 0) return;
    const [mapping] = this.live.splice(index % this.live.length, 1);
    const before = rangesOf(mapping!.source);
    this.dma.unmap(mapping!).onDone(() => assert.equal(mapping!.source.mappings, 0));
    assert.deepEqual(rangesOf(mapping!.source), before);
  }

  run(): void {
    this.rig.built.kernel.run();
  }

  /** Pages of host memory that anyone may still take. */
  get freePages(): number {
    const { mm, map } = this.rig.built;
    return (map.dram.sizeBytes - mm.usedBytes) / PAGE;
  }

  /** Takes all host memory but so many pages, whatever holes it is in. */
  fillMemory(pagesLeft: number): void {
    const { mm, map } = this.rig.built;
    for (let size = map.dram.sizeBytes; size >= PAGE; ) {
      const sizeBytes = Math.min(size, Math.max(0, this.freePages - pagesLeft) * PAGE);
      if (sizeBytes === 0) return;
      try {
        this.#filler.push({ address: mm.allocate(sizeBytes), sizeBytes });
      } catch {
        size = Math.max(PAGE, Math.floor(sizeBytes / PAGE / 2) * PAGE);
      }
    }
  }

  emptyMemory(): void {
    for (const { address, sizeBytes } of this.#filler) this.rig.built.mm.free(address, sizeBytes);
    this.#filler = [];
  }

  end(): void {
    this.space.dispose();
    this.rig.dispose();
  }
}
