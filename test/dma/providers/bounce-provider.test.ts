/**
 * Which ranges are bounced, where the copies stand, what is refused, and that refusals leave nothing.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import { DmaFlag } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, MapType } from '#emu/dma/mapping.ts';
import {
  BounceCounter,
  BouncePool,
  MAX_BOUNCE_BYTES,
  SLOT_BYTES,
} from '#emu/dma/providers/bounce-pool.ts';
import {
  BounceRig,
  FOUR_GIB,
  HIGH,
  high,
  LOW,
  low,
  POOL,
  pattern,
} from '#test/support/bounce-rig.ts';
import { BUS_OFFSET, PEER, rangesOf } from '#test/support/dma-rig.ts';

const { ToDevice, FromDevice, Bidirectional } = Direction;
const KiB = 1024;
const hasCode = (code: string) => (error: unknown) =>
  error instanceof EmuError && error.code === code;
const isInPool = (address: number): boolean => address >= POOL && address < POOL + 512 * KiB;

test('memory in reach is used as it is, without a copy', () => {
  const rig = new BounceRig();
  const list = PhyRangeList.of(LOW, 100_000);
  const mapping = rig.map(list, Bidirectional);
  assert.deepEqual(rangesOf(mapping.ranges), rangesOf(list));
  assert.equal(mapping.needsSync, false);
  rig.device.unmap(mapping);
  assert.deepEqual([...rig.pool.counters], [0, 0, 0, 0, 0, 0]);
  rig.dispose();
});

test('in one list only the ranges beyond the limit are bounced', () => {
  const rig = new BounceRig();
  const list = PhyRangeList.of(LOW, 4096)
    .append(high(512), 3000)
    .append(low(8192), 512)
    .append(physAddr(FOUR_GIB - 1), 2);
  const bytes = pattern(list.sizeBytes, 1);
  rig.store(list, bytes);
  const mapping = rig.map(list, ToDevice);
  assert.equal(mapping.needsSync, true);
  const found = rangesOf(mapping.ranges);
  assert.deepEqual(
    found.map(({ address, length }) => [isInPool(address), length]),
    [
      [false, 4096],
      [true, 3000],
      [false, 512],
      [true, 2],
    ],
  );
  assert.deepEqual([found[0]!.address, found[2]!.address], [LOW, low(8192)]);
  assert.deepEqual(rig.deviceReads(mapping), bytes);
  assert.equal(rig.pool.usedSlots, 2 + 2);
  rig.device.unmap(mapping);
  assert.equal(rig.pool.usedSlots, 0);
  assert.deepEqual([...rig.pool.counters], [2, 3002, 0, 0, 0, 4]);
  rig.dispose();
});

test('a range that continues beyond the limit is bounced whole', () => {
  const rig = new BounceRig();
  const mapping = rig.map(PhyRangeList.of(physAddr(FOUR_GIB - 4096), 8192), ToDevice);
  assert.equal(mapping.ranges.count, 1);
  assert.ok(isInPool(mapping.ranges.address(0)));
  rig.device.unmap(mapping);
  rig.dispose();
});

test('a device that reaches all of memory never bounces, unless that is forced', () => {
  const limits = { addressLimit: 2 ** 34 };
  const list = PhyRangeList.of(HIGH, 4096);
  const wide = new BounceRig({ limits });
  assert.equal(wide.map(list, ToDevice).ranges.address(0), HIGH);
  assert.equal(wide.device.maxRangeBytes, Number.POSITIVE_INFINITY);
  const forced = new BounceRig({ limits, isForced: true });
  assert.ok(isInPool(forced.map(PhyRangeList.of(LOW, 4096), ToDevice).ranges.address(0)));
  assert.equal(forced.device.maxRangeBytes, 252 * KiB);
  wide.memory.dispose();
  forced.memory.dispose();
});

test('copies keep their offset in the page', () => {
  const rig = new BounceRig();
  for (const offset of [0, 1, 512, 2047, 2048, 3584, 4095]) {
    const { ranges } = rig.map(PhyRangeList.of(high(offset), 5000), ToDevice);
    assert.equal(ranges.address(0) % 4096, offset);
  }
  rig.memory.dispose();
});

test('copies cross a boundary of the device only where the memory does', () => {
  const boundaryBytes = 64 * KiB;
  const rig = new BounceRig({ limits: { addressLimit: FOUR_GIB, boundaryBytes } });
  assert.equal(rig.device.maxRangeBytes, 192 * KiB);
  for (const [offset, size] of [
    [60 * KiB, 4 * KiB],
    [4 * KiB, 60 * KiB],
    [4 * KiB, 64 * KiB],
  ] as const) {
    const mapping = rig.map(PhyRangeList.of(high(offset), size), ToDevice);
    assert.equal(mapping.ranges.address(0) % boundaryBytes, offset);
    rig.device.unmap(mapping);
  }
  assert.throws(
    () => new BounceRig({ limits: { addressLimit: 1, boundaryBytes: 3 } }),
    hasCode('USAGE'),
  );
  rig.dispose();
});

test('256 KiB are the most that one range can bounce, its offset in the page included', () => {
  const rig = new BounceRig();
  const mapping = rig.map(PhyRangeList.of(HIGH, MAX_BOUNCE_BYTES), ToDevice);
  assert.equal(rig.pool.usedSlots, 128);
  assert.match(
    rig.refusal(PhyRangeList.of(HIGH, MAX_BOUNCE_BYTES + 1), ToDevice),
    /^EIO .* too long/,
  );
  assert.match(
    rig.refusal(PhyRangeList.of(high(1), MAX_BOUNCE_BYTES), ToDevice),
    /^EIO .* too long/,
  );
  const two = PhyRangeList.of(HIGH, 200 * KiB).appendApart(high(200 * KiB), 60 * KiB);
  assert.match(rig.refusal(two, ToDevice), /^ENOMEM/);
  rig.device.unmap(mapping);
  assert.equal(rig.map(two, ToDevice).ranges.count, 2);
  rig.memory.dispose();
});

test('peer memory is never bounced', () => {
  const limits = { addressLimit: 2 ** 40 };
  const rig = new BounceRig({ limits, isForced: true });
  assert.match(rig.refusal(PhyRangeList.of(PEER.far, 4096), ToDevice), /^EIO .* never bounced/);
  const narrow = new BounceRig();
  assert.match(narrow.refusal(PhyRangeList.of(PEER.far, 4096), ToDevice), /^EIO .* never bounced/);
  assert.match(narrow.refusal(PhyRangeList.of(PEER.near, 4096), ToDevice), /^EIO bus addresses/);
  const banned = PhyRangeList.of(HIGH, 4096).append(PEER.banned, 4096);
  assert.match(narrow.refusal(banned, ToDevice), /^EREMOTEIO/);
  rig.dispose();
  narrow.dispose();
});

test('bus addresses stand beside copies, and alone need none', () => {
  const rig = new BounceRig({ limits: { addressLimit: 2 ** 52 }, isForced: true });
  const flags = DmaFlag.BusAddress;
  const bus = { address: PEER.near + BUS_OFFSET, length: 4096, flags };
  const mixed = rig.map(PhyRangeList.of(LOW, 4096).append(PEER.near, 4096), ToDevice);
  assert.deepEqual(rangesOf(mixed.ranges)[1], bus);
  assert.deepEqual([mixed.needsSync, mixed.mapType], [true, MapType.BusAddress]);
  const alone = rig.map(PhyRangeList.of(PEER.near, 4096), ToDevice);
  assert.deepEqual(rangesOf(alone.ranges), [bus]);
  assert.equal(alone.needsSync, false);
  rig.device.unmap(mixed);
  rig.device.unmap(alone);
  rig.dispose();
});

test("a pool out of the device's reach does not help", () => {
  const rig = new BounceRig({ limits: { addressLimit: 2 ** 28 } });
  assert.match(
    rig.refusal(PhyRangeList.of(LOW, 1), ToDevice),
    /^EIO bounce buffers up to 0x80080000/,
  );
  rig.dispose();
});

test('a full pool refuses for now, takes nothing, and counts it', () => {
  const rig = new BounceRig({ poolBytes: MAX_BOUNCE_BYTES });
  const page = (i: number): PhyRangeList => PhyRangeList.of(high(i * 4096), 4096);
  const live = Array.from({ length: 62 }, (_, i) => rig.map(page(i), ToDevice));
  const three = page(100)
    .append(high(200 * 4096), 4096)
    .append(high(300 * 4096), 1);
  assert.match(rig.refusal(three, ToDevice), /^ENOMEM .* 124 of 128 slots are in use/);
  assert.equal(rig.pool.counters[BounceCounter.refused], 1);
  rig.device.unmap(live[7]!);
  assert.equal(rig.map(three, ToDevice).ranges.count, 3);
  assert.equal(rig.pool.counters[BounceCounter.peakSlots], 128, 'the refused attempt counts');
  rig.memory.dispose();
});

test('pools are aligned and slots given back once', () => {
  const rig = new BounceRig();
  assert.throws(
    () => new BouncePool(rig.memory, offsetBy(POOL, 4096), 512 * KiB),
    hasCode('INVARIANT'),
  );
  const at = rig.pool.lend(high(100), SLOT_BYTES, 4096)!;
  assert.equal(rig.pool.usedSlots, 2);
  rig.pool.takeBack(at, SLOT_BYTES);
  assert.throws(() => rig.pool.takeBack(at, SLOT_BYTES), hasCode('INVARIANT'));
  rig.dispose();
});

test('interrupt doorbells are where they are', () => {
  const rig = new BounceRig();
  assert.equal(rig.device.mapDoorbell(physAddr(0x2800_0000)), 0x2800_0000);
  rig.dispose();
});

test('short device writes leak nothing of what the pool held before', () => {
  const rig = new BounceRig();
  const secret = PhyRangeList.of(HIGH, 8192);
  rig.store(secret, new Uint8Array(8192).fill(0x5e));
  rig.device.unmap(rig.map(secret, ToDevice));
  const list = PhyRangeList.of(high(0x10_0000), 8192);
  const before = pattern(8192, 3);
  rig.store(list, before);
  const mapping = rig.map(list, FromDevice);
  rig.deviceWrites(mapping, 0, new Uint8Array(100).fill(1));
  rig.device.unmap(mapping);
  const after = rig.load(list);
  assert.deepEqual(after.subarray(100), before.subarray(100));
  assert.ok(after.subarray(0, 100).every((byte) => byte === 1));
  rig.dispose();
});
