/**
 * What keeps functions, mappings and lists apart: address spaces with equal addresses, slots of the bounce pool beside each
 * other, and memory that must be out of reach at once even where unmaps are lazy.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { BounceCounter } from '#emu/dma/providers/bounce-pool.ts';
import { PinLedger } from '#emu/host/memory/pin-ledger.ts';
import { BounceRig, LOW } from '#test/support/bounce-rig.ts';
import { BUS_OFFSET, IommuDriverRig, NEAR, WINDOW } from '#test/support/dma-rig.ts';
import { Device, granted, peerRig, pinned, userSpace } from '#test/support/user-rig.ts';

const HOST = physAddr(2 ** 36);
const OTHER = physAddr(2 ** 37);
const PAGE = 4096;
const SLOT = 2048;
const { Bidirectional } = Direction;

test('the same address of two functions is two places, also when caches hold both', () => {
  const rig = new IommuDriverRig();
  const near = rig.provider.device(NEAR);
  const mine = rig.map(PhyRangeList.of(HOST, PAGE), Bidirectional);
  const theirs = near.map(PhyRangeList.of(OTHER, PAGE), Bidirectional);
  assert.ok(!isRefusal(theirs));
  const address = mine.ranges.address(0);
  assert.equal(theirs.ranges.address(0), address);
  for (let i = 0; i < 2; i++) {
    assert.equal(rig.access(address), HOST);
    assert.equal(rig.access(address, false, NEAR), OTHER);
  }
  // The end of one is not the end of the other.
  void rig.device.unmap(mine);
  rig.host.kernel.run();
  assert.equal(rig.access(address), -1);
  assert.equal(rig.access(address, false, NEAR), OTHER);
  rig.dispose();
});

test('no address lies in any part of a window, when all others are taken', () => {
  const [start, size] = [WINDOW.base + BUS_OFFSET, 2 ** 36];
  const limit = start + WINDOW.sizeBytes;
  const rig = new IommuDriverRig({ addressLimit: limit });
  const bases: number[] = [];
  while (bases.length <= limit / size) {
    const mapping = rig.device.map(PhyRangeList.of(HOST, size), Bidirectional);
    if (isRefusal(mapping)) break;
    bases.push(mapping.ranges.address(0) / size);
  }
  // From the first below the window down to the last above page 0.
  const count = start / size - 1;
  assert.deepEqual(
    bases,
    Array.from({ length: count }, (_, i) => count - i),
  );
  rig.dispose();
});

test('coherent memory is free again when its function can reach it no more, and not before', () => {
  const rig = new IommuDriverRig();
  const taken = new Map<number, number>();
  rig.device.pages = {
    allocate(sizeBytes) {
      taken.set(OTHER, sizeBytes);
      return OTHER;
    },
    free(address, sizeBytes) {
      assert.equal(taken.get(address), sizeBytes);
      taken.delete(address);
    },
  };
  const memory = rig.device.allocateCoherent(5000);
  assert.ok(!isRefusal(memory));
  assert.equal(rig.access(memory.dma, true), OTHER);
  const done = rig.device.freeCoherent(memory);
  assert.deepEqual([done.done, [...taken]], [false, [[OTHER, 2 * PAGE]]]);
  rig.host.kernel.run();
  assert.deepEqual([done.done, taken.size, rig.access(memory.dma)], [true, 0, -1]);
  rig.dispose();
});

test('a boundary of one granule is the least, and keeps ranges within it', () => {
  const rig = new IommuDriverRig({ boundaryBytes: PAGE });
  const list = PhyRangeList.of(HOST, PAGE).appendApart(OTHER, PAGE);
  assert.deepEqual(
    [...rig.map(list, Bidirectional).ranges].map(({ length }) => length),
    [PAGE, PAGE],
  );
  assert.throws(() => rig.provider.device(NEAR, { boundaryBytes: PAGE / 2 }), /boundaryBytes/);
  rig.dispose();
});

test('an empty list is refused by every provider', () => {
  const rig = new IommuDriverRig();
  const bounce = new BounceRig();
  for (const device of [rig.device, bounce.device]) {
    const answer = device.map(new PhyRangeList(), Bidirectional);
    assert.ok(isRefusal(answer) && answer.refused === 'EINVAL');
    assert.equal(device.liveMappings, 0);
  }
  rig.dispose();
});

test('a part that ends where slots end gives back its own slots and no other', () => {
  const rig = new BounceRig({ isForced: true });
  const list = PhyRangeList.of(LOW, PAGE);
  const beside = rig.map(list.appendApart(offsetBy(LOW, 8 * PAGE), PAGE), Bidirectional);
  const after = rig.map(PhyRangeList.of(offsetBy(LOW, 16 * PAGE), PAGE), Bidirectional);
  const slots = rig.pool.usedSlots;
  assert.equal(slots, (3 * PAGE) / SLOT);
  for (const [offsetBytes, left] of [
    [PAGE, slots - 2],
    [0, slots - 4],
  ] as const) {
    rig.device.unmapPart(beside, { offsetBytes, sizeBytes: PAGE });
    assert.equal(rig.pool.usedSlots, left);
  }
  void rig.device.unmap(after);
  assert.equal(rig.pool.usedSlots, 0);
});

test('a sync copies what it names, in as few copies as there are pieces in it', () => {
  const rig = new BounceRig({ isForced: true });
  const list = PhyRangeList.of(LOW, PAGE);
  for (const at of [2, 4]) list.appendApart(offsetBy(LOW, at * PAGE), PAGE);
  const mapping = rig.map(list, Bidirectional);
  rig.device.sync(mapping, 'cpu');
  const { counters } = rig.pool;
  for (const [offsetBytes, sizeBytes, copies] of [
    [PAGE, PAGE, 1],
    [0, PAGE, 1],
    [2 * PAGE, PAGE, 1],
    [PAGE - 1, 2, 2],
    [PAGE - 1, PAGE + 2, 3],
  ] as const) {
    const before = [counters[BounceCounter.copiesIn]!, counters[BounceCounter.bytesIn]!];
    rig.device.sync(mapping, 'device', { offsetBytes, sizeBytes });
    const made = counters[BounceCounter.copiesIn]! - before[0]!;
    const bytes = counters[BounceCounter.bytesIn]! - before[1]!;
    assert.deepEqual([made, bytes], [copies, sizeBytes], `${sizeBytes} from ${offsetBytes}`);
    rig.device.sync(mapping, 'cpu', { offsetBytes, sizeBytes });
  }
});

test('memory of peers is waited for, that of the host is not', () => {
  const { peers } = peerRig();
  const pool = granted(peers.addResource(Device.gpu, 0));
  const list = granted(pool.allocateList(2 * PAGE));
  assert.equal(list.hold?.endsStrictly, true);
  assert.throws(() => list.hold?.unmapped(), /unmap of peer memory that is not mapped/);
  const keeper = { isRemovable: true, pin() {}, unpin() {}, drop() {}, pinsAt: () => 0 };
  const space = userSpace();
  const at = granted(space.mapAnonymous(PAGE));
  const own = pinned(space, at, PAGE);
  assert.equal(own.hold?.endsStrictly, false);
  const request = { space: 'p', address: at, sizeBytes: PAGE, isWritable: true, isLongterm: false };
  const record = (isRemovable: boolean) =>
    new PinLedger().open(PhyRangeList.of(HOST, PAGE), request, [
      { keeper: { ...keeper, isRemovable }, offsetBytes: 0, sizeBytes: PAGE },
    ]);
  assert.deepEqual([record(true).endsStrictly, record(false).endsStrictly], [true, false]);
});
