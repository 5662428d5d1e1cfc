/**
 * Peer memory and pinning as a machine offers them: published pools found by distance, pinned pages counted.
 * [P2PDMA]
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { machine } from '#emu/host/machine.ts';
import { pcieSwitch } from '#emu/host/machine-spec.ts';
import { AddressSpace } from '#emu/host/memory/address-space.ts';
import { pinUserPages, unpinUserPages } from '#emu/host/memory/pinning.ts';
import { wasRefused } from '#emu/host/memory/refusal.ts';
import { PeerPool } from '#emu/host/peer/peer-pool.ts';
import { plainDevice } from '#test/support/plain-device.ts';

test('the nearest published pool is that below the same switch', () => {
  const below = ['a', 'near'].map((name) => ({ device: plainDevice(name) }));
  const built = machine({
    rootPorts: [{ device: pcieSwitch({ ports: below }) }, { device: plainDevice('far') }],
  }).build();
  built.boot();
  built.kernel.run();
  const [near, far, client] = ['near', 'far', 'a'].map((name) => built.function(name).bdf);
  for (const owner of [far!, near!]) {
    assert.ok(built.peerMemory.addResource(owner, 0) instanceof PeerPool, 'a pool');
    built.peerMemory.publish(owner, true);
  }
  assert.equal(built.peerMemory.findNearest([client!])?.owner, near);
  built.dispose();
});

test('pins of a machine are counted until they end', () => {
  const built = machine({ rootPorts: [{ device: plainDevice('a') }] }).build();
  const space = new AddressSpace(built);
  const at = space.mapAnonymous(64 * 1024);
  const list = pinUserPages(space, at, 10_000, { write: true });
  assert.ok(!wasRefused(list), 'pinned');
  assert.equal(built.pins.pinnedBytes, 10_000);
  unpinUserPages(space, list);
  assert.equal(built.pins.live.length, 0);
  built.dispose();
});
