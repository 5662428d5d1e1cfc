/**
 * The two-step calls at their edges: offsets within a granule, what a state forgets between two lives, what the caller
 * believes, and what the checker is told of accesses.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import type { WatchedState } from '#emu/dma/checker/mapping-watch.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction } from '#emu/dma/mapping.ts';
import { IommuDriverRig } from '#test/support/dma-rig.ts';
import { UntrustedRig } from '#test/support/untrusted-rig.ts';

const HOST = physAddr(2 ** 36);
const PAGE = 4096;
const { ToDevice, FromDevice, Bidirectional } = Direction;
const misuse = (text: RegExp) => (error: unknown) =>
  error instanceof EmuError && error.code === 'CHECKER' && text.test(error.message);

function allocated(sizeBytes = 4 * PAGE, physical = HOST) {
  const rig = new IommuDriverRig();
  const state = new IovaState(rig.device);
  assert.ok(state.tryAlloc(physical, sizeBytes));
  return { rig, state };
}

test('an offset in the first granule takes its share of the addresses', () => {
  const first = offsetBy(HOST, 512);
  // Three granules, of the four that such sizes are rounded up to.
  const { rig, state } = allocated(2 * PAGE, first);
  assert.equal(rig.domain.iovas.usedBytes, 4 * PAGE);
  assert.equal(state.link(first, 0, 2 * PAGE, Bidirectional), null);
  state.sync(0, 2 * PAGE);
  assert.equal(rig.access(state.address + 2 * PAGE - 1), first + 2 * PAGE - 1);
  assert.equal(rig.domain.table.leaves, 3);
  void state.destroy(2 * PAGE);
  rig.host.kernel.run();
  assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
  rig.dispose();
});

test('pieces that share a granule cannot both be linked', () => {
  const { rig, state } = allocated(4 * PAGE, offsetBy(HOST, 512));
  assert.equal(state.link(offsetBy(HOST, 512), 0, 100, ToDevice), null);
  assert.equal(state.link(HOST, PAGE / 2, 100, ToDevice)?.refused, 'EINVAL');
  assert.throws(() => state.link(offsetBy(HOST, 512), 0, 9, ToDevice), misuse(/linked already/));
  assert.equal(state.link(HOST, PAGE - 512, 100, ToDevice), null);
  rig.dispose();
});

test('a new life knows nothing of the failure and the copies of the one before', () => {
  const { rig, state } = allocated(2 ** 22);
  state.link(HOST, 0, PAGE, Bidirectional);
  rig.host.budget = 0;
  assert.equal(state.link(HOST, 2 ** 21, 2 * PAGE, Bidirectional)?.refused, 'ENOMEM');
  void state.destroy(PAGE);
  rig.host.kernel.run();
  rig.host.budget = Number.POSITIVE_INFINITY;
  assert.ok(state.tryAlloc(HOST, PAGE));
  state.link(HOST, 0, PAGE, Bidirectional);
  assert.throws(() => state.destroy(PAGE), misuse(/never synced/));
  rig.dispose();
});

test('what the caller believes is compared with what was linked', () => {
  const { rig, state } = allocated();
  state.link(HOST, 0, PAGE, ToDevice);
  state.link(HOST, PAGE, PAGE, FromDevice);
  state.sync(0, 2 * PAGE);
  const other = misuse(/direction 1, linked as 2|direction 2, linked as 1|linked as/);
  assert.throws(() => state.unlink(PAGE, PAGE, { direction: ToDevice }), other);
  assert.throws(() => state.unlink(PAGE, PAGE, { attrs: 1 << 5 }), misuse(/attributes 32, linked/));
  assert.throws(() => state.destroy(2 * PAGE, { direction: ToDevice }), other);
  assert.throws(() => state.destroy(2 * PAGE, { attrs: 1 << 5 }), misuse(/attributes 32, linked/));
  assert.equal(rig.domain.table.leaves, 2, 'nothing was ended');
  void state.unlink(PAGE, PAGE, { direction: FromDevice, attrs: 0 });
  rig.host.kernel.run();
  void state.destroy(PAGE, { direction: ToDevice, attrs: 0 });
  rig.host.kernel.run();
  assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
  rig.dispose();
});

test('destroy waits for no unlink: it is reported before that has completed', () => {
  const { rig, state } = allocated();
  state.link(HOST, 0, 2 * PAGE, Bidirectional);
  state.sync(0, 2 * PAGE);
  void state.unlink(PAGE, PAGE);
  assert.throws(() => state.destroy(PAGE), misuse(/destroy before an unlink has completed/));
  rig.host.kernel.run();
  void state.destroy(PAGE);
  rig.host.kernel.run();
  assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
  rig.dispose();
});

test('ranges before the first byte, of part of a byte and of no bytes are reported', () => {
  const { rig, state } = allocated();
  for (const [offset, sizeBytes] of [
    [-PAGE, PAGE],
    [-PAGE, 2 * PAGE],
    [0.5, PAGE],
    [0, 0.5],
    [0, 0],
    [0, -PAGE],
    [Number.NaN, PAGE],
    [0, Number.NaN],
  ] as const) {
    const isOutside = misuse(/in a state of 16384 bytes/);
    assert.throws(() => state.link(HOST, offset, sizeBytes, ToDevice), isOutside);
    assert.throws(() => state.sync(offset, sizeBytes), isOutside);
    assert.throws(() => state.unlink(offset, sizeBytes), isOutside);
  }
  assert.equal(rig.domain.table.leaves, 0);
  rig.dispose();
});

test('what is wrong with an access: not there, not synced, the wrong way, taken back', () => {
  const { rig, state } = allocated();
  const list = PhyRangeList.of(HOST, PAGE);
  const hold = { isRevoked: false, isWritable: true, endsStrictly: false, mappings: 0 };
  list.hold = { ...hold, admit: () => null, mapped() {}, unmapped() {} };
  state.link(HOST, 0, PAGE, ToDevice, 0, list);
  assert.deepEqual(state.fault(0, 1, false), ['not-synced', 'it was linked and not synced']);
  state.sync(0, PAGE);
  state.link(HOST, PAGE, PAGE, FromDevice);
  state.sync(PAGE, PAGE);
  assert.equal(state.fault(0, PAGE, false), null);
  assert.equal(state.fault(PAGE, PAGE, true), null);
  assert.ok(state.fault(0, 1, true), 'a write to what is for reading');
  assert.ok(state.fault(PAGE, 1, false), 'a read of what is for writing');
  assert.ok(state.fault(PAGE - 1, 2, true), 'the first of two parts');
  assert.ok(state.fault(PAGE - 1, 2, false), 'the second of two parts');
  assert.deepEqual(state.fault(2 * PAGE - 1, 2, true), ['not-synced', 'not all of it is linked']);
  Object.assign(list.hold, { isRevoked: true });
  assert.equal(state.fault(0, 1, false)?.[0], 'revoked');
  assert.equal(state.fault(PAGE, 1, true), null);
  rig.dispose();
});

test('who watches hears of every life, from its first address to the last', () => {
  const rig = new IommuDriverRig();
  const heard: string[] = [];
  const states = new Set<WatchedState>();
  rig.device.watch = {
    ...({} as NonNullable<typeof rig.device.watch>),
    stateAllocated: (state) => {
      heard.push('allocated');
      states.add(state);
    },
    stateReleased: (state) => {
      heard.push('released');
      states.delete(state);
    },
  };
  const state = new IovaState(rig.device);
  assert.ok(state.tryAlloc(HOST, PAGE));
  assert.deepEqual([states.has(state), rig.device.openStates], [true, 1]);
  state.free();
  assert.ok(state.tryAlloc(HOST, PAGE));
  state.link(HOST, 0, PAGE, ToDevice);
  state.sync(0, PAGE);
  void state.destroy(PAGE);
  rig.host.kernel.run();
  const life = ['allocated', 'released'];
  assert.deepEqual([heard, states.size, rig.device.openStates], [[...life, ...life], 0, 0]);
  rig.dispose();
});

test('caches are emptied at the end of what a device wrote, and of nothing else', () => {
  for (const [direction, sum] of [
    [ToDevice, PAGE],
    [FromDevice, 2 * PAGE],
    [Bidirectional, 2 * PAGE],
  ] as const) {
    const made = new UntrustedRig({ isCoherent: false });
    const state = new IovaState(made.device);
    assert.ok(state.tryAlloc(HOST, PAGE));
    state.link(HOST, 0, PAGE, direction);
    state.sync(0, PAGE);
    void state.destroy(PAGE);
    made.run();
    assert.equal(made.device.maintainedBytes, sum, `direction ${direction}`);
    made.dispose();
  }
});
