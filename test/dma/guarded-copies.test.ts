/**
 * Copies behind an IOMMU at their edges: which of several copies a sync moves, and a pool for which there is no memory.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { IommuDriverRig, NEAR } from '#test/support/dma-rig.ts';
import { UntrustedRig } from '#test/support/untrusted-rig.ts';

const HOST = physAddr(2 ** 36);
const PAGE = 4096;
const { Bidirectional, FromDevice } = Direction;

test('a sync of part of a list moves the bytes of that part, in whichever copy they are', () => {
  const made = new UntrustedRig();
  const [first, second] = [offsetBy(HOST, 16), offsetBy(HOST, 2 * PAGE + 32)];
  made.fill(first, 100, 1);
  made.fill(second, 200, 2);
  const list = PhyRangeList.of(first, 100).appendApart(offsetBy(HOST, PAGE), PAGE);
  const mapping = made.device.map(list.appendApart(second, 200), Bidirectional);
  assert.ok(!isRefusal(mapping));
  made.fill(first, 100, 3);
  made.fill(second, 200, 4);
  const seen = (): (number | undefined)[] =>
    [0, 2].map((range) => {
      const bytes = made.deviceReads(mapping.ranges.address(range), 100) ?? new Uint8Array();
      assert.ok(
        bytes.every((byte) => byte === bytes[0]),
        'all of it alike',
      );
      return bytes[0];
    });
  assert.deepEqual(seen(), [1, 2]);
  made.device.sync(mapping, 'cpu');
  made.fill(first, 100, 3);
  made.fill(second, 200, 4);
  made.device.sync(mapping, 'device', { offsetBytes: 100 + PAGE, sizeBytes: 200 });
  assert.deepEqual(seen(), [1, 4]);
  made.device.sync(mapping, 'device', { offsetBytes: 0, sizeBytes: 100 });
  assert.deepEqual(seen(), [3, 4]);
  made.dispose();
});

/** An IOMMU whose pool, when it is asked for, is what `pool` throws. */
function withoutPool(error: Error) {
  const pool = (): never => {
    throw error;
  };
  const rig = new IommuDriverRig({}, { pool });
  return { rig, device: rig.provider.device(NEAR, {}, { isUntrusted: true }) };
}

test('no memory for a pool is a refusal, and only where a copy is needed', () => {
  const { rig, device } = withoutPool(new EmuError('NO_MEMORY', 'none is left'));
  const list = PhyRangeList.of(offsetBy(HOST, 16), 100);
  const answer = device.map(list, FromDevice);
  assert.ok(isRefusal(answer) && answer.refused === 'ENOMEM');
  assert.deepEqual([device.liveMappings, list.mappings], [0, 0]);
  const state = new IovaState(device);
  assert.ok(state.tryAlloc(offsetBy(HOST, 16), 100));
  assert.equal(state.link(offsetBy(HOST, 16), 0, 100, FromDevice)?.refused, 'ENOMEM');
  state.free();
  assert.ok(!isRefusal(device.map(PhyRangeList.of(HOST, PAGE), FromDevice)));
  rig.dispose();
});

test('any other error of the pool is not hidden', () => {
  const { rig, device } = withoutPool(new EmuError('INVARIANT', 'a broken pool'));
  const list = PhyRangeList.of(offsetBy(HOST, 16), 100);
  assert.throws(() => device.map(list, FromDevice), /a broken pool/);
  rig.dispose();
});
