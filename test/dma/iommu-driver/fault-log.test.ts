/**
 * Faults as the IOMMU's driver reads them: contents, overflow, and none lost while it reads.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { physAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction } from '#emu/dma/mapping.ts';
import { Cause } from '#emu/iommu/spec.ts';
import { CLIENT, IommuDriverRig, NEAR } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const { ToDevice } = Direction;

test('faults are read from the queue with cause, requester and address', () => {
  const rig = new IommuDriverRig();
  const seen: number[] = [];
  rig.provider.faults.onFault = (fault) => seen.push(fault.address);
  const { ranges } = rig.map(PhyRangeList.of(HOST, 4096), ToDevice);
  rig.access(ranges.address(0) + 8, true);
  rig.access(0x7777, false);
  rig.host.kernel.run();
  rig.access(0x8888, false, NEAR);
  rig.host.kernel.run();
  assert.deepEqual(
    rig.provider.faults.faults.map(({ cause, requester, address, isWrite }) => [
      cause,
      requester,
      address,
      isWrite,
    ]),
    [
      [Cause.WritePageFault, CLIENT, ranges.address(0) + 8, true],
      [Cause.ReadPageFault, CLIENT, 0x7777, false],
      [Cause.DdtEntryNotValid, NEAR, 0x8888, false],
    ],
  );
  assert.deepEqual(seen, [ranges.address(0) + 8, 0x7777, 0x8888]);
  assert.equal(rig.provider.faults.count, 3);
});

test('a flood of faults overflows the queue, is counted, and does not stop later ones', () => {
  const rig = new IommuDriverRig();
  for (let i = 0; i < 500; i++) rig.access(0x1000 * i);
  rig.host.kernel.run();
  assert.equal(rig.provider.faults.count, 127);
  assert.equal(rig.provider.faults.overflows, 1);
  for (let i = 0; i < 400; i++) {
    rig.access(0x1000 * i);
    rig.host.kernel.run();
  }
  assert.equal(rig.provider.faults.count, 527);
  assert.equal(rig.provider.faults.faults.length, 256);
});

test('faults that come while the driver reads are read too', () => {
  const rig = new IommuDriverRig();
  const { kernel } = rig.host;
  for (let i = 0; i < 200; i++) {
    rig.access(0x1000);
    kernel.runUntil(kernel.now + 13_000 * (i % 17));
  }
  kernel.run();
  assert.equal(rig.provider.faults.count, 200);
});
