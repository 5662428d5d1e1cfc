/**
 * Bytes that lists take: the known sizes of scatterlists, range lists and compact lists, on real lists.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dmaAddr, physAddr } from '#emu/base/units.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { LimitedCursor } from '#emu/dma/lists/limited-cursor.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { RANGE_BYTES, type RangeLayout } from '#emu/dma/lists/range-layout.ts';
import { RangeLayouts } from '#emu/dma/lists/range-layouts.ts';
import { ScatterLayouts } from '#emu/dma/lists/scatter-layout.ts';
import { ScatterList } from '#emu/dma/lists/scatter-list.ts';

const [MIB, GIB, TIB] = [2 ** 20, 2 ** 30, 2 ** 40];
const PAGES = GIB / 4096;
const { packed, wide, compact } = RangeLayouts;

/** 1 GiB in pages, none beside another; `offset` and `flags` make compact entries longer. */
function pages(layout: RangeLayout, offset = 0, flags = 0): PhyRangeList {
  const list = new PhyRangeList(layout);
  for (let i = 0; i < PAGES; i++) list.append(physAddr(i * 8192 + offset), 4096, flags);
  return list;
}

test('1 GiB in pages of 4 KiB', () => {
  const list = pages(packed);
  assert.equal(list.count, PAGES);
  const rows: readonly (readonly [name: string, found: number, expected: number])[] = [
    ['sg32', ScatterList.from(list, ScatterLayouts.sg32).metadataBytes, 8 * MIB],
    ['sg24', ScatterList.from(list, ScatterLayouts.sg24).metadataBytes, 6 * MIB],
    ['phy_range', list.metadataBytes, 4 * MIB],
    ['64-bit length', pages(wide).metadataBytes, 4 * MIB],
    ['rlist, 8 bytes', pages(compact).metadataBytes, 2 * MIB],
    ['rlist, 16 bytes', pages(compact, 512).metadataBytes, 4 * MIB],
    ['rlist, 24 bytes', pages(compact, 512, 4).metadataBytes, 6 * MIB],
  ];
  for (const [name, found, expected] of rows) assert.equal(found, expected, name);
});

test('1 GiB in pages of 4 KiB with the list for the device', () => {
  const phy = pages(packed);
  const mapped = new DmaRangeList();
  for (const { address, length } of phy) mapped.append(dmaAddr(address), length);
  const linear = DmaRangeList.of(dmaAddr(0), GIB);
  const identity = new DmaRangeList(phy.share());
  for (const [dma, expected] of [
    [mapped, 8 * MIB],
    [identity, 4 * MIB],
    [linear, 4 * MIB + 16],
  ] as const) {
    assert.equal(dma.sizeBytes, GIB);
    assert.equal(phy.metadataBytes + dma.metadataBytes, expected);
  }
});

test('1 GiB in one piece is one range of 16 bytes', () => {
  for (const layout of [packed, wide, compact]) {
    const list = new PhyRangeList(layout).append(physAddr(0), GIB);
    assert.deepEqual([list.count, list.metadataBytes], [1, RANGE_BYTES]);
  }
});

test('what fits in 4 KiB', () => {
  const inBlocks = (offset: number, flags: number): number => {
    const list = new PhyRangeList(compact);
    for (let i = 0; list.storageBytes <= 4096; i++) {
      list.append(physAddr(i * 8192 + offset), 4096, flags);
    }
    return list.count - 1;
  };
  const perPage = (layout: RangeLayout): number => (layout.blockWords(99) * 4) / RANGE_BYTES;
  assert.deepEqual(
    [ScatterLayouts.sg24.slots, ScatterLayouts.sg32.slots, perPage(packed), perPage(wide)],
    [170, 128, 256, 256],
  );
  assert.deepEqual([inBlocks(0, 0), inBlocks(512, 0), inBlocks(512, 4)], [504, 248, 168]);
});

test('a chunk of 512 bytes has 63, 31 or 21 compact entries', () => {
  for (const [offset, flags, entries] of [
    [0, 0, 63],
    [512, 0, 31],
    [512, 4, 21],
  ] as const) {
    const list = new PhyRangeList(compact);
    for (let i = 0; list.storageBytes <= 512; i++) {
      list.append(physAddr(i * 8192 + offset), 1, flags);
    }
    assert.equal(list.count - 1, entries);
  }
});

test('a chained scatterlist spends its last slot on the link', () => {
  for (const [layout, payload] of [
    [ScatterLayouts.sg32, 127],
    [ScatterLayouts.sg24, 169],
  ] as const) {
    assert.equal(new ScatterList(10_000, layout).head.entries, payload);
    assert.equal(new ScatterList(layout.slots, layout).head.entries, layout.slots);
  }
});

test('links, padding and spare room come on top, and little of it', () => {
  // 2 MiB of entries, and 8 bytes of link for each 504.
  assert.equal(pages(compact).storageBytes, Math.ceil(PAGES / 63) * 512);
  assert.equal(pages(packed).storageBytes, (4 + 32) * 16 + Math.ceil((PAGES - 34) / 255) * 4096);
  assert.equal(
    ScatterList.from(pages(packed)).storageBytes,
    (PAGES + Math.ceil((PAGES - 128) / 127)) * 32,
  );
});

test('a terabyte takes 257 elements at 0xfffff000 bytes, 512 at 2 GiB', () => {
  const list = DmaRangeList.of(dmaAddr(0), TIB);
  const count = (maxSegmentBytes: number): number =>
    new LimitedCursor(dmaAddr(0), { maxSegmentBytes }).count(list);
  assert.equal(list.count, 257);
  assert.deepEqual([count(0xffff_f000), count(2 * GIB)], [257, 512]);
  assert.equal(ScatterList.from(PhyRangeList.of(physAddr(0), TIB)).count, 257);
});
