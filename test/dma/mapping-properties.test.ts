/**
 * What holds for every list that the IOMMU provider maps, whatever the limits of the device.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping } from '#emu/dma/mapping.ts';
import { BUS_OFFSET, IommuDriverRig, PEER, rangesOf } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);

/** Memory of every kind, by index. */
const PLACES = [HOST, PEER.near, PEER.far] as const;

test('mapping covers exactly the bytes of the list, once and in order, and unmapping leaves nothing', () => {
  const piece = fc.record({
    place: fc.nat({ max: 2 }),
    page: fc.nat({ max: 40 }),
    offset: fc.oneof(fc.constant(0), fc.nat({ max: 4095 })),
    size: fc.oneof(fc.constant(4096), fc.integer({ min: 1, max: 20_000 })),
  });
  const limits = fc.record({
    boundaryBytes: fc.constantFrom(4096, 2 ** 16, 2 ** 32, 2 ** 40),
    maxSegmentBytes: fc.constantFrom(4096, 65_536, 0xffff_f000),
  });
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 60 }), limits, (pieces, limit) => {
      const rig = new IommuDriverRig(limit);
      const list = new PhyRangeList();
      for (const { place, page, offset, size } of pieces) {
        list.appendApart(offsetBy(PLACES[place] ?? HOST, page * 4096 + offset), size);
      }
      const before = rangesOf(list);
      const mapping = rig.map(list, Direction.Bidirectional);
      assert.deepEqual(rangesOf(list), before);
      assert.ok(mapping.ranges.count <= list.count, 'no more segments than before');
      const back: PhyRangeList = translatedBack(rig, mapping);
      const whole = new PhyRangeList();
      for (const { address, length } of list) whole.append(address, length);
      assert.deepEqual(rangesOf(back), rangesOf(whole));
      rig.device.unmap(mapping).onDone(() => {});
      rig.host.kernel.run();
      assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
      rig.dispose();
    }),
    { numRuns: 60 },
  );
});

/** What the device would reach by the ranges of a mapping: page by page through the IOMMU, or by the bus. */
function translatedBack(rig: IommuDriverRig, mapping: DmaMapping): PhyRangeList {
  const list = new PhyRangeList();
  for (const { address, length, flags } of mapping.ranges) {
    if (flags !== 0) {
      list.append(physAddr(address - BUS_OFFSET), length);
      continue;
    }
    for (let at: number = address; at < address + length; at += 4096 - (at % 4096)) {
      const size = Math.min(4096 - (at % 4096), address + length - at);
      list.append(physAddr(rig.access(at, true)), size);
    }
  }
  return list;
}
