/**
 * The page table as its owner writes it, read back by a walk of its own.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import { leafFlags, Sv48Table } from '#emu/dma/iommu-driver/sv48-table.ts';
import { Direction } from '#emu/dma/mapping.ts';
import { FakeHost } from '#test/support/dma-rig.ts';

const PAGE = 4096;
const LARGE = 2 ** 21;
const RW = leafFlags(Direction.Bidirectional);

interface Rig {
  readonly host: FakeHost;
  readonly table: Sv48Table;
  /** Target and size of the leaf for an address, or null. */
  readonly look: (iova: number) => { target: number; size: number; flags: number } | null;
}

function rig(): Rig {
  const host = new FakeHost();
  const table = new Sv48Table(host);
  const look = (iova: number) => {
    let at: number = table.root;
    for (let level = 3; level >= 0; level--) {
      const size = 2 ** (12 + 9 * level);
      const entry = at + 8 * (Math.floor(iova / size) % 512);
      const word = host.memory.getU64(entry);
      if (word === 0) return null;
      at = Math.floor(word / 1024) * PAGE;
      if ((word & 0x0e) !== 0) return { target: at + (iova % size), size, flags: word & 0x3ff };
    }
    return null;
  };
  return { host, table, look };
}

test('rights: reading always, writing unless the device only reads', () => {
  assert.equal(leafFlags(Direction.ToDevice), 0x53);
  assert.equal(leafFlags(Direction.FromDevice), 0xd7);
  assert.equal(leafFlags(Direction.Bidirectional), 0xd7);
});

test('small pages, within and over a table', () => {
  const { table, look } = rig();
  table.map(LARGE - PAGE, 0x9_0000_1000, 3 * PAGE, RW);
  assert.deepEqual(look(LARGE - PAGE + 5), { target: 0x9_0000_1005, size: PAGE, flags: RW });
  assert.deepEqual(look(LARGE + PAGE), { target: 0x9_0000_3000, size: PAGE, flags: RW });
  assert.equal(look(LARGE + 2 * PAGE), null);
  assert.deepEqual([table.leaves, table.tables], [3, 5]);
});

test('large pages where both sides are aligned, small ones around them', () => {
  const { table, look } = rig();
  table.map(2 ** 32 - PAGE, 2 ** 33 - PAGE, PAGE + LARGE + PAGE, RW);
  assert.equal(look(2 ** 32)?.size, LARGE);
  assert.equal(look(2 ** 32 + LARGE)?.size, PAGE);
  assert.equal(table.leaves, 3);
  const other = rig();
  other.table.map(0, PAGE, LARGE, RW);
  assert.equal(other.look(0)?.size, PAGE);
  assert.equal(other.table.leaves, 512);
});

test('a mapping twice is noticed', () => {
  const { table } = rig();
  table.map(0, 0, LARGE, RW);
  const isInvariant = (error: unknown) => error instanceof EmuError && error.code === 'INVARIANT';
  assert.throws(() => table.map(PAGE, 0, PAGE, RW), isInvariant);
  assert.throws(() => table.map(0, 0, LARGE, RW), isInvariant);
});

test('unmap clears entries, and takes out tables that map nothing else when asked', () => {
  const { host, table, look } = rig();
  table.map(0, PAGE, 2 * LARGE, RW);
  table.map(2 * LARGE, PAGE, PAGE, RW);
  const tables = table.tables;
  table.unmap(0, LARGE, null);
  assert.deepEqual([table.leaves, table.tables, look(0)], [513, tables, null]);
  const emptied: PhysAddr[] = [];
  table.unmap(0, 2 * LARGE, emptied);
  assert.deepEqual([table.leaves, table.tables, emptied.length], [1, tables - 2, 2]);
  assert.equal(look(2 * LARGE)?.target, PAGE);
  for (const page of emptied) host.free(page, PAGE);
  table.map(0, 2 ** 30, LARGE, RW);
  assert.equal(look(0)?.size, LARGE, 'a large page where the table was');
});

test('a large page does not replace a table that is in use', () => {
  const { table, look } = rig();
  table.map(PAGE, 0, PAGE, RW);
  table.unmap(PAGE, PAGE, null);
  table.map(0, 2 ** 30, LARGE, RW);
  assert.deepEqual([look(0)?.size, table.leaves], [PAGE, 512]);
});

/** First address of a run: no two runs touch, and not all are aligned. */
const startOf = (slot: number): number => slot * 2 ** 23 + (slot % 3) * PAGE;

test('what is mapped translates, and unmapping in any order leaves nothing', () => {
  const run = fc.record({ slot: fc.nat({ max: 30 }), pages: fc.integer({ min: 1, max: 1500 }) });
  const runs = fc.uniqueArray(run, { selector: ({ slot }) => slot, maxLength: 12 });
  const both = runs.chain((made) =>
    fc.tuple(fc.constant(made), fc.shuffledSubarray(made, { minLength: made.length })),
  );
  fc.assert(
    fc.property(both, ([made, order]) => {
      const { host, table, look } = rig();
      for (const { slot, pages } of made) {
        const at = startOf(slot);
        table.map(at, 2 ** 40 + at, pages * PAGE, RW);
        for (const page of [0, pages >> 1, pages - 1]) {
          const iova = at + page * PAGE + 7;
          assert.equal(look(iova)?.target, 2 ** 40 + iova);
        }
        assert.equal(look(at + pages * PAGE), null);
      }
      for (const { slot, pages } of order) {
        table.unmap(startOf(slot), pages * PAGE, slot % 2 === 0 ? [] : null);
        assert.equal(look(startOf(slot)), null);
      }
      assert.equal(table.leaves, 0);
      host.memory.dispose();
    }),
    { numRuns: 60 },
  );
});
