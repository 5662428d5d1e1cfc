/**
 * Range lists: packing, joining, splitting, chunks, cursors, slices, aliases, and that the two kinds never mix.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { dmaAddr, physAddr } from '#emu/base/units.ts';
import { DmaFlag, DmaRangeList, dmaCursor } from '#emu/dma/lists/dma-range-list.ts';
import { PhyFlag, PhyRangeList, phyCursor } from '#emu/dma/lists/phy-range-list.ts';
import { MAX_RANGE_BYTES, RANGE_BYTES, RangeChain } from '#emu/dma/lists/range-chain.ts';
import { rangesOf } from '#test/support/dma-rig.ts';

const GIB = 2 ** 30;
const isUsage = (error: unknown): boolean => error instanceof EmuError && error.code === 'USAGE';

/** A list of `count` ranges that do not touch: range i has i + 1 bytes at i * 8 KiB. */
function scattered(count: number): PhyRangeList {
  const list = new PhyRangeList();
  for (let i = 0; i < count; i++) list.append(physAddr(i * 8192), (i % 4096) + 1, i % 2);
  return list;
}

test('a new list is empty', () => {
  const list = new PhyRangeList();
  assert.deepEqual([list.count, list.sizeBytes, [...list]], [0, 0, []]);
  const cursor = phyCursor();
  list.open(cursor);
  assert.equal(cursor.next(), false);
});

test('a range that continues the last one with equal flags makes it longer', () => {
  const list = PhyRangeList.of(physAddr(0x1000), 0x1000)
    .append(physAddr(0x2000), 0x10)
    .append(physAddr(0x2010), 1, PhyFlag.Pinned)
    .append(physAddr(0x2012), 1, PhyFlag.Pinned);
  assert.deepEqual(rangesOf(list), [
    { address: 0x1000, length: 0x1010, flags: 0 },
    { address: 0x2010, length: 1, flags: 1 },
    { address: 0x2012, length: 1, flags: 1 },
  ]);
  assert.equal(list.sizeBytes, 0x1012);
});

test('appendApart keeps a range of its own', () => {
  const list = DmaRangeList.of(dmaAddr(0), 8).appendApart(dmaAddr(8), 8).append(dmaAddr(16), 8);
  assert.deepEqual(rangesOf(list), [
    { address: 0, length: 8, flags: 0 },
    { address: 8, length: 16, flags: 0 },
  ]);
});

test('ranges end at 4 GiB - 4 KiB, on a page', () => {
  for (const [address, size, lengths] of [
    [0, 4 * GIB - 4096, [MAX_RANGE_BYTES]],
    [0, 4 * GIB, [MAX_RANGE_BYTES, 4096]],
    [0, 8 * GIB + 4096, [MAX_RANGE_BYTES, MAX_RANGE_BYTES, 3 * 4096]],
    [512, 4 * GIB, [MAX_RANGE_BYTES - 512, 4608]],
  ] as const) {
    const list = PhyRangeList.of(physAddr(address), size);
    assert.deepEqual(
      rangesOf(list).map((range) => range.length),
      lengths,
    );
    assert.equal(list.sizeBytes, size);
  }
});

test('a terabyte takes 257 ranges', () => {
  assert.equal(PhyRangeList.of(physAddr(0), 2 ** 40).count, 257);
});

test('where a list is cut does not depend on the pieces it was appended in', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 8191 }),
      fc.array(fc.integer({ min: 1, max: 3 * 2 ** 30 }), { minLength: 1, maxLength: 8 }),
      (start, pieces) => {
        const list = new PhyRangeList();
        let at = start;
        for (const piece of pieces) {
          list.append(physAddr(at), piece);
          at += piece;
        }
        const whole = PhyRangeList.of(physAddr(start), at - start);
        assert.deepEqual(rangesOf(list), rangesOf(whole));
      },
    ),
    { numRuns: 100 },
  );
});

test('ranges come back in order, by index and by iteration, over many chunks', () => {
  const list = scattered(3000);
  assert.equal(list.count, 3000);
  const ranges = rangesOf(list);
  for (const i of [0, 2, 3, 4, 33, 34, 35, 288, 289, 290, 2999, 1500, 0]) {
    const expected = { address: i * 8192, length: (i % 4096) + 1, flags: i % 2 };
    assert.deepEqual(ranges[i], expected);
    assert.deepEqual([list.address(i), list.length(i), list.flags(i)], Object.values(expected));
  }
  for (const index of [-1, 3000, 0.5]) assert.throws(() => list.address(index), isUsage);
});

test('storage is 16 bytes a range and a link for each chunk, never one block', () => {
  const chain = new RangeChain();
  for (let i = 0; i < 100_000; i++) chain.appendApart(i * 8192, 1, 0);
  let bytes = 0;
  let chunks = 0;
  for (let chunk = chain.head; chunk !== null; chunk = chunk.next) {
    assert.ok(chunk.words.byteLength <= 4096);
    bytes += chunk.words.byteLength;
    chunks++;
  }
  assert.ok(bytes <= 100_000 * RANGE_BYTES + chunks * RANGE_BYTES + 4096);
});

test('cursor and slice give any part of the bytes', () => {
  const arbitrary = fc
    .array(fc.tuple(fc.nat({ max: 20 }), fc.integer({ min: 1, max: 9000 })), {
      minLength: 1,
      maxLength: 400,
    })
    .chain((ranges) => {
      const size = ranges.reduce((sum, [, length]) => sum + length, 0);
      return fc.tuple(fc.constant(ranges), fc.nat({ max: size }), fc.nat({ max: size }));
    });
  fc.assert(
    fc.property(arbitrary, ([ranges, a, b]) => {
      const list = new PhyRangeList();
      for (const [page, length] of ranges) list.append(physAddr(page * 2 ** 20), length);
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      const slice = list.slice(from, to - from);
      const expected = new PhyRangeList();
      let at = 0;
      for (const { address, length } of list) {
        const start = Math.max(from, at);
        const end = Math.min(to, at + length);
        if (end > start) expected.appendApart(physAddr(address + start - at), end - start);
        at += length;
      }
      assert.deepEqual(rangesOf(slice), rangesOf(expected));
      assert.equal(slice.sizeBytes, to - from);
    }),
    { numRuns: 200 },
  );
});

test('a cursor can be opened again and again, forwards and backwards', () => {
  const list = scattered(1000);
  const cursor = phyCursor();
  const starts = [0];
  for (const { length } of list) starts.push((starts.at(-1) ?? 0) + length);
  for (const i of [999, 0, 500, 501, 3, 998]) {
    list.open(cursor, starts[i] ?? 0, 1);
    assert.equal(cursor.next(), true);
    assert.deepEqual([cursor.address, cursor.length, cursor.flags], [i * 8192, 1, i % 2]);
    assert.equal(cursor.next(), false);
  }
  assert.throws(() => list.open(cursor, 0, list.sizeBytes + 1), isUsage);
  assert.throws(() => list.open(cursor, -1), isUsage);
  assert.throws(() => list.slice(0.5, 1), isUsage);
});

test('ranges that are none are refused', () => {
  const list = new PhyRangeList();
  for (const [address, size, flags] of [
    [0, 0, 0],
    [0, -1, 0],
    [0, 1.5, 0],
    [-1, 1, 0],
    [0.5, 1, 0],
    [2 ** 52 - 1, 2, 0],
    [Number.NaN, 1, 0],
    [0, 1, 2 ** 31],
    [0, 1, -1],
  ] as const) {
    assert.throws(() => list.append(physAddr(address), size, flags), isUsage);
    assert.throws(() => list.appendApart(physAddr(address), size, flags), isUsage);
  }
  assert.equal(list.count, 0);
  assert.equal(list.append(physAddr(2 ** 52 - 1), 1).count, 1);
});

test('an alias shares storage, takes nothing, and keeps its contents when the list grows', () => {
  const list = PhyRangeList.of(physAddr(0x1000), 0x1000);
  const alias = new DmaRangeList(list.share());
  assert.throws(() => alias.append(dmaAddr(0x8000), 1), isUsage);
  list.append(physAddr(0x2000), 0x1000).append(physAddr(0x9000), 1);
  assert.deepEqual(rangesOf(alias), [{ address: 0x1000, length: 0x1000, flags: 0 }]);
  assert.deepEqual([alias.count, alias.sizeBytes], [1, 0x1000]);
  assert.deepEqual(
    rangesOf(list).map((range) => range.length),
    [0x1000, 0x1000, 1],
  );
  const long = scattered(2000);
  const longAlias = new DmaRangeList(long.share());
  for (let i = 0; i < 600; i++) long.appendApart(physAddr(2 ** 40 + i), 1);
  assert.deepEqual(rangesOf(longAlias), rangesOf(scattered(2000)));
  assert.deepEqual(rangesOf(longAlias.slice(longAlias.sizeBytes - 1, 1)).length, 1);
});

test('a list of one kind does not pass for the other, compiled or not', () => {
  const phy = PhyRangeList.of(physAddr(0), 1);
  const dma = DmaRangeList.of(dmaAddr(0), 1, DmaFlag.BusAddress);
  PhyRangeList.check(phy, 'test');
  DmaRangeList.check(dma, 'test');
  for (const wrong of [dma, null, undefined, 7, {}, [], Object.create(null)]) {
    assert.throws(() => PhyRangeList.check(wrong, 'test'), isUsage);
  }
  assert.throws(() => DmaRangeList.check(phy, 'test'), /expected a DmaRangeList, got PhyRangeList/);
  // @ts-expect-error a list of DMA ranges is not one of physical ranges
  const asPhy: PhyRangeList = dma;
  // @ts-expect-error and neither the other way
  const asDma: DmaRangeList = phy;
  // @ts-expect-error addresses do not mix either
  phy.append(dmaAddr(1), 1);
  // @ts-expect-error nor cursors
  phy.open(dmaCursor());
  assert.ok(asPhy && asDma);
});

test('a broken chain is noticed', () => {
  const broken: [name: string, breakIt: (chain: RangeChain) => void][] = [
    ['cut', (chain) => chain.head && Object.assign(chain.head, { next: null })],
    ['circle', (chain) => chain.head?.next && Object.assign(chain.head.next, { next: chain.head })],
    ['overwritten', (chain) => chain.head?.words.fill(7)],
  ];
  for (const [name, breakIt] of broken) {
    const chain = new RangeChain();
    for (let i = 0; i < 100; i++) chain.appendApart(i * 8192, 1, 0);
    breakIt(chain);
    const list = new DmaRangeList(chain);
    const isInvariant = (error: unknown) => error instanceof EmuError && error.code === 'INVARIANT';
    assert.throws(() => [...list], isInvariant, name);
    assert.throws(() => list.address(99), isInvariant, name);
  }
});
