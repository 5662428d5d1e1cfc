/**
 * Pins and leases see every way to map: lists, two-step addresses and requests ask them, are counted by them, and end
 * strictly where they must. [PHYR], [P2PDMA]
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import { RequestIterator, RequestStyle } from '#emu/dma/iova/request-iterator.ts';
import type { ListHold } from '#emu/dma/lists/list-hold.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal, type MapRefusal } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import { PinLedger, type PinRecord } from '#emu/host/memory/pin-ledger.ts';
import { userAddr } from '#emu/host/memory/user-address.ts';
import { BounceRig, HIGH } from '#test/support/bounce-rig.ts';
import { CLIENT, FakeView, IommuDriverRig, PEER, threePorts } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const { ToDevice, FromDevice, Bidirectional } = Direction;
const isChecker = (error: unknown) => error instanceof EmuError && error.code === 'CHECKER';

class Lease implements ListHold {
  mappings = 0;
  isRevoked = false;
  isWritable = true;
  endsStrictly = true;
  admit(): MapRefusal | null {
    return this.isRevoked ? { refused: 'ENODEV', reason: 'taken back' } : null;
  }
  mapped(): void {
    this.mappings++;
  }
  unmapped(): void {
    this.mappings--;
    assert.ok(this.mappings >= 0, 'unmapped more often than mapped');
  }
}

function leased(...pieces: readonly (readonly [address: number, length: number])[]) {
  const list = new PhyRangeList();
  for (const [address, length] of pieces) list.appendApart(physAddr(address), length);
  const hold = new Lease();
  list.hold = hold;
  return { list, hold };
}

/** Maps a list in one way; the unmap, or why there is none. */
type Way = (
  device: DmaDevice,
  list: PhyRangeList,
  direction: Direction,
) => MapRefusal | (() => void);

const WAYS: Readonly<Record<string, Way>> = {
  list: (device, list, direction) => {
    const mapping = device.map(list, direction);
    return isRefusal(mapping) ? mapping : () => void device.unmap(mapping);
  },
  'two-step': (device, list, direction) => {
    const state = new IovaState(device);
    assert.ok(state.tryAlloc(list.address(0), list.sizeBytes));
    const refusal = state.link(list.address(0), 0, list.sizeBytes, direction, 0, list);
    if (refusal !== null) {
      state.free();
      return refusal;
    }
    state.sync(0, list.sizeBytes);
    return () => void state.destroy(list.sizeBytes);
  },
  request: (device, list, direction) => {
    const request = new RequestIterator(device, device.kernel);
    if (!request.start(list, direction)) return request.refusal!;
    while (request.next());
    assert.equal(request.refusal, null);
    return () => void request.unmap();
  },
};

for (const [name, map] of Object.entries(WAYS)) {
  for (const flush of [FlushPolicy.Strict, FlushPolicy.Lazy]) {
    test(`${name}, ${flush}: a lease counts the mapping until no cache holds it`, () => {
      const rig = new IommuDriverRig({}, { flush });
      const { kernel } = rig.host;
      const { list, hold } = leased([HOST, 8192]);
      const end = map(rig.device, list, Bidirectional);
      assert.ok(typeof end === 'function');
      assert.ok(hold.mappings > 0 && list.mappings > 0, 'counted');
      assert.throws(() => list.append(HOST, 4096), isChecker);
      end();
      assert.ok(hold.mappings > 0, 'until the caches were told');
      assert.equal(rig.domain.flushQueue?.count ?? 0, 0);
      kernel.runUntil(kernel.now + 1e9);
      assert.deepEqual([hold.mappings, list.mappings], [0, 0]);
      assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
      rig.dispose();
    });
  }

  test(`${name}: memory that its owner keeps ends lazily where the domain is lazy`, () => {
    const rig = new IommuDriverRig({}, { flush: FlushPolicy.Lazy });
    const { list, hold } = leased([HOST, 8192]);
    hold.endsStrictly = false;
    const end = map(rig.device, list, Bidirectional);
    assert.ok(typeof end === 'function');
    end();
    assert.deepEqual([hold.mappings, rig.domain.flushQueue?.count], [0, 1]);
    rig.dispose();
  });

  test(`${name}: what was taken back is not mapped`, () => {
    const rig = new IommuDriverRig();
    const { list, hold } = leased([HOST, 8192]);
    hold.isRevoked = true;
    const refusal = map(rig.device, list, Bidirectional);
    assert.ok('refused' in refusal && refusal.refused === 'ENODEV');
    assert.deepEqual([hold.mappings, list.mappings, rig.domain.iovas.usedBytes], [0, 0, 0]);
    rig.dispose();
  });

  test(`${name}: memory that devices may only read is not mapped for writing`, () => {
    const rig = new IommuDriverRig();
    for (const direction of [FromDevice, Bidirectional]) {
      const { list, hold } = leased([HOST, 8192]);
      hold.isWritable = false;
      const refusal = map(rig.device, list, direction);
      assert.ok('refused' in refusal && refusal.refused === 'EPERM');
      assert.deepEqual([hold.mappings, rig.domain.iovas.usedBytes], [0, 0]);
    }
    const { list, hold } = leased([HOST, 8192]);
    hold.isWritable = false;
    assert.ok(typeof map(rig.device, list, ToDevice) === 'function');
    rig.dispose();
  });

  test(`${name}: a pin is not ended while mapped, and not mapped when ended`, () => {
    const rig = new IommuDriverRig();
    const list = PhyRangeList.of(HOST, 8192);
    const pins = new PinLedger();
    const request = {
      space: 'user',
      address: userAddr(0),
      sizeBytes: 8192,
      isWritable: true,
      isLongterm: false,
    };
    const pin: PinRecord = pins.open(list, request, []);
    const end = map(rig.device, list, Bidirectional);
    assert.ok(typeof end === 'function');
    assert.throws(() => pins.close(list), isChecker);
    end();
    rig.host.kernel.run();
    assert.equal(pin.mappings, 0);
    pins.close(list);
    assert.throws(() => map(rig.device, list, Bidirectional), isChecker);
    rig.dispose();
  });
}

test('a request counts its list in every style, from start to the end of unmap', () => {
  const rig = new IommuDriverRig();
  const { kernel } = rig.host;
  const lists = {
    [RequestStyle.Bus]: leased([PEER.near, 4096], [PEER.near + 2 ** 20, 4096]),
    [RequestStyle.Iova]: leased([HOST, 4096], [HOST + 2 ** 20, 4096]),
    [RequestStyle.Vectors]: leased([HOST, 1000], [HOST + 2 ** 20, 4096]),
  };
  for (const [style, { list, hold }] of Object.entries(lists)) {
    const request = new RequestIterator(rig.device, kernel);
    assert.ok(request.start(list, Bidirectional));
    assert.deepEqual([request.style, list.mappings > 0], [style, true]);
    while (request.next());
    void request.unmap();
    kernel.run();
    assert.deepEqual([hold.mappings, list.mappings], [0, 0], style);
  }
  rig.dispose();
});

test('vectors of a request taken back half-way are refused, and what was mapped is unmapped', () => {
  const rig = new IommuDriverRig();
  const { list, hold } = leased([HOST, 1000], [HOST + 2 ** 20, 4096]);
  const request = new RequestIterator(rig.device, rig.host.kernel);
  assert.ok(request.start(list, Bidirectional) && request.next());
  hold.isRevoked = true;
  assert.equal(request.next(), false);
  assert.equal(request.refusal?.refused, 'ENODEV');
  void request.unmap();
  rig.host.kernel.run();
  assert.deepEqual([hold.mappings, rig.device.liveMappings], [0, 0]);
  rig.dispose();
});

test('vectors of a request are no longer than the device can map', () => {
  const rig = new BounceRig();
  const { device, kernel } = rig;
  const request = new RequestIterator(device, kernel);
  assert.ok(request.start(PhyRangeList.of(offsetBy(HIGH, 512), 300_000), FromDevice));
  const lengths: number[] = [];
  while (request.next()) lengths.push(request.length);
  assert.equal(request.refusal, null);
  assert.ok(Math.max(...lengths) <= device.maxRangeBytes, `${lengths}`);
  assert.equal(
    lengths.reduce((sum, length) => sum + length, 0),
    300_000,
  );
  void request.unmap();
  assert.equal(rig.pool.usedSlots, 0);
});

test('parts of one link end the count of their list with the last', () => {
  const rig = new IommuDriverRig();
  const { list, hold } = leased([HOST, 16384]);
  const state = new IovaState(rig.device);
  assert.ok(state.tryAlloc(HOST, 16384));
  assert.equal(state.link(HOST, 0, 16384, Bidirectional, 0, list), null);
  state.sync(0, 16384);
  void state.unlink(4096, 4096);
  void state.unlink(0, 4096);
  rig.host.kernel.run();
  assert.equal(hold.mappings, 1);
  void state.unlink(8192, 8192);
  assert.equal(hold.mappings, 1);
  rig.host.kernel.run();
  assert.equal(hold.mappings, 0);
  state.free();
  rig.dispose();
});

test('without an IOMMU requests ask and count as well', () => {
  const rig = new IommuDriverRig();
  const { kernel } = rig.host;
  const device = new DirectProvider({ kernel, view: new FakeView(threePorts()) }).device(CLIENT);
  const { list, hold } = leased([HOST, 4096], [HOST + 2 ** 20, 4096]);
  const request = new RequestIterator(device, kernel);
  assert.ok(request.start(list, FromDevice));
  while (request.next());
  assert.equal(device.liveMappings, 2);
  assert.ok(request.unmap().done);
  assert.deepEqual([hold.mappings, device.liveMappings], [0, 0]);
  rig.dispose();
});
