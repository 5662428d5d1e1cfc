/**
 * Range lists through a provider that knows scatterlists only: the same bytes as natively, the same refusals, and
 * what a scatterlist cannot name refused with nothing left behind.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { type DmaAddr, dmaAddr, offsetBy, physAddr } from '#emu/base/units.ts';
import { DmaDevice } from '#emu/dma/dma-device.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { ScatterList } from '#emu/dma/lists/scatter-list.ts';
import { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import { Direction, isRefusal, type MapRefusal } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { LegacyDomain, LegacyProvider } from '#emu/dma/providers/legacy-provider.ts';
import { ListWrapper } from '#emu/dma/providers/list-wrapper.ts';
import type { ScatterlistDomain } from '#emu/dma/providers/scatterlist-domain.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import {
  BAR_SIZE,
  CLIENT,
  exceptBanned,
  FakeView,
  IommuDriverRig,
  PEER,
  rangesOf,
  threePorts,
} from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const { ToDevice, FromDevice, Bidirectional } = Direction;
const hasCode = (code: string) => (error: unknown) =>
  error instanceof EmuError && error.code === code;

/** Two providers of the same addresses, one of them behind the wrapper. */
interface Pair {
  readonly native: DmaDevice;
  readonly wrapped: DmaDevice;
  readonly run: () => void;
  readonly dispose: () => void;
}

function directPair(): Pair {
  const kernel = new Kernel();
  const view = new FakeView(threePorts());
  const options = { kernel, view, hostBridgeAllowed: exceptBanned };
  const addresses = new DirectProvider(options);
  const legacy = new LegacyProvider({ ...options, addresses, hasPages: () => true });
  kernel.spawn('start', legacy.start());
  const wrapped = legacy.device(CLIENT);
  return { native: addresses.device(CLIENT), wrapped, run: () => kernel.run(), dispose: () => {} };
}

function iommuPair(limits: { boundaryBytes?: number; maxSegmentBytes?: number } = {}): Pair {
  const [one, two] = [new IommuDriverRig(limits), new IommuDriverRig(limits)];
  const { kernel } = two.host;
  const pending = (): Pending<void> => kernel.pending('unmap');
  const segments = new SegmentCursor(two.view, CLIENT, exceptBanned);
  const below = new LegacyDomain(two.domain, pending);
  const wrapper = new ListWrapper({ below, segments, pending, hasPages: () => true });
  return {
    native: one.device,
    wrapped: new DmaDevice(kernel, CLIENT, wrapper),
    run: () => {
      one.host.kernel.run();
      kernel.run();
    },
    dispose: () => {
      one.dispose();
      two.dispose();
    },
  };
}

const PLACES = [HOST, PEER.near, PEER.far, PEER.banned, PEER.nobody] as const;
const pieces = fc.array(
  fc.record({
    place: fc.oneof(
      { weight: 60, arbitrary: fc.constant(0) },
      { weight: 30, arbitrary: fc.integer({ min: 1, max: 2 }) },
      { weight: 1, arbitrary: fc.integer({ min: 3, max: 4 }) },
    ),
    page: fc.nat({ max: 40 }),
    offset: fc.oneof(fc.constant(0), fc.nat({ max: 4095 })),
    size: fc.oneof(fc.constant(4096), fc.integer({ min: 1, max: 20_000 }), fc.constant(2 ** 33)),
  }),
  { minLength: 1, maxLength: 300 },
);
type Pieces = typeof pieces extends fc.Arbitrary<infer T> ? T : never;

function listOf(parts: Pieces): PhyRangeList {
  const list = new PhyRangeList();
  for (const { place, page, offset, size } of parts) {
    list.appendApart(offsetBy(PLACES[place] ?? HOST, page * 4096 + offset), size);
  }
  return list;
}

/** Maps on both sides, compares, unmaps, and looks for what is left. */
function compare(pair: Pair, list: PhyRangeList, direction: Direction): void {
  const { native, wrapped } = pair;
  const before = [...list];
  const [expected, got] = [native.map(list, direction), wrapped.map(list, direction)];
  if (isRefusal(expected) || isRefusal(got)) {
    assert.deepEqual(got, expected);
  } else {
    assert.deepEqual(rangesOf(got.ranges), rangesOf(expected.ranges));
    assert.deepEqual([got.mapType, got.direction], [expected.mapType, expected.direction]);
    assert.equal(got.source, list);
    native.unmap(expected).onDone(() => {});
    wrapped.unmap(got).onDone(() => {});
    pair.run();
  }
  assert.deepEqual([...list], before);
  assert.deepEqual([wrapped.liveMappings, list.mappings], [0, 0]);
}

const directions = fc.constantFrom(ToDevice, FromDevice, Bidirectional);

test('any list through the wrapper equals the native call, without translation', () => {
  const pair = directPair();
  fc.assert(
    fc.property(pieces, directions, (parts, direction) => compare(pair, listOf(parts), direction)),
    { numRuns: 150 },
  );
});

test('any list through the wrapper equals the native call, behind an IOMMU', () => {
  const limits = fc.record({
    boundaryBytes: fc.constantFrom(2 ** 16, 2 ** 32),
    maxSegmentBytes: fc.constantFrom(65_536, 0xffff_f000),
  });
  fc.assert(
    fc.property(
      fc.array(pieces, { maxLength: 3 }),
      directions,
      limits,
      (lists, direction, limit) => {
        const pair = iommuPair(limit);
        for (const parts of lists) compare(pair, listOf(small(parts)), direction);
        pair.dispose();
      },
    ),
    { numRuns: 30 },
  );
});

/** Without the pieces that would need gigabytes of page tables. */
const small = (parts: Pieces): Pieces =>
  parts.map((part) => ({ ...part, size: Math.min(part.size, 20_000) }));

test('a range over several BARs takes an entry for each', () => {
  const pair = directPair();
  compare(pair, PhyRangeList.of(offsetBy(PEER.far, -4096), 8192), ToDevice);
  compare(pair, PhyRangeList.of(offsetBy(PEER.near, BAR_SIZE - 1), 2), ToDevice);
});

/** A provider with scatterlists only that notes what it gets, and does what it is told. */
class NotingDomain implements ScatterlistDomain {
  readonly seen: ScatterList[] = [];
  readonly unmapped: ScatterList[] = [];
  answer: MapRefusal | null = null;
  /** Bytes by which each entry for the device is shorter than its memory. */
  shortBy = 0;

  mapScatterlist(scatter: ScatterList): MapRefusal | null {
    this.seen.push(scatter);
    if (this.answer !== null) return this.answer;
    const entries = scatter.cursor();
    while (entries.next()) entries.setDma(dmaAddr(entries.address), entries.length - this.shortBy);
    scatter.mappedCount = scatter.count;
    return null;
  }

  unmapScatterlist(scatter: ScatterList, _direction: Direction, done: Pending<void>): void {
    this.unmapped.push(scatter);
    scatter.mappedCount = 0;
    done.complete();
  }

  mapDoorbell(): DmaAddr {
    return dmaAddr(77);
  }
}

function noting(): { below: NotingDomain; device: DmaDevice; kernel: Kernel } {
  const kernel = new Kernel();
  const below = new NotingDomain();
  const segments = new SegmentCursor(new FakeView(threePorts()), CLIENT, exceptBanned);
  const wrapper = new ListWrapper({ below, segments, pending: () => kernel.pending('unmap') });
  return { below, device: new DmaDevice(kernel, CLIENT, wrapper), kernel };
}

test('the scatterlist has exactly as many entries as the list needs, and goes with the mapping', () => {
  for (const count of [1, 127, 128, 129, 1000]) {
    const { below, device } = noting();
    const list = new PhyRangeList();
    for (let i = 0; i < count; i++) list.append(offsetBy(HOST, i * 8192), 4096);
    const mapping = device.map(list, ToDevice);
    assert.ok(!isRefusal(mapping));
    const [scatter] = below.seen;
    assert.deepEqual([below.seen.length, scatter?.count], [1, count]);
    assert.ok(device.unmap(mapping).done);
    assert.deepEqual(below.unmapped, [scatter]);
    assert.equal(device.mapDoorbell(physAddr(1)), 77);
  }
});

test('peer memory without pages is refused before anything is mapped', () => {
  const { below, device } = noting();
  for (const [at, refused] of [
    [PEER.near, 'EREMOTEIO'],
    [PEER.far, 'EREMOTEIO'],
    [PEER.banned, 'EREMOTEIO'],
    [PEER.nobody, 'EINVAL'],
  ] as const) {
    const list = PhyRangeList.of(HOST, 4096).append(at, 4096);
    const result = device.map(list, ToDevice);
    assert.ok(isRefusal(result));
    assert.equal(result.refused, refused);
    assert.deepEqual([below.seen.length, device.liveMappings, list.mappings], [0, 0, 0]);
  }
});

test('a refusal from below comes through, and nothing is mapped', () => {
  const { below, device } = noting();
  below.answer = { refused: 'ENOMEM', reason: 'full' };
  const list = PhyRangeList.of(HOST, 4096);
  assert.deepEqual(device.map(list, ToDevice), below.answer);
  assert.deepEqual([below.unmapped.length, device.liveMappings, list.mappings], [0, 0, 0]);
});

test('a provider that maps less than the list is found out, and what it did is undone', () => {
  const { below, device, kernel } = noting();
  below.shortBy = 1;
  const list = PhyRangeList.of(HOST, 4096).append(offsetBy(HOST, 8192), 10);
  assert.throws(() => device.map(list, ToDevice), hasCode('INVARIANT'));
  assert.deepEqual(below.unmapped, below.seen);
  assert.equal(below.seen[0]?.mappedCount, 0);
  assert.deepEqual([device.liveMappings, list.mappings, kernel.outstanding()], [0, 0, []]);
});
