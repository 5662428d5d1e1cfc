/**
 * The two-step calls: what the hardware sees after each, and what is refused or reported.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { bdf, offsetBy, physAddr } from '#emu/base/units.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import { Direction } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import { FakeView, IommuDriverRig, threePorts } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const { ToDevice, FromDevice, Bidirectional } = Direction;
const misuse = (text: RegExp) => (error: unknown) =>
  error instanceof EmuError && error.code === 'CHECKER' && text.test(error.message);

function allocated(sizeBytes = 16384, physical = HOST, options = {}) {
  const rig = new IommuDriverRig({}, options);
  const state = new IovaState(rig.device);
  assert.ok(state.tryAlloc(physical, sizeBytes));
  return { rig, state };
}

test('link, sync, use, destroy; nothing stays behind', () => {
  const first = offsetBy(HOST, 512);
  const { rig, state } = allocated(3584 + 4096, first);
  assert.deepEqual([state.address % 4096, state.sizeBytes], [512, 7680]);
  assert.equal(rig.domain.iovas.usedBytes, 8192);
  assert.equal(state.link(first, 0, 3584, ToDevice), null);
  assert.equal(state.link(offsetBy(HOST, 2 ** 20), 3584, 4096, FromDevice), null);
  state.sync(0, 7680);
  assert.equal(rig.access(state.address), first);
  assert.equal(rig.access(state.address, true), -1);
  assert.equal(rig.access(state.address + 3584, true), HOST + 2 ** 20);
  const { address } = state;
  const done = state.destroy(7680);
  rig.host.kernel.run();
  assert.ok(done.done);
  assert.equal(rig.access(address), -1);
  assert.deepEqual([rig.domain.table.leaves, rig.domain.iovas.usedBytes], [0, 0]);
  assert.deepEqual([state.isAllocated, state.address, state.sizeBytes], [false, 0, 0]);
  assert.ok(state.tryAlloc(HOST, 4096));
  rig.dispose();
});

test('tryAlloc fails without an IOMMU, for odd sizes and without addresses', () => {
  const kernel = new Kernel();
  const direct = new DirectProvider({ kernel, view: new FakeView(threePorts()) });
  assert.equal(new IovaState(direct.device(bdf(3, 0, 0))).tryAlloc(HOST, 4096), false);
  const rig = new IommuDriverRig({ addressLimit: 2 ** 20 });
  const state = new IovaState(rig.device);
  for (const size of [0, -1, 1.5, 2 ** 52, 2 ** 63, 2 ** 21]) {
    assert.equal(state.tryAlloc(HOST, size), false);
  }
  assert.ok(state.tryAlloc(HOST, 4096));
  assert.throws(() => state.tryAlloc(HOST, 4096), misuse(/holds addresses already/));
  rig.dispose();
});

test('memory that does not start a granule is linked at offset 0 only', () => {
  const { rig, state } = allocated();
  const refusal = state.link(offsetBy(HOST, 512), 4096, 512, ToDevice);
  assert.equal(refusal?.refused, 'EIO');
  assert.equal(state.link(offsetBy(HOST, 512), 0, 512, ToDevice)?.refused, 'EINVAL');
  assert.equal(state.link(HOST, 512, 4096, ToDevice)?.refused, 'EINVAL');
  assert.equal(rig.domain.table.leaves, 0);
  state.free();
  assert.equal(rig.domain.iovas.usedBytes, 0);
  rig.dispose();
});

test('links beyond the addresses, over one another and without a direction are reported', () => {
  const { rig, state } = allocated(8192);
  assert.equal(state.link(HOST, 0, 4096, ToDevice), null);
  assert.throws(() => state.link(HOST, 0, 4096, ToDevice), misuse(/linked already/));
  assert.throws(() => state.link(HOST, 4096, 8192, ToDevice), misuse(/in a state of 8192 bytes/));
  assert.throws(() => state.link(HOST, 4096, 0, ToDevice), misuse(/0 bytes at offset 4096/));
  assert.throws(() => state.link(HOST, 4096, 4096, Number.NaN as never), /expected a Direction/);
  rig.dispose();
});

test('sync is once, of linked memory', () => {
  const { rig, state } = allocated();
  assert.throws(() => state.sync(0, 4096), misuse(/not all of which is linked/));
  state.link(HOST, 0, 8192, Bidirectional);
  assert.throws(() => state.sync(0, 16384), misuse(/not all of which is linked/));
  state.sync(0, 8192);
  assert.throws(() => state.sync(0, 8192), misuse(/second sync/));
  state.link(HOST, 8192, 4096, Bidirectional);
  state.sync(8192, 4096);
  rig.dispose();
});

test('unlink keeps the addresses, and free comes after it has completed', () => {
  const { rig, state } = allocated();
  state.link(HOST, 0, 16384, Bidirectional);
  state.sync(0, 16384);
  assert.equal(rig.access(state.address + 4096), HOST + 4096);
  const done = state.unlink(4096, 4096);
  assert.throws(() => state.free(), misuse(/memory is linked/));
  rig.host.kernel.run();
  assert.ok(done.done);
  assert.equal(rig.access(state.address + 4096), -1);
  assert.equal(rig.access(state.address), HOST);
  assert.equal(rig.domain.iovas.usedBytes, 16384);
  assert.throws(() => state.unlink(0, 8192), misuse(/unlink of 8192 bytes/));
  assert.throws(() => state.destroy(16384), misuse(/destroy/));
  state.unlink(0, 4096);
  state.unlink(8192, 8192);
  assert.throws(() => state.free(), misuse(/before an unlink has completed/));
  assert.throws(() => state.destroy(0), misuse(/before an unlink has completed/));
  rig.host.kernel.run();
  state.free();
  assert.equal(rig.domain.iovas.usedBytes, 0);
  rig.dispose();
});

test('destroy takes the linked length, no other', () => {
  const { rig, state } = allocated();
  assert.throws(() => state.destroy(4096), misuse(/where nothing is linked/));
  state.link(HOST, 0, 4096, Bidirectional);
  state.link(HOST, 8192, 4096, Bidirectional);
  state.sync(0, 4096);
  state.sync(8192, 4096);
  for (const size of [4096, 8192, 12288, 16384]) {
    assert.throws(() => state.destroy(size), misuse(/destroy of/), `${size}`);
  }
  state.link(HOST, 4096, 4096, Bidirectional);
  assert.throws(() => state.destroy(12288), misuse(/never synced/));
  state.sync(4096, 4096);
  void state.destroy(12288);
  rig.host.kernel.run();
  assert.equal(rig.domain.iovas.usedBytes, 0);
  rig.dispose();
});

test('after a refused link, what was linked is destroyed without a sync', () => {
  const { rig, state } = allocated(2 ** 22);
  state.link(HOST, 0, 4096, Bidirectional);
  rig.host.budget = 0;
  assert.equal(state.link(HOST, 2 ** 21, 8192, Bidirectional)?.refused, 'ENOMEM');
  assert.equal(rig.domain.table.leaves, 1);
  void state.destroy(4096);
  rig.host.kernel.run();
  assert.deepEqual([rig.domain.table.leaves, rig.domain.iovas.usedBytes], [0, 0]);
  rig.dispose();
});

test('in a lazy domain destroy is lazy and unlink is strict', () => {
  const { rig, state } = allocated(8192, HOST, { flush: FlushPolicy.Lazy });
  state.link(HOST, 0, 8192, Bidirectional);
  state.sync(0, 8192);
  const { address } = state;
  rig.access(address);
  rig.access(address + 4096);
  const unlinked = state.unlink(4096, 4096);
  assert.equal(unlinked.done, false);
  const { kernel } = rig.host;
  kernel.runUntil(kernel.now + 10_000_000);
  assert.ok(unlinked.done);
  assert.equal(rig.access(address + 4096), -1);
  assert.ok(state.destroy(4096).done);
  assert.equal(rig.access(address), HOST);
  assert.equal(rig.domain.flushQueue?.staleBytes, 8192);
  rig.dispose();
});

test('calls on a state without addresses are reported', () => {
  const rig = new IommuDriverRig();
  const state = new IovaState(rig.device);
  const calls = [
    () => state.link(HOST, 0, 4096, ToDevice),
    () => state.sync(0, 4096),
    () => state.unlink(0, 4096),
    () => state.destroy(4096),
    () => state.free(),
  ];
  for (const call of calls) assert.throws(call, misuse(/holds no addresses/));
  rig.dispose();
});
