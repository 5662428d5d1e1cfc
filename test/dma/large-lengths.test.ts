/**
 * Mappings longer than 32 bits can say, for each kind of address, with a device that moves bytes by them: every page
 * at an edge arrives where it belongs, and nothing anywhere else. [PHYR]
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { DmaFlag } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { MAX_RANGE_BYTES } from '#emu/dma/lists/range-chain.ts';
import type { RangeLayout } from '#emu/dma/lists/range-layout.ts';
import { wideLayout } from '#emu/dma/lists/wide-layout.ts';
import { type DmaMapping, MapType } from '#emu/dma/mapping.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';
import {
  domainOf,
  drive,
  edgePages,
  GiB,
  MiB,
  markPages,
  PAGE,
  type Part,
  TiB,
  windowsAround,
} from '#test/support/requester-rig.ts';

const LENGTHS = [4 * GiB - PAGE, 4 * GiB, 8 * GiB + PAGE] as const;
const NAMES = ['4 GiB - 4 KiB', '4 GiB', '8 GiB + 4 KiB'] as const;
const LARGEST = LENGTHS[2];
const BAR = 16 * GiB;
const MARGIN = 64 * PAGE;
const { BusAddress, None, ThruHostBridge } = MapType;

/** Client `a` and peer `b` below one switch, with bus addresses of their own and enough memory. */
const spec = (rest: Partial<MachineSpec> = {}): MachineSpec => ({
  memory: { sizeBytes: 12 * GiB },
  mmioWindowBytes: TiB,
  hostBridges: [
    {
      rootPorts: [
        {
          device: pcieSwitch({
            ports: [{ device: barMemory('a', BAR) }, { device: barMemory('b', BAR) }],
          }),
        },
      ],
      busOffset: { high: 2 * TiB },
    },
  ],
  ...rest,
});

/** Where the memory of a case is: as the CPU has it, and as its keeper has it. */
interface Place {
  readonly address: PhysAddr;
  readonly memory: SparseMemory;
  readonly at: number;
}

type FindPlace = (rig: BridgesRig, sizeBytes: number) => Place;

const inHost: FindPlace = ({ built: { mm } }, sizeBytes) => {
  const address = mm.allocate(sizeBytes, 2 * MiB);
  return { address, memory: mm.memory, at: address };
};

const inPeer: FindPlace = (rig) => {
  const { address } = rig.built.function('b').bar(0);
  return { address, memory: rig.memory('b').shown, at: 0 };
};

interface Kind {
  readonly name: string;
  readonly spec: MachineSpec;
  readonly place: FindPlace;
  readonly mapType: MapType;
}

const KINDS: readonly Kind[] = [
  { name: 'host memory, direct', spec: spec(), place: inHost, mapType: None },
  { name: 'a bus address', spec: spec(), place: inPeer, mapType: BusAddress },
  { name: 'host memory by IOVA', spec: spec({ iommu: true }), place: inHost, mapType: None },
];
const MORE_KINDS: readonly Kind[] = [
  {
    name: 'peer memory by IOVA',
    spec: spec({ iommu: true }),
    place: inPeer,
    mapType: ThruHostBridge,
  },
  {
    name: 'peer memory by CPU address',
    spec: spec({ acs: 'linux' }),
    place: inPeer,
    mapType: ThruHostBridge,
  },
];

/** One list in one mapping, a page of memory that is nobody's business on either side of it. */
class LongMapping {
  readonly rig: BridgesRig;
  readonly mapping: DmaMapping;
  readonly list: PhyRangeList;
  readonly place: Place;
  readonly pages: readonly number[];
  readonly #sizeBytes: number;
  readonly #usedBytes: number;
  readonly #residentBytes: number;
  readonly #guards: readonly [at: number, bytes: Uint8Array][];

  constructor({ spec, place, mapType }: Kind, sizeBytes: number, layout?: RangeLayout) {
    const rig = new BridgesRig(spec, 'functional');
    const { mm } = rig.built;
    this.rig = rig;
    this.#sizeBytes = sizeBytes;
    this.place = place(rig, sizeBytes + 2 * PAGE);
    const { address, memory, at } = this.place;
    const last = at + PAGE + sizeBytes;
    this.#guards = [at, last].map((guard, i) => [guard, mark(memory, guard, PAGE, 100 + i)]);
    this.list = new PhyRangeList(layout).append(offsetBy(address, PAGE), sizeBytes);
    // The domain has its root table before the first mapping, and so before this.
    assert.equal(rig.built.function('a').dma.liveMappings, 0);
    this.#usedBytes = mm.usedBytes;
    this.mapping = rig.map('a', this.list);
    assert.equal(this.mapping.mapType, mapType);
    assert.equal(this.mapping.ranges.sizeBytes, sizeBytes);
    this.pages = edgePages(sizeBytes, this.list, this.mapping.ranges);
    this.#residentBytes = memory.residentBytes;
  }

  /** Marked pages go out and come back by these parts, and leave holes where there were holes. */
  move(parts: readonly Part[]): void {
    const { rig, mapping, place } = this;
    const { local } = rig.memory('a');
    const sent = markPages(rig, 'a', this.pages);
    const residentBytes = this.pages.length * PAGE;
    for (const isWrite of [true, false]) {
      if (!isWrite) local.discard(0, local.sizeBytes);
      for (const part of parts) {
        assert.deepEqual(drive(rig, 'a', isWrite, mapping.ranges, part), [DmaStatus.Ok]);
      }
      for (const [page, bytes] of sent) {
        assert.deepEqual(bytesAt(place.memory, place.at + PAGE + page, PAGE), bytes);
        assert.deepEqual(bytesAt(local, page, PAGE), bytes);
      }
      assert.equal(place.memory.residentBytes - this.#residentBytes, residentBytes);
      assert.equal(local.residentBytes, residentBytes);
      // What is sent whole is not read whole as well: half of the time.
      if (parts.length === 1) break;
    }
    for (const [at, bytes] of this.#guards) {
      assert.deepEqual(bytesAt(place.memory, at, PAGE), bytes);
    }
    assert.deepEqual([rig.refusals, rig.built.faults?.count ?? 0], [[], 0]);
  }

  /** Nothing translates any page any more, and what translated them is free. */
  end(): void {
    const { rig, mapping, list } = this;
    const { dma } = rig.built.function('a');
    rig.unmap('a', mapping);
    assert.deepEqual([dma.liveMappings, list.mappings], [0, 0]);
    assert.equal(list.sizeBytes, this.#sizeBytes);
    if (dma.domain instanceof IommuDomain) {
      const { iovas, table } = domainOf(rig, 'a');
      assert.deepEqual([iovas.usedBytes, table.leaves], [0, 0]);
      assert.equal(rig.built.mm.usedBytes - this.#usedBytes, (table.tables - 1) * PAGE);
      for (const offsetBytes of this.pages) {
        const page = { offsetBytes, sizeBytes: 8 };
        assert.deepEqual(drive(rig, 'a', false, mapping.ranges, page), [
          DmaStatus.UnsupportedRequest,
        ]);
      }
    }
    rig.dispose();
  }

  get windows(): readonly Part[] {
    return windowsAround(this.pages, this.#sizeBytes, MARGIN);
  }
  get whole(): readonly Part[] {
    return [{ offsetBytes: 0, sizeBytes: this.#sizeBytes }];
  }
}

describe('one mapping of', () => {
  for (const [j, sizeBytes] of LENGTHS.entries()) {
    for (const [i, kind] of [...KINDS, ...MORE_KINDS].entries()) {
      it(`${NAMES[j]} of ${kind.name}: the pages at every edge`, () => {
        const long = new LongMapping(kind, sizeBytes);
        const { ranges } = long.mapping;
        for (const { length, flags } of ranges) {
          assert.ok(length <= MAX_RANGE_BYTES && length % PAGE === 0);
          assert.equal(flags, kind.mapType === BusAddress ? DmaFlag.BusAddress : 0);
        }
        assert.equal(ranges.count, Math.ceil(sizeBytes / MAX_RANGE_BYTES));
        long.move(long.windows);
        long.end();
      });

      // All bytes of each length once, and of each kind once: a second for every 6 GiB.
      if (i !== j) continue;
      it(`${NAMES[j]} of ${kind.name}: every page`, () => {
        const long = new LongMapping(kind, sizeBytes);
        long.move(long.whole);
        long.end();
      });
    }
  }
});

describe('8 GiB + 4 KiB as one range of', () => {
  for (const kind of [...KINDS, ...MORE_KINDS]) {
    it(kind.name, () => {
      const long = new LongMapping(kind, LARGEST, wideLayout);
      assert.deepEqual([long.list.count, long.list.length(0)], [1, LARGEST]);
      assert.deepEqual([long.mapping.ranges.count, long.mapping.ranges.length(0)], [1, LARGEST]);
      long.move(long.windows);
      long.end();
    });
  }

  it('host memory, direct, moved in one transfer', () => {
    const long = new LongMapping(KINDS[0]!, LARGEST, wideLayout);
    long.move(long.whole);
    long.end();
  });
});

it('large pages stay large where a list is cut at its longest range', () => {
  const rig = new BridgesRig(spec({ iommu: true }), 'functional');
  const mapping = rig.map('a', PhyRangeList.of(rig.built.mm.allocate(8 * GiB, 2 * MiB), 8 * GiB));
  assert.equal(mapping.ranges.count, 3);
  // At two cuts a large page is 512 small ones; the last piece is two pages long.
  assert.equal(domainOf(rig, 'a').table.leaves, 4094 + 2 * 512);
  rig.unmap('a', mapping);
  rig.dispose();
});

it('a long list whose bytes start and end inside pages', () => {
  for (const { spec, place } of [...KINDS, ...MORE_KINDS]) {
    const rig = new BridgesRig(spec, 'functional');
    const { address, memory, at } = place(rig, LARGEST + PAGE);
    const list = PhyRangeList.of(offsetBy(address, 512), LARGEST);
    const mapping = rig.map('a', list);
    assert.equal(mapping.ranges.sizeBytes, LARGEST);
    const { local } = rig.memory('a');
    for (const offsetBytes of [0, 4 * GiB - 3000, 8 * GiB - 3000, LARGEST - 5000]) {
      const sent = mark(local, offsetBytes, 5000, offsetBytes / 1000);
      const part = { offsetBytes, sizeBytes: 5000 };
      assert.deepEqual(drive(rig, 'a', true, mapping.ranges, part), [DmaStatus.Ok]);
      assert.deepEqual(bytesAt(memory, at + 512 + offsetBytes, 5000), sent);
    }
    rig.unmap('a', mapping);
    rig.dispose();
  }
});
