/**
 * Hardware limits on a walk: every byte once and in order, no segment beyond a limit, and never more of them than
 * an exhaustive search needs; runs over the 4 GiB edges.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dmaAddr, physAddr } from '#emu/base/units.ts';
import { DmaFlag, DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { LimitedCursor } from '#emu/dma/lists/limited-cursor.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { RangeLayouts } from '#emu/dma/lists/range-layouts.ts';
import { RunCursor } from '#emu/dma/lists/run-cursor.ts';
import { isPowerOfTwo, type SegmentLimits, segmentLimits } from '#emu/dma/lists/segment-limits.ts';
import { rangesOf } from '#test/support/dma-rig.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const GIB = 2 ** 30;
const ZERO = dmaAddr(0);

function segmentsOf(list: DmaRangeList, limits: Partial<SegmentLimits>) {
  const cursor = new LimitedCursor(ZERO, limits);
  const segments: { address: number; length: number; flags: number }[] = [];
  for (cursor.open(list); cursor.next(); ) {
    segments.push({ address: cursor.address, length: cursor.length, flags: cursor.flags });
  }
  return segments;
}

/** Fewest segments of a run, by trying every cut: small runs only. */
function fewest(address: number, length: number, limits: SegmentLimits): number {
  const step = limits.minAlignBytes;
  const best = [0];
  for (let end = step; end <= length; end += step) {
    let least = Number.POSITIVE_INFINITY;
    for (let start = end - step; start >= 0; start -= step) {
      const [first, last] = [address + start, address + end - 1];
      const size = limits.boundaryMask + 1;
      if (end - start > limits.maxSegmentBytes) break;
      if (Math.floor(first / size) !== Math.floor(last / size)) break;
      least = Math.min(least, 1 + (best[start / step] ?? Number.NaN));
    }
    best[end / step] = least;
  }
  return best.at(-1) ?? 0;
}

/** Limits in a unit of bytes, so that the exhaustive search stays short. */
const limitsOf = (unit: number): fc.Arbitrary<SegmentLimits> =>
  fc
    .record({
      maxSegmentBytes: fc.integer({ min: unit, max: 12 * unit }),
      boundaryMask: fc.constantFrom(1, 2, 4, 8).map((units) => units * unit - 1),
      minAlignBytes: fc.constantFrom(1, 2).map((half) => (unit * half) / 2),
    })
    .filter((limits) => limits.boundaryMask + 1 >= limits.minAlignBytes);

test('segments cover the list once and in order, keep the limits, and are the fewest', () => {
  const arbitrary = fc.constantFrom(2, 512, 4096).chain((unit) => {
    const range = fc.record({
      gap: fc.constantFrom(0, 0, unit, 3 * unit),
      units: fc.integer({ min: 1, max: 30 }),
      flags: fc.constantFrom(0, 0, DmaFlag.BusAddress),
    });
    const bases = [0, 4 * GIB - 16 * unit, 2 ** 45 - 8 * unit, 7 * unit];
    return fc.record({
      limits: limitsOf(unit),
      unit: fc.constant(unit),
      base: fc.constantFrom(...bases),
      ranges: fc.array(range, { minLength: 1, maxLength: 12 }),
    });
  });
  fc.assert(
    fc.property(arbitrary, ({ limits, unit, base, ranges }) => {
      for (const layout of Object.values(RangeLayouts)) {
        const list = new DmaRangeList(layout);
        let at = base;
        for (const { gap, units, flags } of ranges) {
          at += gap;
          list.appendApart(dmaAddr(at), units * unit, flags);
          at += units * unit;
        }
        const segments = segmentsOf(list, limits);
        const back = new DmaRangeList();
        let expected = 0;
        for (const { address, length, flags } of segments) {
          assert.ok(length > 0 && length <= limits.maxSegmentBytes);
          assert.equal(address % limits.minAlignBytes, 0);
          assert.equal(length % limits.minAlignBytes, 0);
          const size = limits.boundaryMask + 1;
          assert.equal(Math.floor(address / size), Math.floor((address + length - 1) / size));
          back.append(dmaAddr(address), length, flags);
        }
        for (const { address, length } of list.coalesced()) {
          expected += fewest(address, length, limits);
        }
        assert.deepEqual(rangesOf(back), rangesOf(list.coalesced(back.layout)));
        assert.equal(segments.length, expected);
        assert.equal(new LimitedCursor(ZERO, limits).count(list), expected);
      }
    }),
    { numRuns: 150 },
  );
});

test('a part of a list is limited as a whole is', () => {
  const list = DmaRangeList.of(dmaAddr(0x1000), 0x4000).append(dmaAddr(0x9000), 0x800);
  const cursor = new LimitedCursor(ZERO, { maxSegmentBytes: 0x1000 });
  cursor.open(list, 0x3800, 0xc00);
  const found = [];
  while (cursor.next()) found.push([cursor.address, cursor.length]);
  assert.deepEqual(found, [
    [0x4800, 0x800],
    [0x9000, 0x400],
  ]);
  assert.throws(() => cursor.open(list, 0, 0x4801), /expected a part/);
});

test('what was cut at 4 GiB - 4 KiB is one run again', () => {
  for (const size of [4 * GIB - 4096, 4 * GIB, 8 * GIB + 4096]) {
    for (const start of [0, 512, 4 * GIB - 4096, 4 * GIB]) {
      const list = PhyRangeList.of(physAddr(start), size);
      const runs = new RunCursor(physAddr(0));
      runs.open(list);
      assert.ok(runs.next());
      assert.deepEqual([runs.address, runs.length, runs.flags], [start, size, 0]);
      assert.equal(runs.next(), false);
      const limited = new LimitedCursor(physAddr(0), {});
      assert.equal(limited.count(list), 1);
    }
  }
});

test('the 4 GiB edges: boundary and segment size, beside and across', () => {
  const mask = 4 * GIB - 1;
  const lengths = (start: number, size: number, limits: Partial<SegmentLimits>): number[] =>
    segmentsOf(DmaRangeList.of(dmaAddr(start), size), limits).map(({ length }) => length);
  assert.deepEqual(lengths(0, 4 * GIB, { boundaryMask: mask }), [4 * GIB]);
  assert.deepEqual(lengths(4096, 4 * GIB, { boundaryMask: mask }), [4 * GIB - 4096, 4096]);
  assert.deepEqual(lengths(4 * GIB - 1, 2, { boundaryMask: mask }), [1, 1]);
  assert.deepEqual(lengths(0, 8 * GIB + 4096, { boundaryMask: mask }), [4 * GIB, 4 * GIB, 4096]);
  assert.deepEqual(lengths(0, 4 * GIB, { maxSegmentBytes: 0xffff_f000 }), [4 * GIB - 4096, 4096]);
  // A limit of all ones makes odd pieces, unless an alignment says what is wanted.
  assert.deepEqual(lengths(0, 4 * GIB, { maxSegmentBytes: 2 ** 32 - 1 }), [2 ** 32 - 1, 1]);
  assert.deepEqual(lengths(0, 4 * GIB, { maxSegmentBytes: 2 ** 32 - 1, minAlignBytes: 4096 }), [
    4 * GIB - 4096,
    4096,
  ]);
  assert.deepEqual(lengths(2 ** 40 - 4096, 8192, { boundaryMask: 2 ** 40 - 1 }), [4096, 4096]);
});

test('a list that cannot be aligned is refused before, and an error on the way', () => {
  const limits = { minAlignBytes: 4 };
  const fine = DmaRangeList.of(dmaAddr(4), 8);
  const cursor = new LimitedCursor(ZERO, limits);
  assert.equal(cursor.refusal(fine), null);
  for (const [address, size] of [
    [6, 8],
    [4, 6],
    [2 ** 40 + 1, 4],
  ] as const) {
    const list = DmaRangeList.of(dmaAddr(0), 4).append(dmaAddr(address), size);
    assert.equal(cursor.refusal(list)?.refused, 'EINVAL');
    assert.match(cursor.refusal(list)?.reason ?? '', /expected multiples of 4/);
    throwsCode('USAGE', /expected multiples of 4/, () => segmentsOf(list, limits));
  }
  // Two ranges that are odd alone but continue each other are one aligned run.
  const joined = DmaRangeList.of(dmaAddr(4), 2).appendApart(dmaAddr(6), 2);
  assert.equal(cursor.refusal(joined), null);
  assert.deepEqual(segmentsOf(joined, limits), [{ address: 4, length: 4, flags: 0 }]);
});

test('limits that nothing can keep are refused', () => {
  for (const [limits, message] of [
    [{ minAlignBytes: 3 }, /minAlignBytes/],
    [{ minAlignBytes: 0 }, /minAlignBytes/],
    [{ minAlignBytes: 2 ** 32 }, /minAlignBytes/],
    [{ boundaryMask: 4096 }, /boundaryMask/],
    [{ boundaryMask: -1 }, /boundaryMask/],
    [{ boundaryMask: 2 ** 53 - 1 }, /boundaryMask/],
    [{ boundaryMask: 511, minAlignBytes: 4096 }, /boundaryMask/],
    [{ maxSegmentBytes: 0 }, /maxSegmentBytes/],
    [{ maxSegmentBytes: 1.5 }, /maxSegmentBytes/],
    [{ maxSegmentBytes: 4095, minAlignBytes: 4096 }, /maxSegmentBytes/],
    [{ maxSegmentBytes: 2 ** 53 }, /maxSegmentBytes/],
  ] as const) {
    throwsCode('USAGE', message, () => new LimitedCursor(ZERO, limits));
  }
  assert.deepEqual(segmentLimits({ boundaryMask: 0 }).boundaryMask, 0);
});

test('powers of two are told over 52 bits', () => {
  for (let bit = 0; bit <= 52; bit++) {
    assert.ok(isPowerOfTwo(2 ** bit), `2^${bit}`);
    if (bit > 1) assert.ok(!isPowerOfTwo(2 ** bit - 1) && !isPowerOfTwo(2 ** bit + 1));
  }
  for (const n of [0, -1, -4, 0.5, Number.NaN, 2 ** 53, 2 ** 40 + 2 ** 33, 2 ** 31 + 1]) {
    assert.ok(!isPowerOfTwo(n), String(n));
  }
});

test('a cursor for lists of one kind takes none of the other when compiled', () => {
  const phy = PhyRangeList.of(physAddr(0), 4096);
  const limited = new LimitedCursor(ZERO, {});
  const runs = new RunCursor(ZERO);
  // @ts-expect-error physical ranges are nothing for a device
  limited.open(phy);
  // @ts-expect-error nor are their runs
  runs.open(phy);
  assert.ok(limited.next() && runs.next());
});
