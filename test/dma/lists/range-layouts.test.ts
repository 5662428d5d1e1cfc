/**
 * All ways to store ranges carry the same ones: appended, joined, indexed, walked, sliced, shared; and each takes
 * the bytes it should.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dmaAddr, physAddr } from '#emu/base/units.ts';
import { DmaFlag, DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { PhyFlag, PhyRangeList, phyCursor } from '#emu/dma/lists/phy-range-list.ts';
import { PROVIDER_INDEX, type RangeLayout } from '#emu/dma/lists/range-layout.ts';
import { RangeLayouts } from '#emu/dma/lists/range-layouts.ts';
import { RunCursor } from '#emu/dma/lists/run-cursor.ts';
import { rangesOf } from '#test/support/dma-rig.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const GIB = 2 ** 30;
const layouts = Object.values(RangeLayouts);

type Piece = readonly [address: number, length: number, flags: number, isApart: boolean];

/** Pieces of every size class, many of which continue the one before. */
const pieces: fc.Arbitrary<Piece[]> = fc
  .array(
    fc.record({
      follows: fc.boolean(),
      address: fc.oneof(
        fc.nat({ max: 2 ** 20 }).map((page) => page * 4096),
        fc.nat({ max: 2 ** 31 - 1 }),
        fc.integer({ min: 2 ** 44 - 4096, max: 2 ** 44 + 4096 }),
        fc.integer({ min: 0, max: 2 ** 51 }),
      ),
      length: fc.oneof(
        fc.constantFrom(1, 4096, 2 ** 21, 2 ** 28 - 1, 2 ** 28, 2 ** 36 - 1, 2 ** 36),
        fc.constantFrom(4 * GIB - 4096, 4 * GIB, 8 * GIB + 4096),
        fc.integer({ min: 1, max: 2 ** 20 }),
      ),
      flags: fc.oneof(
        fc.constantFrom(0, PhyFlag.Pinned, DmaFlag.BusAddress, 3),
        fc.nat({ max: 127 }).map((provider) => PROVIDER_INDEX.of(provider)),
        fc.nat({ max: 2 ** 11 - 1 }),
      ),
      isApart: fc.boolean(),
    }),
    { minLength: 1, maxLength: 120 },
  )
  .map((records) => {
    let end = 0;
    return records.map(({ follows, address, length, flags, isApart }): Piece => {
      const at = follows ? end : address;
      end = at + length;
      return [at, length, flags, isApart];
    });
  });

function listOf(layout: RangeLayout, all: readonly Piece[]): PhyRangeList {
  const list = new PhyRangeList(layout);
  for (const [address, length, flags, isApart] of all) {
    if (isApart) list.appendApart(physAddr(address), length, flags);
    else list.append(physAddr(address), length, flags);
  }
  return list;
}

/** What a list says when nothing is cut. */
function runsOf(list: PhyRangeList) {
  const runs = new RunCursor(physAddr(0));
  const found = [];
  for (runs.open(list); runs.next(); ) {
    found.push({ address: runs.address, length: runs.length, flags: runs.flags });
  }
  return found;
}

/** The ranges that a list must have: appended ones joined, none longer than the layout can say. */
function expectedRanges(layout: RangeLayout, all: readonly Piece[]) {
  const ranges: { address: number; length: number; flags: number }[] = [];
  for (const [address, length, flags, isApart] of all) {
    let at = address;
    const end = address + length;
    const last = ranges.at(-1);
    if (!isApart && last && last.address + last.length === at && last.flags === flags) {
      const taken = Math.min(length, layout.longest(last.address) - last.length);
      last.length += taken;
      at += taken;
    }
    for (; at < end; at += ranges.at(-1)?.length ?? 0) {
      ranges.push({ address: at, length: Math.min(end - at, layout.longest(at)), flags });
    }
  }
  return ranges;
}

for (const layout of layouts) {
  test(`${layout.name}: appended, walked and indexed ranges are a plain array's`, () => {
    fc.assert(
      fc.property(pieces, (all) => {
        const list = listOf(layout, all);
        const expected = expectedRanges(layout, all);
        assert.deepEqual(rangesOf(list), expected);
        assert.equal(list.count, expected.length);
        assert.equal(
          list.sizeBytes,
          all.reduce((sum, [, length]) => sum + length, 0),
        );
        list.verify();
        for (const i of [expected.length - 1, 0, expected.length >> 1]) {
          const range = { address: list.address(i), length: list.length(i), flags: list.flags(i) };
          assert.deepEqual(range, expected[i]);
        }
      }),
      { numRuns: 150 },
    );
  });

  test(`${layout.name}: a slice has the same bytes as the list there, and the layout`, () => {
    const arbitrary = fc.tuple(pieces, fc.nat({ max: 1000 }), fc.nat({ max: 1000 }));
    fc.assert(
      fc.property(arbitrary, ([all, a, b]) => {
        const list = listOf(layout, all);
        const [from, to] = [Math.min(a, b), Math.max(a, b)].map((part) =>
          Math.floor((list.sizeBytes / 1000) * part),
        );
        const slice = list.slice(from ?? 0, (to ?? 0) - (from ?? 0));
        assert.equal(slice.layout, layout);
        assert.equal(slice.sizeBytes, (to ?? 0) - (from ?? 0));
        slice.verify();
        const part = listOf(RangeLayouts.packed, all).slice(from ?? 0, (to ?? 0) - (from ?? 0));
        assert.deepEqual(runsOf(slice), runsOf(part));
      }),
      { numRuns: 100 },
    );
  });

  test(`${layout.name}: an alias keeps its ranges while the list grows`, () => {
    fc.assert(
      fc.property(pieces, pieces, (first, second) => {
        const list = listOf(layout, first);
        const alias = new DmaRangeList(list.share());
        const before = rangesOf(list);
        for (const [address, length, flags] of second) {
          list.append(physAddr(address), length, flags);
        }
        assert.deepEqual(rangesOf(alias), before);
        assert.deepEqual([alias.metadataBytes, alias.storageBytes], [0, 0]);
        throwsCode('USAGE', /takes no more/, () => alias.append(dmaAddr(0), 1));
        alias.verify();
        list.verify();
      }),
      { numRuns: 60 },
    );
  });

  test(`${layout.name}: thousands of ranges go over many chunks`, () => {
    const all = Array.from(
      { length: 3000 },
      (_, i): Piece => [i * 2 ** 22 + (i % 3 ? 0 : 512), (i % 7) + 1, i % 4, true],
    );
    const list = listOf(layout, all);
    assert.deepEqual(rangesOf(list), expectedRanges(layout, all));
    const cursor = phyCursor();
    for (const offset of [list.sizeBytes - 1, 0, 5000, 4999]) {
      list.open(cursor, offset, 1);
      assert.ok(cursor.next() && !cursor.next());
    }
    for (const index of [2999, 0, 1500, 62, 63, 64])
      assert.equal(list.address(index), all[index]?.[0]);
  });

  test(`${layout.name}: flags beyond what it stores are refused`, () => {
    const list = new PhyRangeList(layout);
    list.append(physAddr(0), 1, layout.flagsLimit - 1);
    throwsCode('USAGE', /range flags/, () => list.append(physAddr(0), 1, layout.flagsLimit));
    assert.equal(list.flags(0), layout.flagsLimit - 1);
  });
}

test('all layouts carry the same runs, and coalescing finds them in any', () => {
  fc.assert(
    fc.property(pieces, (all) => {
      const expected = runsOf(listOf(RangeLayouts.compact, all));
      for (const layout of layouts) {
        const list = listOf(layout, all);
        assert.deepEqual(runsOf(list), expected);
        // No run is longer than 64 bits of length can say.
        assert.deepEqual(rangesOf(list.coalesced(RangeLayouts.compact)), expected);
        assert.deepEqual(runsOf(list.coalesced()), expected);
      }
    }),
    { numRuns: 60 },
  );
});

test('a list of 64-bit lengths is never cut, one of 32 bits on pages', () => {
  for (const size of [4 * GIB - 4096, 4 * GIB, 8 * GIB + 4096, 2 ** 50]) {
    for (const start of [0, 512, 4095]) {
      for (const layout of layouts) {
        const list = new PhyRangeList(layout).append(physAddr(start), size);
        const cuts = rangesOf(list).slice(1);
        assert.ok(
          cuts.every(({ address }) => address % 4096 === 0),
          layout.name,
        );
        assert.equal(list.count, layout === RangeLayouts.packed ? list.count : 1);
        assert.deepEqual(runsOf(list), [{ address: start, length: size, flags: 0 }]);
      }
    }
  }
});

test('the whole address space fits', () => {
  for (const layout of [RangeLayouts.wide, RangeLayouts.compact]) {
    const list = new PhyRangeList(layout).append(physAddr(0), 2 ** 52);
    assert.deepEqual(runsOf(list), [{ address: 0, length: 2 ** 52, flags: 0 }]);
  }
});

test('a compact entry is as short as its values allow', () => {
  const bytes = (address: number, length: number, flags: number): number =>
    new PhyRangeList(RangeLayouts.compact).append(physAddr(address), length, flags).metadataBytes;
  const provider = PROVIDER_INDEX.of(0xff_ffff);
  for (const [address, length, flags, expected] of [
    [0, 1, 0, 8],
    [2 ** 44 - 4096, 2 ** 28 - 1, 3, 8],
    [2 ** 44, 1, 0, 16],
    [512, 1, 0, 16],
    [0, 2 ** 28, 0, 16],
    [0, 1, PROVIDER_INDEX.of(1), 16],
    [2 ** 51 + 1, 2 ** 36 - 1, provider | 3, 16],
    [0, 2 ** 36, 0, 24],
    [0, 1, 4, 24],
    [0, 1, 2 ** 28, 24],
    [2 ** 51 + 1, 2 ** 50, 2 ** 31 - 1, 24],
  ] as const) {
    assert.equal(bytes(address, length, flags), expected, `${address} ${length} ${flags}`);
  }
});

test('a compact entry that grows out of its chunk moves to the next', () => {
  for (let before = 55; before < 66; before++) {
    const list = new PhyRangeList(RangeLayouts.compact);
    for (let i = 0; i < before; i++) list.append(physAddr(i * 2 ** 24), 4096);
    const at = 2 ** 40;
    for (let size = 0; size < 2 ** 37; size += 2 ** 27) list.append(physAddr(at + size), 2 ** 27);
    assert.equal(list.count, before + 1);
    assert.deepEqual([list.address(before), list.length(before)], [at, 2 ** 37]);
    assert.equal(list.metadataBytes, before * 8 + 24);
    assert.equal(list.storageBytes % 512, 0);
    list.append(physAddr(0), 1);
    assert.equal(rangesOf(list).length, before + 2);
    list.verify();
  }
});

test('lists of any layout still do not pass for the other kind', () => {
  for (const layout of layouts) {
    const phy = new PhyRangeList(layout).append(physAddr(0), 1);
    const dma = new DmaRangeList(layout).append(dmaAddr(0), 1);
    throwsCode('USAGE', /expected a PhyRangeList, got DmaRangeList/, () =>
      PhyRangeList.check(dma, 'test'),
    );
    throwsCode('USAGE', /expected a DmaRangeList, got PhyRangeList/, () =>
      DmaRangeList.check(phy, 'test'),
    );
  }
});
