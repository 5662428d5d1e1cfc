/**
 * The seven cases that fix how the IOMMU provider joins and pads segments: granule 4 KiB, base I.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import { DmaFlag } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { MappingRecord } from '#emu/dma/mapping-record.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { BUS_OFFSET, IommuDriverRig, PEER, rangesOf } from '#test/support/dma-rig.ts';

type Kind = 'host' | 'bus' | 'bridge' | 'refused';
/** Kind, offset in a page, length. */
type Segment = readonly [kind: Kind, offset: number, length: number];
/** Offset from I, or from the peer's bus address with BUS; length. */
type Expected = readonly [at: number, length: number, bus?: 'BUS'];

const BUS = 'BUS';
const PLACES = { bus: PEER.near, bridge: PEER.far, refused: PEER.banned } as const;
const STRIDE = 2 ** 24;

/** The list, no two segments of which touch. */
function listOf(segments: readonly Segment[]): PhyRangeList {
  const list = new PhyRangeList();
  for (const [i, [kind, offset, length]] of segments.entries()) {
    const base = kind === 'host' ? physAddr(2 ** 36) : PLACES[kind];
    list.appendApart(offsetBy(base, i * STRIDE + offset), length);
  }
  return list;
}

const VECTORS: readonly {
  name: string;
  limits?: Partial<DmaLimits>;
  segments: readonly Segment[];
  iovaBytes: number;
  expected: readonly Expected[];
}[] = [
  {
    name: '1: a list that is contiguous but for its ends is one range',
    segments: [
      ['host', 512, 3584],
      ['host', 0, 8192],
      ['host', 0, 1000],
    ],
    iovaBytes: 16384,
    expected: [[512, 12776]],
  },
  {
    name: '2: a bus address stands between two halves that are adjacent',
    segments: [
      ['host', 0, 4096],
      ['bus', 0, 65536],
      ['host', 0, 4096],
    ],
    iovaBytes: 8192,
    expected: [
      [0, 4096],
      [STRIDE, 65536, BUS],
      [4096, 4096],
    ],
  },
  {
    name: '3: a segment that ends within a granule closes the range',
    segments: [
      ['host', 0, 1000],
      ['host', 0, 4096],
    ],
    iovaBytes: 8192,
    expected: [
      [0, 1000],
      [4096, 4096],
    ],
  },
  {
    name: '4: only bus addresses need no I/O virtual address',
    segments: [
      ['bus', 0, 4096],
      ['bus', 0, 8192],
      ['bus', 512, 100],
    ],
    iovaBytes: 0,
    expected: [
      [0, 4096, BUS],
      [STRIDE, 8192, BUS],
      [2 * STRIDE + 512, 100, BUS],
    ],
  },
  {
    name: '5: peer memory through the host bridge joins host memory',
    segments: [
      ['bridge', 0, 8192],
      ['host', 0, 4096],
    ],
    iovaBytes: 12288,
    expected: [[0, 12288]],
  },
  {
    name: '6: a boundary is not crossed where padding avoids it',
    limits: { boundaryBytes: 0x1_0000 },
    segments: [
      ['host', 0, 40960],
      ['host', 0, 40960],
    ],
    iovaBytes: 106496,
    expected: [
      [0, 40960],
      [65536, 40960],
    ],
  },
  {
    name: 'a boundary that falls between two segments separates them',
    limits: { boundaryBytes: 0x1_0000 },
    segments: [
      ['host', 0, 65536],
      ['host', 0, 4096],
    ],
    iovaBytes: 69632,
    expected: [
      [0, 65536],
      [65536, 4096],
    ],
  },
  {
    name: 'the longest segment separates',
    limits: { maxSegmentBytes: 65536 },
    segments: [
      ['host', 0, 40960],
      ['host', 0, 24576],
      ['host', 0, 4096],
    ],
    iovaBytes: 69632,
    expected: [
      [0, 65536],
      [65536, 4096],
    ],
  },
];

for (const { name, limits, segments, iovaBytes, expected } of VECTORS) {
  test(name, () => {
    const rig = new IommuDriverRig(limits);
    const list = listOf(segments);
    const mapping = rig.map(list, Direction.Bidirectional);
    assert.ok(mapping instanceof MappingRecord);
    assert.equal(mapping.iovaBytes, iovaBytes);
    const first = rangesOf(mapping.ranges).find((range) => range.flags === 0);
    const base = first ? first.address - (expected.find((each) => !each[2])?.[0] ?? 0) : 0;
    assert.deepEqual(
      rangesOf(mapping.ranges),
      expected.map(([at, length, bus]) => ({
        address: bus ? PEER.near + BUS_OFFSET + at : base + at,
        length,
        flags: bus ? DmaFlag.BusAddress : 0,
      })),
    );
    let alignment = 4096;
    while (alignment < iovaBytes) alignment *= 2;
    assert.equal(base % alignment, 0);
    rig.dispose();
  });
}

test('7: one segment that is not supported refuses the list, and nothing is mapped', () => {
  const rig = new IommuDriverRig();
  for (const position of [0, 1, 2]) {
    const segments: Segment[] = [
      ['host', 0, 4096],
      ['bus', 0, 4096],
      ['bridge', 0, 4096],
    ];
    segments.splice(position, 0, ['refused', 0, 4096]);
    const list = listOf(segments);
    const before = rangesOf(list);
    const result = rig.device.map(list, Direction.Bidirectional);
    assert.equal(isRefusal(result) && result.refused, 'EREMOTEIO');
    assert.deepEqual(rangesOf(list), before);
    assert.deepEqual([rig.domain.table.leaves, rig.domain.iovas.usedBytes], [0, 0]);
    assert.equal(rig.device.liveMappings, 0);
  }
  rig.dispose();
});
