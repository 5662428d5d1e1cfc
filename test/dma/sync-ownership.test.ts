/**
 * Whose turn it is, wrong uses of sync and of parts, the list's lifetime while it is mapped, and what stands behind
 * its memory; with providers that copy nothing.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { physAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { ListHold } from '#emu/dma/lists/list-hold.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal, type MapRefusal } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import { CLIENT, FakeView, IommuDriverRig, NEAR, threePorts } from '#test/support/dma-rig.ts';

const HOST = physAddr(0x9000_0000);
const { ToDevice, Bidirectional } = Direction;

const wrong = (pattern: RegExp) => (error: unknown) =>
  error instanceof EmuError && error.code === 'CHECKER' && pattern.test(error.message);

function direct(): { device: DmaDevice; other: DmaDevice } {
  const provider = new DirectProvider({ kernel: new Kernel(), view: new FakeView(threePorts()) });
  return { device: provider.device(CLIENT), other: provider.device(NEAR) };
}

function map(device: DmaDevice, list: PhyRangeList): DmaMapping {
  const result = device.map(list, Bidirectional);
  if (isRefusal(result)) return assert.fail(result.reason);
  return result;
}

/** A hold that notes what it is told. */
class FakeHold implements ListHold {
  mappings = 0;
  isRevoked = false;
  readonly isWritable = true;
  readonly endsStrictly = false;
  answer: MapRefusal | null = null;
  admit(): MapRefusal | null {
    return this.answer;
  }
  mapped(): void {
    this.mappings++;
  }
  unmapped(): void {
    this.mappings--;
  }
}

test('bytes belong to the device but for those synced for the CPU', () => {
  const { device } = direct();
  const mapping = map(device, PhyRangeList.of(HOST, 1000));
  assert.equal(device.ownerOf(mapping), 'device');
  device.sync(mapping, 'cpu', { offsetBytes: 100, sizeBytes: 200 });
  assert.equal(device.ownerOf(mapping), null);
  assert.equal(device.ownerOf(mapping, { offsetBytes: 100, sizeBytes: 200 }), 'cpu');
  assert.equal(device.ownerOf(mapping, { offsetBytes: 0, sizeBytes: 100 }), 'device');
  device.sync(mapping, 'device');
  assert.equal(device.ownerOf(mapping), 'device');
  device.sync(mapping, 'cpu');
  assert.equal(device.ownerOf(mapping), 'cpu');
});

test('sync is there for every provider, and moves nothing where nothing was copied', () => {
  const rig = new IommuDriverRig();
  const mapping = rig.map(PhyRangeList.of(HOST, 8192), ToDevice);
  assert.equal(mapping.needsSync, false);
  rig.device.sync(mapping, 'cpu');
  rig.device.sync(mapping, 'device');
  assert.equal(rig.device.ownerOf(mapping), 'device');
  rig.device.unmap(mapping).onDone(() => {});
  rig.host.kernel.run();
  rig.dispose();
});

test('sync of what is not mapped is caught', () => {
  const { device, other } = direct();
  const mapping = map(device, PhyRangeList.of(HOST, 1000));
  for (const [offsetBytes, sizeBytes] of [
    [-1, 2],
    [0, 1001],
    [1000, 1],
    [0, 0],
    [0.5, 1],
    [0, Number.NaN],
  ] as const) {
    const part = { offsetBytes, sizeBytes };
    assert.throws(() => device.sync(mapping, 'cpu', part), wrong(/^03:00.0: sync for the cpu of /));
  }
  assert.throws(() => other.sync(mapping, 'device'), wrong(/^04:00.0: sync .* did not make/));
  device.unmap(mapping);
  assert.throws(() => device.sync(mapping, 'cpu'), wrong(/not live any more/));
  assert.throws(() => device.ownerOf(mapping), wrong(/not live any more/));
});

test('a mapping ends in parts, each byte once, and with the last part', () => {
  const { device, other } = direct();
  const list = PhyRangeList.of(HOST, 1000);
  const mapping = map(device, list);
  const part = (offsetBytes: number, sizeBytes: number) => ({ offsetBytes, sizeBytes });
  device.unmapPart(mapping, part(0, 100));
  assert.throws(() => device.unmapPart(mapping, part(50, 100)), wrong(/bytes unmapped before/));
  assert.throws(() => device.sync(mapping, 'cpu'), wrong(/bytes unmapped before/));
  assert.throws(() => device.unmapPart(mapping, part(900, 101)), wrong(/of a mapping of 1000/));
  assert.throws(() => other.unmapPart(mapping, part(100, 1)), wrong(/did not make/));
  device.sync(mapping, 'cpu', part(100, 900));
  assert.equal(device.liveMappings, 1);
  device.unmapPart(mapping, part(200, 800));
  assert.ok(device.unmapPart(mapping, part(100, 100)).done);
  assert.deepEqual([device.liveMappings, list.mappings], [0, 0]);
  assert.throws(() => device.unmap(mapping), wrong(/not live any more/));
});

test('where mappings end whole, a part is refused and nothing happens', () => {
  const rig = new IommuDriverRig();
  const mapping = rig.map(PhyRangeList.of(HOST, 8192), ToDevice);
  const part = { offsetBytes: 0, sizeBytes: 4096 };
  assert.throws(
    () => rig.device.unmapPart(mapping, part),
    (error) => error instanceof EmuError && error.code === 'USAGE',
  );
  assert.equal(rig.device.liveMappings, 1);
  rig.device.unmap(mapping).onDone(() => {});
  rig.host.kernel.run();
  rig.dispose();
});

test('a mapped list is neither changed nor freed until its last unmap has completed', () => {
  const rig = new IommuDriverRig();
  const list = PhyRangeList.of(HOST, 8192);
  const first = rig.map(list, ToDevice);
  const second = rig.map(list, Bidirectional);
  assert.equal(list.mappings, 2);
  assert.throws(() => list.append(HOST, 1), wrong(/^append to .* with 2 mappings not yet/));
  assert.throws(() => list.appendApart(HOST, 1), wrong(/^append to /));
  assert.throws(() => list.free(), wrong(/^free of /));
  rig.device.unmap(first).onDone(() => {});
  const done = rig.device.unmap(second);
  assert.throws(() => list.free(), wrong(/^free of /), 'the device still reaches it');
  rig.host.kernel.run();
  assert.ok(done.done);
  list.append(HOST, 1).free();
  assert.deepEqual([list.count, list.sizeBytes, list.mappings], [0, 0, 0]);
  rig.dispose();
});

test('a mapping that shares the storage of its list keeps it when the list is freed afterwards', () => {
  const { device } = direct();
  const list = PhyRangeList.of(HOST, 8192);
  const { ranges } = map(device, list);
  const mapping = map(device, list.slice(0, 100));
  list.mapped();
  list.unmapped();
  assert.throws(() => list.free(), wrong(/with a mapping not yet unmapped/));
  assert.equal(ranges.sizeBytes, 8192);
  device.unmap(mapping);
});

test('what stands behind a list is asked before and told after, also for parts of it', () => {
  const rig = new IommuDriverRig();
  const hold = new FakeHold();
  const list = PhyRangeList.of(HOST, 8192);
  list.hold = hold;
  const whole = rig.map(list, ToDevice);
  const slice = rig.map(list.slice(4096, 100), ToDevice);
  assert.equal(hold.mappings, 2);
  hold.answer = { refused: 'ENODEV', reason: 'gone' };
  assert.deepEqual(rig.device.map(list, ToDevice), hold.answer);
  assert.deepEqual(rig.device.map(list.coalesced(), ToDevice), hold.answer);
  assert.equal(hold.mappings, 2);
  rig.device.unmap(whole).onDone(() => {});
  rig.device.unmap(slice).onDone(() => {});
  assert.equal(hold.mappings, 2, 'the device may still reach it');
  rig.host.kernel.run();
  assert.equal(hold.mappings, 0);
  rig.dispose();
});

test('a refused mapping counts nowhere', () => {
  const { device } = direct();
  const hold = new FakeHold();
  const list = PhyRangeList.of(physAddr(2 ** 40 + 3 * 2 ** 34), 1);
  list.hold = hold;
  const result = device.map(list, ToDevice);
  assert.ok(isRefusal(result));
  assert.deepEqual([hold.mappings, list.mappings, device.liveMappings], [0, 0, 0]);
});
