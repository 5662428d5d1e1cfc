/**
 * The end of a function's addresses: after detach it reaches nothing, nothing of its domain is left, and another domain may
 * follow. Also what a device may be told on the bus. [RVIOMMU] 6.2, [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { bdf, offsetBy, physAddr } from '#emu/base/units.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import { BounceRig, HIGH } from '#test/support/bounce-rig.ts';
import { BUS_OFFSET, CLIENT, DOORBELL, IommuDriverRig, PEER } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const OTHER = bdf(7, 0, 0);
const { Bidirectional, ToDevice } = Direction;
const isCode = (code: string) => (error: unknown) =>
  error instanceof EmuError && error.code === code;

for (const flush of [FlushPolicy.Strict, FlushPolicy.Lazy]) {
  test(`detach takes everything away, and another domain may follow, ${flush}`, () => {
    const rig = new IommuDriverRig({}, { flush });
    const { host, provider } = rig;
    // The first context of its directory page.
    provider.device(bdf(7, 1, 0));
    const before = host.live.size;
    const device = provider.device(OTHER);
    const list = PhyRangeList.of(HOST, 2 ** 22);
    const mapping = device.map(list, Bidirectional);
    assert.ok(!isRefusal(mapping));
    const doorbell = device.mapDoorbell(physAddr(DOORBELL.base));
    const at = mapping.ranges.address(0);
    assert.equal(rig.access(at, true, OTHER), HOST);
    assert.equal(rig.access(doorbell, true, OTHER), DOORBELL.base);
    void device.unmap(mapping);
    const done = device.detach();
    assert.equal(done.done, false);
    host.kernel.run();
    assert.ok(done.done);
    assert.equal(host.live.size, before, 'all tables are given back');
    for (const address of [at, doorbell]) assert.equal(rig.access(address, true, OTHER), -1);
    assert.throws(() => device.map(list, ToDevice), isCode('USAGE'));
    assert.throws(() => device.detach(), isCode('USAGE'));
    assert.throws(() => device.allocateCoherent(4096), isCode('USAGE'));
    assert.throws(() => new IovaState(device).tryAlloc(HOST, 4096), isCode('USAGE'));
    const next = provider.device(OTHER);
    const again = next.map(list, Bidirectional);
    assert.ok(!isRefusal(again));
    assert.equal(rig.access(again.ranges.address(0), true, OTHER), HOST);
    // The others' are as they were.
    assert.equal(rig.access(rig.map(list, Bidirectional).ranges.address(0)), HOST);
    rig.dispose();
  });
}

test('a function that has a domain gets no second one', () => {
  const rig = new IommuDriverRig();
  assert.throws(() => rig.provider.device(CLIENT), /has a DMA domain already/);
  rig.dispose();
});

test('detach waits for its caller to unmap, and to give two-step addresses back', () => {
  const rig = new IommuDriverRig();
  const mapping = rig.map(PhyRangeList.of(HOST, 4096), Bidirectional);
  assert.throws(() => rig.device.detach(), /detach with 1 mappings/);
  rig.device.unmap(mapping);
  const state = new IovaState(rig.device);
  assert.ok(state.tryAlloc(HOST, 4096));
  assert.throws(() => rig.device.detach(), isCode('CHECKER'));
  state.free();
  const done = rig.device.detach();
  rig.host.kernel.run();
  assert.ok(done.done);
  rig.dispose();
});

test('without translation there is nothing to wait for', () => {
  const rig = new BounceRig();
  const mapping = rig.map(PhyRangeList.of(HIGH, 4096), Bidirectional);
  assert.throws(() => rig.device.detach(), isCode('CHECKER'));
  rig.device.unmap(mapping);
  assert.ok(rig.device.detach().done);
  assert.throws(() => rig.map(PhyRangeList.of(HIGH, 4096), Bidirectional), isCode('USAGE'));
});

test("bus addresses beyond the device's width are refused behind an IOMMU too", () => {
  const rig = new IommuDriverRig({ addressLimit: 2 ** 39 });
  const list = PhyRangeList.of(PEER.near, 4096).appendApart(HOST, 4096);
  const answer = rig.device.map(list, Bidirectional);
  assert.ok(isRefusal(answer));
  assert.equal(answer.refused, 'EIO');
  assert.match(
    answer.reason,
    /bus addresses up to 0x18000001000 are beyond the device's 0x8000000000/,
  );
  assert.deepEqual([rig.domain.iovas.usedBytes, list.mappings], [0, 0]);
  // Through the host bridge it has an I/O virtual address, wherever the peer is.
  assert.ok(!isRefusal(rig.device.map(PhyRangeList.of(PEER.far, 4096), Bidirectional)));
  rig.dispose();
});

test('bus addresses up to the very limit are not', () => {
  const limit = PEER.near + BUS_OFFSET + 4096;
  const rig = new IommuDriverRig({ addressLimit: limit });
  const list = PhyRangeList.of(PEER.near, 4096);
  assert.ok(!isRefusal(rig.device.map(list, Bidirectional)));
  assert.ok(isRefusal(rig.device.map(PhyRangeList.of(PEER.near, 4097), Bidirectional)));
  rig.dispose();
});

test('a map that runs out of memory leaves no table, however little of it is its own', () => {
  for (const [sizeBytes, offset] of [
    [4096, 0],
    [2 ** 21, 2 ** 20],
    [5 * 2 ** 21, 4096],
  ] as const) {
    for (let budget = 0; ; budget++) {
      const rig = new IommuDriverRig();
      const before = rig.host.live.size;
      rig.host.budget = budget;
      const answer = rig.device.map(PhyRangeList.of(offsetBy(HOST, offset), sizeBytes), ToDevice);
      if (!isRefusal(answer)) break;
      assert.equal(answer.refused, 'ENOMEM');
      assert.deepEqual([rig.domain.table.tables, rig.host.live.size], [1, before], `${budget}`);
      rig.dispose();
    }
  }
});

test('tables that others use stay when a map fails', () => {
  const rig = new IommuDriverRig();
  const kept = rig.map(PhyRangeList.of(HOST, 4096), Bidirectional);
  const { tables } = rig.domain.table;
  rig.host.budget = 1;
  assert.ok(isRefusal(rig.device.map(PhyRangeList.of(offsetBy(HOST, 4096), 2 ** 23), ToDevice)));
  assert.equal(rig.domain.table.tables, tables);
  assert.equal(rig.access(kept.ranges.address(0)), HOST);
  rig.dispose();
});
