/**
 * Equal-block lists: the best size against all sizes tried, the blocks that result, the slack at both ends.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dmaAddr } from '#emu/base/units.ts';
import { BlockCursor, type BlockPlan, bestBlock } from '#emu/dma/lists/block-list.ts';
import { DmaFlag, DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const ZERO = dmaAddr(0);
const [KIB, MIB, GIB] = [2 ** 10, 2 ** 20, 2 ** 30];
const SIZES = [4 * KIB, 64 * KIB, 2 * MIB, GIB];

function blocksOf(list: DmaRangeList, plan: BlockPlan): number[] {
  const cursor = new BlockCursor(ZERO);
  const blocks: number[] = [];
  for (cursor.open(list, plan); cursor.next(); ) blocks.push(cursor.address);
  return blocks;
}

/** Blocks of `size` that cover a list, or 0 when one of its seams is inside a block. */
function blockCount(list: DmaRangeList, size: number): number {
  const runs = [...list.coalesced()];
  const seams = runs.flatMap(({ address, length }) => [address, address + length]).slice(1, -1);
  if (seams.some((seam) => seam % size !== 0)) return 0;
  return runs.reduce((count, { address, length }) => {
    return count + Math.ceil((address + length) / size) - Math.floor(address / size);
  }, 0);
}

const list = (...ranges: readonly (readonly [number, number])[]): DmaRangeList => {
  const made = new DmaRangeList();
  for (const [address, length] of ranges) made.append(dmaAddr(address), length);
  return made;
};

test('the largest size that every seam allows, with slack at both ends only', () => {
  const twoMib = list([4 * MIB + 512, 2 * MIB - 512], [16 * MIB, 2 * MIB], [32 * MIB, 100]);
  assert.deepEqual(bestBlock(ZERO, twoMib, SIZES), {
    blockBytes: 2 * MIB,
    count: 3,
    firstOffset: 512,
  });
  const odd = list([0, 4 * KIB], [12 * KIB, 4 * KIB]);
  assert.equal(bestBlock(ZERO, odd, SIZES)?.blockBytes, 4 * KIB);
  assert.equal(bestBlock(ZERO, list([0, 100], [4 * KIB, 4 * KIB]), SIZES), null);
  assert.equal(bestBlock(ZERO, list([0, 4 * KIB], [9 * KIB, 1]), SIZES), null);
});

test('a block is no larger than the fewest blocks need', () => {
  assert.deepEqual(bestBlock(ZERO, list([GIB + 8 * KIB, 4 * KIB]), SIZES), {
    blockBytes: 4 * KIB,
    count: 1,
    firstOffset: 0,
  });
  // 8 KiB over an edge of the largest size take two blocks of any.
  assert.deepEqual(bestBlock(ZERO, list([GIB - 4 * KIB, 8 * KIB]), SIZES), {
    blockBytes: 4 * KIB,
    count: 2,
    firstOffset: 0,
  });
});

test('the address that the device uses must agree below the block size', () => {
  const contiguous = list([6 * MIB, 2 * GIB]);
  assert.equal(bestBlock(ZERO, contiguous, SIZES)?.blockBytes, GIB);
  assert.equal(bestBlock(ZERO, contiguous, SIZES, 6 * MIB + 5 * GIB)?.blockBytes, GIB);
  assert.equal(bestBlock(ZERO, contiguous, SIZES, 2 * MIB)?.blockBytes, 2 * MIB);
  assert.equal(bestBlock(ZERO, contiguous, SIZES, 64 * KIB)?.blockBytes, 64 * KIB);
  assert.equal(bestBlock(ZERO, contiguous, SIZES, 100), null);
});

test('memory cut at 4 GiB - 4 KiB still takes large blocks', () => {
  const long = list([2 * GIB, 8 * GIB]);
  assert.equal(long.count, 3);
  assert.deepEqual(bestBlock(ZERO, long, SIZES), { blockBytes: GIB, count: 8, firstOffset: 0 });
});

test('blocks cover the list, and no other size that fits takes fewer', () => {
  const arbitrary = fc.array(
    fc.record({
      gap: fc.nat({ max: 6 }),
      pages: fc.integer({ min: 1, max: 24 }),
      trim: fc.constantFrom(0, 0, 0, 100),
      flags: fc.constantFrom(0, DmaFlag.BusAddress),
    }),
    { minLength: 1, maxLength: 6 },
  );
  fc.assert(
    fc.property(arbitrary, fc.nat({ max: 4095 }), (ranges, slack) => {
      const made = new DmaRangeList();
      let at = 64 * KIB + slack;
      for (const { gap, pages, trim, flags } of ranges) {
        made.append(dmaAddr(at), Math.max(1, pages * 4096 - trim - (at % 4096)), flags);
        at = Math.ceil((at + pages * 4096) / 4096 + gap) * 4096;
      }
      const sizes = [4096, 8192, 16_384, 32_768, 65_536];
      const plan = bestBlock(ZERO, made, sizes);
      const candidates = sizes
        .map((size) => ({ size, count: blockCount(made, size) }))
        .filter(({ count }) => count > 0);
      if (candidates.length === 0) return assert.equal(plan, null);
      assert.ok(plan);
      const fewest = Math.min(...candidates.map(({ count }) => count));
      assert.equal(plan.count, fewest);
      assert.equal(plan.blockBytes, candidates.find(({ count }) => count === fewest)?.size);
      const blocks = blocksOf(made, plan);
      assert.equal(blocks.length, plan.count);
      assert.equal((blocks[0] ?? 0) + plan.firstOffset, made.address(0));
      assert.ok(blocks.every((block) => block % plan.blockBytes === 0));
      let last = 0;
      for (const { address, length } of made) {
        for (const byte of [address, address + length - 1]) {
          const found = blocks.findIndex(
            (block, i) => i >= last && byte >= block && byte < block + plan.blockBytes,
          );
          assert.ok(found >= 0, `byte ${byte} is in no block`);
          last = found;
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('an empty list and odd sizes are refused', () => {
  throwsCode('USAGE', /empty list/, () => bestBlock(ZERO, new DmaRangeList(), SIZES));
  throwsCode('USAGE', /block size 3000: expected a power of two/, () =>
    bestBlock(ZERO, list([0, 1]), [4096, 3000]),
  );
  assert.equal(bestBlock(ZERO, list([0, 1]), []), null);
});
