/**
 * The scatterlist as a structure: both sides of an entry, chained pages, what 24 bytes cannot say, corruption.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { dmaAddr, physAddr } from '#emu/base/units.ts';
import { DmaFlag, DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { RangeLayouts } from '#emu/dma/lists/range-layouts.ts';
import { ScatterLayouts } from '#emu/dma/lists/scatter-layout.ts';
import { type ScatterBlock, ScatterList } from '#emu/dma/lists/scatter-list.ts';
import { rangesOf } from '#test/support/dma-rig.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const GIB = 2 ** 30;
const { sg24, sg32 } = ScatterLayouts;
const layouts = [sg24, sg32];

/** Host pages that do not touch. */
function scattered(count: number): PhyRangeList {
  const list = new PhyRangeList();
  for (let i = 0; i < count; i++) list.append(physAddr(i * 8192 + (i % 5)), 4000);
  return list;
}

function blocksOf(list: ScatterList): ScatterBlock[] {
  const blocks: ScatterBlock[] = [];
  for (let block: ScatterBlock | null = list.head; block !== null; block = block.next) {
    blocks.push(block);
  }
  return blocks;
}

for (const layout of layouts) {
  test(`${layout.name}: the CPU's side is the list, over any number of pages`, () => {
    const { slots } = layout;
    for (const count of [1, slots - 1, slots, slots + 1, 2 * slots - 2, 2 * slots - 1, 2000]) {
      const scatter = ScatterList.from(scattered(count), layout);
      assert.deepEqual(rangesOf(scatter.cpuList()), rangesOf(scattered(count)));
      assert.equal(scatter.metadataBytes, count * layout.entryBytes);
      const blocks = blocksOf(scatter);
      const payload = blocks.map(({ entries }) => entries);
      assert.equal(
        payload.reduce((sum, entries) => sum + entries, 0),
        count,
      );
      assert.ok(payload.slice(0, -1).every((entries) => entries === slots - 1));
      const links = blocks.length - 1;
      assert.equal(scatter.storageBytes, (count + links) * layout.entryBytes);
      assert.ok(blocks.every(({ words }) => words.byteLength <= 4096));
    }
  });

  test(`${layout.name}: addresses and lengths of every size come back`, () => {
    const arbitrary = fc.array(
      fc.tuple(fc.integer({ min: 0, max: 2 ** 51 }), fc.integer({ min: 1, max: 9 * GIB })),
      { minLength: 1, maxLength: 40 },
    );
    fc.assert(
      fc.property(arbitrary, (ranges) => {
        const list = new PhyRangeList(RangeLayouts.wide);
        for (const [address, length] of ranges) list.append(physAddr(address), length);
        const scatter = ScatterList.from(list, layout);
        const back = scatter.cpuList();
        assert.deepEqual(rangesOf(back.coalesced(RangeLayouts.wide)), rangesOf(list.coalesced()));
        assert.ok(rangesOf(back).every(({ length }) => length <= 0xffff_f000));
      }),
      { numRuns: 60 },
    );
  });

  test(`${layout.name}: corruption is found where it is`, () => {
    const { entryWords, slots } = layout;
    const linkAt = (slots - 1) * entryWords;
    const faults: readonly (readonly [RegExp, (blocks: ScatterBlock[]) => void])[] = [
      [/its chain is cut/, ([, second]) => Object.assign(second ?? {}, { next: null })],
      [/runs in a circle/, ([first, second]) => Object.assign(second ?? {}, { next: first })],
      [/a link is overwritten/, ([, second]) => second?.words.fill(0, linkAt)],
      [/a link is overwritten/, ([, second]) => second && layout.setLink(second.words, linkAt, 9)],
      [/a link stands too early/, ([, second]) => second && layout.setLink(second.words, 0, 2)],
      [/an end is marked too early/, ([, second]) => second && layout.setEnd(second.words, 0)],
      [/an entry has no length/, ([, second]) => second?.words.fill(0, 0, entryWords)],
    ];
    for (const [message, breakIt] of faults) {
      const scatter = ScatterList.from(scattered(3 * slots), layout);
      breakIt(blocksOf(scatter));
      assert.throws(
        () => scatter.cpuList(),
        (error) => {
          assert.ok(error instanceof EmuError);
          assert.deepEqual([error.code, error.detail.block], ['INVARIANT', 1]);
          assert.match(error.message, message);
          return true;
        },
      );
    }
    const scatter = ScatterList.from(scattered(3), layout);
    scatter.head.words.fill(0, 2 * entryWords, 2 * entryWords + 1);
    throwsCode('INVARIANT', /the end is not marked/, () => scatter.cpuList());
  });
}

test('the device side is separate: fewer entries, other lengths, bus addresses', () => {
  const scatter = ScatterList.from(scattered(300), sg32);
  const entries = scatter.cursor();
  assert.deepEqual(rangesOf(scatter.dmaList()), []);
  const expected = new DmaRangeList();
  for (let i = 0; i < 130; i++) {
    assert.ok(entries.next());
    entries.setDma(dmaAddr(2 ** 40 + i * 2 ** 33), 0xffff_f000 - i, i % 2 === 1);
    const flags = i % 2 === 1 ? DmaFlag.BusAddress : 0;
    expected.appendApart(dmaAddr(2 ** 40 + i * 2 ** 33), 0xffff_f000 - i, flags);
  }
  scatter.mappedCount = 130;
  assert.deepEqual(rangesOf(scatter.dmaList()), rangesOf(expected));
  assert.deepEqual(rangesOf(scatter.cpuList()), rangesOf(scattered(300)));
  entries.rewind();
  assert.ok(entries.next());
  assert.deepEqual(
    [entries.address, entries.length, entries.dmaAddress, entries.dmaLength, entries.isBusAddress],
    [0, 4000, 2 ** 40, 0xffff_f000, false],
  );
  scatter.mappedCount = 0;
  for (const wrong of [-1, 301, 0.5]) {
    throwsCode('USAGE', /mapped entries/, () => {
      scatter.mappedCount = wrong;
    });
  }
});

test('24 bytes say no other length and no bus address', () => {
  const scatter = ScatterList.from(scattered(2), sg24);
  const entries = scatter.cursor();
  entries.next();
  entries.setDma(dmaAddr(0x1234), 4000);
  assert.deepEqual([entries.dmaAddress, entries.dmaLength], [0x1234, 4000]);
  throwsCode('USAGE', /sg24 entry: expected a host address and 4000 bytes/, () =>
    entries.setDma(dmaAddr(0), 8000),
  );
  throwsCode('USAGE', /sg24 entry/, () => entries.setDma(dmaAddr(0), 4000, true));
});

test('a cursor ends at the end, and an unfilled list is noticed', () => {
  const scatter = new ScatterList(2);
  const entries = scatter.cursor();
  entries.advance();
  entries.setCpu(4097, 8);
  entries.advance();
  throwsCode('USAGE', /has 2 entries/, () => entries.advance());
  assert.equal(entries.next(), false);
  throwsCode('INVARIANT', /an entry has no length/, () => scatter.cpuList());
});

test('what is no scatterlist is refused', () => {
  for (const count of [0, -1, 1.5])
    throwsCode('USAGE', /at least one/, () => new ScatterList(count));
  throwsCode('USAGE', /at least one/, () => ScatterList.from(new PhyRangeList()));
  const dma = DmaRangeList.of(dmaAddr(0), 1);
  throwsCode('USAGE', /expected a PhyRangeList/, () =>
    Reflect.apply(ScatterList.from, ScatterList, [dma]),
  );
  ScatterList.check(new ScatterList(1), 'test');
  for (const wrong of [null, 1, {}, dma]) {
    throwsCode('USAGE', /test: expected a ScatterList/, () => ScatterList.check(wrong, 'test'));
  }
});
