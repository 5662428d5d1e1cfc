/**
 * Pins and leases under real mappings: what is pinned stays pinned while mapped, and what was revoked is not mapped
 * any more.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { unpinUserPages } from '#emu/host/memory/pinning.ts';
import {
  after,
  Device,
  GPU_BAR,
  granted,
  MiB,
  PAGE,
  peerRig,
  peerView,
  pinned,
  userSpace,
} from '#test/support/user-rig.ts';

const { Bidirectional } = Direction;
const wrong = (pattern: RegExp) => (error: unknown) =>
  error instanceof EmuError && error.code === 'CHECKER' && pattern.test(error.message);

function map(device: DmaDevice, list: PhyRangeList): DmaMapping {
  const result = device.map(list, Bidirectional);
  if (isRefusal(result)) return assert.fail(result.reason);
  return result;
}

test('a pinned list is unpinned after its last mapping, and not mapped after that', () => {
  const { kernel } = peerRig();
  const device = new DirectProvider({ kernel, view: peerView() }).device(Device.nic);
  const space = userSpace();
  const user = granted(space.mapAnonymous(4 * PAGE));
  const list = pinned(space, user, 2 * PAGE, { write: true });
  const mappings = [map(device, list), map(device, list.slice(100, 200))];
  assert.equal(list.hold?.mappings, 2);
  for (const mapping of mappings) {
    assert.throws(
      () => unpinUserPages(space, list),
      wrong(/^unpin of a list with \d mappings? not yet/),
    );
    device.unmap(mapping);
  }
  const part = list.slice(0, PAGE);
  assert.throws(() => unpinUserPages(space, part), wrong(/^unpin of a part/));
  unpinUserPages(space, list);
  assert.throws(() => device.map(list, Bidirectional), wrong(/not pinned any more/));
  assert.throws(() => device.map(part, Bidirectional), wrong(/not pinned any more/));
  assert.equal(device.liveMappings, 0);
  const other = pinned(space, after(user, 2 * PAGE), PAGE);
  other.free();
  assert.throws(() => unpinUserPages(space, other), wrong(/changed from/));
});

test('a revoked lease is not mapped, and its revoke waits for the mappings that are left', () => {
  const { kernel, peers } = peerRig();
  const base = { ...peerView(), windows: [], hostBridges: [] };
  const inBar = (at: PhysAddr): boolean => at >= GPU_BAR && at < GPU_BAR + 16 * MiB;
  const gpu = base.functions.find(({ bdf }) => bdf === Device.gpu)!;
  const [bar] = gpu.bars;
  const view = { ...base, windows: [bar!], functionAt: (at: PhysAddr) => (inBar(at) ? gpu : null) };
  const device = new DirectProvider({ kernel, view }).device(Device.nic);
  const lease = granted(
    granted(peers.provider(Device.gpu, 0)).lease([{ offset: 0, sizeBytes: PAGE }], {
      importer: 'nic0',
      peerMemory: true,
      onRevoke: () => {},
    }),
  );
  const mapping = map(device, lease.list);
  assert.equal(lease.mappings, 1);
  const revoked = lease.revoke();
  const refused = device.map(lease.list, Bidirectional);
  assert.ok(isRefusal(refused));
  assert.equal(refused.refused, 'ENODEV');
  assert.equal(revoked.done, false);
  device.unmap(mapping);
  assert.equal(revoked.done, true);
});
