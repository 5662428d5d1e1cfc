/**
 * I/O virtual addresses: where they come from, where they never come from, and that none is lost.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { IovaAllocator } from '#emu/dma/iova/iova-allocator.ts';
import { IovaBlocks, orderOf } from '#emu/dma/iova/iova-blocks.ts';

const GIB = 2 ** 30;
const PAGE = 4096;
const WINDOWS = [
  { base: GIB, sizeBytes: GIB },
  { base: 0x2800_0000, sizeBytes: PAGE },
] as const;

const allocator = (
  limit = 2 ** 47,
  reserved: readonly { base: number; sizeBytes: number }[] = WINDOWS,
) => new IovaAllocator({ granuleBytes: PAGE, limit, reserved });

const roundup = (bytes: number): number => 2 ** orderOf(Math.ceil(bytes / PAGE)) * PAGE;

test('addresses come from below 4 GiB, downwards, aligned to their size', () => {
  const iovas = allocator();
  assert.equal(iovas.allocate(1), 4 * GIB - PAGE);
  assert.equal(iovas.allocate(PAGE), 4 * GIB - 2 * PAGE);
  assert.equal(iovas.allocate(3 * PAGE), 4 * GIB - 8 * PAGE);
  assert.equal(iovas.allocate(2 ** 21), 4 * GIB - 2 ** 22);
});

test('what does not fit below 4 GiB goes above, and so does everything after it', () => {
  const iovas = allocator();
  const large = iovas.allocate(8 * GIB + PAGE);
  assert.ok(large >= 4 * GIB);
  assert.equal(large % (16 * GIB), 0);
  assert.ok(iovas.allocate(PAGE) >= 4 * GIB);
});

test('reserved windows, page 0 and the limit are kept', () => {
  const iovas = allocator(2 ** 32);
  const seen = new Set<number>();
  for (;;) {
    const iova = iovas.allocate(2 ** 21);
    if (iova < 0) break;
    assert.ok(!seen.has(iova));
    seen.add(iova);
    for (const { base, sizeBytes } of WINDOWS) {
      assert.ok(iova + 2 ** 21 <= base || iova >= base + sizeBytes);
    }
    assert.ok(iova >= PAGE && iova + 2 ** 21 <= 2 ** 32);
  }
  // 4 GiB less the window, less the 2 MiB around the doorbell and around page 0.
  assert.equal(seen.size, 2048 - 512 - 2);
});

test('a limit below 4 GiB holds', () => {
  const iovas = allocator(2 ** 24, []);
  assert.equal(iovas.allocate(PAGE), 2 ** 24 - PAGE);
  assert.equal(iovas.allocate(2 ** 24), -1);
  assert.equal(iovas.allocate(2 ** 23), -1, 'the upper half has a page in use, the lower page 0');
  assert.equal(iovas.allocate(2 ** 22), 2 ** 23);
});

test('a granule of 64 KiB is the unit', () => {
  const iovas = new IovaAllocator({ granuleBytes: 0x1_0000, limit: 2 ** 32, reserved: [] });
  assert.equal(iovas.allocate(1), 2 ** 32 - 0x1_0000);
  assert.equal(iovas.usedBytes, 0x1_0000);
  for (const granuleBytes of [0, 2048, 6144, 2 ** 31]) {
    assert.throws(
      () => new IovaAllocator({ granuleBytes, limit: 2 ** 32, reserved: [] }),
      (error) => error instanceof EmuError && error.code === 'USAGE',
    );
  }
});

test('freed small blocks are kept, and given up when room runs out', () => {
  const iovas = allocator(2 ** 20, []);
  const pages: number[] = [];
  for (let i = 0; i < 255; i++) pages.push(iovas.allocate(PAGE));
  assert.equal(iovas.allocate(PAGE), -1);
  for (const page of pages) iovas.free(page, PAGE);
  assert.equal(iovas.usedBytes, 0);
  assert.equal(iovas.allocate(2 ** 19), 2 ** 19, 'the kept pages were joined again');
});

test('addresses above 4 GiB are not used while kept blocks can make room below', () => {
  const iovas = allocator(2 ** 40, [{ base: 2 ** 20, sizeBytes: 4 * GIB - 2 ** 20 }]);
  const pages = Array.from({ length: 255 }, () => iovas.allocate(PAGE));
  for (const page of pages) iovas.free(page, PAGE);
  assert.equal(iovas.allocate(2 ** 19), 2 ** 19);
  assert.ok(iovas.allocate(PAGE) < 2 ** 19);
});

test('a freed range is used again for its own size only', () => {
  const iovas = allocator();
  const first = iovas.allocate(40 * PAGE);
  iovas.free(first, 40 * PAGE);
  const larger = iovas.allocate(60 * PAGE);
  assert.notEqual(larger, first);
  assert.equal(iovas.allocate(40 * PAGE), first);
});

interface Live {
  readonly iova: number;
  readonly bytes: number;
}

/** Frees one of `live`, or allocates and checks the result against all others. */
function act(
  iovas: IovaAllocator,
  live: Live[],
  { free, pick, bytes }: { free: boolean; pick: number; bytes: number },
): void {
  const [gone] = free && live.length > 0 ? live.splice(pick % live.length, 1) : [];
  if (gone) return iovas.free(gone.iova, gone.bytes);
  const iova = iovas.allocate(bytes);
  if (iova < 0) return;
  assert.equal(iova % roundup(bytes), 0);
  const taken = [...live, ...WINDOWS.map((w) => ({ iova: w.base, bytes: w.sizeBytes }))];
  for (const other of taken) {
    assert.ok(iova + bytes <= other.iova || other.iova + other.bytes <= iova);
  }
  live.push({ iova, bytes });
}

test('no two live allocations overlap, and freeing all leaves all', () => {
  const action = fc.record({
    free: fc.boolean(),
    pick: fc.nat({ max: 1000 }),
    bytes: fc.oneof(
      fc.integer({ min: 1, max: 40 * PAGE }),
      fc.integer({ min: 1, max: 2 ** 24 }),
      fc.integer({ min: 1, max: 6 * GIB }),
    ),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 120 }), (actions) => {
      const iovas = allocator(2 ** 36);
      const live: Live[] = [];
      for (const each of actions) act(iovas, live, each);
      for (const { iova, bytes } of live) iovas.free(iova, bytes);
      assert.equal(iovas.usedBytes, 0);
      // Everything has come back: the largest piece there ever was can be had again.
      assert.equal(iovas.allocate(2 ** 35), 2 ** 35);
    }),
    { numRuns: 200 },
  );
});

test('blocks join to what they were, whatever the order of freeing', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 70 }), { maxLength: 60 }),
      fc.nat(),
      (sizes, turn) => {
        const blocks = new IovaBlocks();
        blocks.give(0, 4096);
        const taken = sizes.map((pages) => ({ first: blocks.take(pages), pages }));
        const kept = taken.filter(({ first }) => first >= 0);
        const order = kept.map((_, i) => kept[(i * 7 + turn) % kept.length]);
        for (const { first, pages } of new Set(order.filter((each) => each !== undefined))) {
          blocks.give(first, pages);
        }
        for (const each of kept) if (!order.includes(each)) blocks.give(each.first, each.pages);
        assert.equal(blocks.count, 1);
        assert.equal(blocks.take(4096), 0);
      },
    ),
  );
});
