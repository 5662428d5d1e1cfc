/**
 * The scatterlist-only provider itself: what it fills, what it refuses and what it catches; and what is left after
 * the memory for page tables has run out.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import { DmaFlag } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { type ScatterLayout, ScatterLayouts } from '#emu/dma/lists/scatter-layout.ts';
import { ScatterList } from '#emu/dma/lists/scatter-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { LegacyDomain, LegacyProvider } from '#emu/dma/providers/legacy-provider.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import {
  BAR_SIZE,
  BUS_OFFSET,
  CLIENT,
  exceptBanned,
  FakeView,
  IommuDriverRig,
  PEER,
  rangesOf,
  threePorts,
} from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const { ToDevice, FromDevice } = Direction;
const isMisuse = (error: unknown): boolean => error instanceof EmuError && error.code === 'CHECKER';

const { sg24, sg32 } = ScatterLayouts;

function direct(): { domain: LegacyDomain; kernel: Kernel } {
  const kernel = new Kernel();
  const view = new FakeView(threePorts());
  const provider = new DirectProvider({ kernel, view, hostBridgeAllowed: exceptBanned });
  const { domain } = provider.device(CLIENT);
  return { domain: new LegacyDomain(domain, () => kernel.pending('unmap')), kernel };
}

const scatterOf = (list: PhyRangeList, layout?: ScatterLayout): ScatterList =>
  ScatterList.from(list, layout);

test('the device side is filled, the CPU side stays, and unmapping empties the device side', () => {
  const { domain, kernel } = direct();
  const list = PhyRangeList.of(HOST, 5000).append(PEER.near, 4096);
  const scatter = scatterOf(list);
  assert.equal(domain.mapScatterlist(scatter, ToDevice), null);
  assert.deepEqual(rangesOf(scatter.dmaList()), [
    { address: HOST, length: 5000, flags: 0 },
    { address: PEER.near + BUS_OFFSET, length: 4096, flags: DmaFlag.BusAddress },
  ]);
  assert.deepEqual(rangesOf(scatter.cpuList()), rangesOf(list));
  const done = kernel.pending<void>('unmap');
  domain.unmapScatterlist(scatter, ToDevice, done);
  assert.ok(done.done);
  assert.equal(scatter.mappedCount, 0);
  assert.deepEqual(rangesOf(scatter.cpuList()), rangesOf(list));
});

test('wrong use of a scatterlist is caught', () => {
  const { domain, kernel } = direct();
  const scatter = scatterOf(PhyRangeList.of(HOST, 4096));
  const done = kernel.pending<void>('unmap');
  assert.throws(() => domain.unmapScatterlist(scatter, ToDevice, done), isMisuse);
  domain.mapScatterlist(scatter, ToDevice);
  assert.throws(() => domain.mapScatterlist(scatter, ToDevice), isMisuse);
  assert.throws(() => domain.unmapScatterlist(scatter, FromDevice, done), isMisuse);
  domain.unmapScatterlist(scatter, ToDevice, done);
  assert.throws(() => domain.unmapScatterlist(scatter, ToDevice, done), isMisuse);
});

test('entries without room for what is to be said are refused, and nothing stays mapped', () => {
  const { domain, kernel } = direct();
  const plain = scatterOf(PhyRangeList.of(HOST, 4096), sg24);
  assert.equal(domain.mapScatterlist(plain, ToDevice), null);
  const overTwoBars = PhyRangeList.of(offsetBy(PEER.near, BAR_SIZE - 1), 2);
  for (const [list, layout] of [
    [PhyRangeList.of(PEER.near, 4096), sg24],
    [overTwoBars, sg32],
  ] as const) {
    const scatter = scatterOf(list, layout);
    const result = domain.mapScatterlist(scatter, ToDevice);
    assert.equal(result?.refused, 'EIO');
    assert.equal(scatter.mappedCount, 0);
    const done = kernel.pending<void>('unmap');
    assert.throws(() => domain.unmapScatterlist(scatter, ToDevice, done), isMisuse);
    done.complete();
  }
  assert.deepEqual(kernel.outstanding(), []);
});

test('ranges that an IOMMU joins have no room in short entries', () => {
  const rig = new IommuDriverRig();
  const domain = new LegacyDomain(rig.domain, () => rig.host.kernel.pending('unmap'));
  const list = PhyRangeList.of(HOST, 4096).appendApart(offsetBy(HOST, 8192), 4096);
  assert.equal(domain.mapScatterlist(scatterOf(list, sg24), ToDevice)?.refused, 'EIO');
  rig.host.kernel.run();
  assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
  assert.deepEqual(rig.host.kernel.outstanding(), []);
  rig.dispose();
});

test('running out of memory for page tables leaves nothing', () => {
  const rig = new IommuDriverRig();
  const domain = new LegacyDomain(rig.domain, () => rig.host.kernel.pending('unmap'));
  const scatter = scatterOf(PhyRangeList.of(HOST, 4096));
  rig.host.budget = 1;
  assert.equal(domain.mapScatterlist(scatter, ToDevice)?.refused, 'ENOMEM');
  assert.deepEqual([scatter.mappedCount, rig.domain.iovas.usedBytes], [0, 0]);
  rig.host.budget = 100;
  assert.equal(domain.mapScatterlist(scatter, ToDevice), null);
  const done = rig.host.kernel.pending<void>('unmap');
  domain.unmapScatterlist(scatter, ToDevice, done);
  rig.host.kernel.run();
  assert.deepEqual([done.done, rig.domain.iovas.usedBytes, rig.domain.table.leaves], [true, 0, 0]);
  rig.dispose();
});

test('it starts what it stands on, and drivers reach it with lists', () => {
  const kernel = new Kernel();
  const view = new FakeView(threePorts());
  const addresses = new DirectProvider({ kernel, view });
  const legacy = new LegacyProvider({ kernel, view, addresses });
  assert.ok(kernel.spawn('start', legacy.start()).done);
  const device = legacy.device(CLIENT, { addressLimit: 2 ** 32 });
  const reached = device.map(PhyRangeList.of(physAddr(0x8000_0000), 4096), ToDevice);
  assert.ok(!isRefusal(reached));
  assert.equal(reached.ranges.address(0), 0x8000_0000);
  const beyond = device.map(PhyRangeList.of(HOST, 4096), ToDevice);
  assert.ok(isRefusal(beyond));
  assert.equal(beyond.refused, 'EIO');
  assert.equal(device.mapDoorbell(physAddr(0x2800_0000)), 0x2800_0000);
});
