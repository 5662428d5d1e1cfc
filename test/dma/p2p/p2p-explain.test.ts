/**
 * Hops of peer requests over a topology written down. @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Bdf, bdf, formatBdf } from '#emu/base/units.ts';
import { MapType } from '#emu/dma/mapping.ts';
import { explainP2p } from '#emu/dma/p2p/p2p-explain.ts';
import { FakeView } from '#test/support/dma-rig.ts';

const [ROOT, UP, DOWN_A, DOWN_B] = [bdf(0, 1, 0), bdf(1, 0, 0), bdf(2, 0, 0), bdf(2, 1, 0)];
const [A, B, OTHER, C] = [bdf(3, 0, 0), bdf(4, 0, 0), bdf(0, 2, 0), bdf(9, 0, 0)];
const RR = 0x04;

function view(acs: readonly Bdf[] = []): FakeView {
  const made = new FakeView(
    [
      { bdf: ROOT },
      { bdf: UP, parent: ROOT },
      { bdf: DOWN_A, parent: UP },
      { bdf: DOWN_B, parent: UP },
      { bdf: A, parent: DOWN_A },
      { bdf: B, parent: DOWN_B },
      { bdf: OTHER },
      { bdf: C, parent: OTHER },
    ].map((fn) => (acs.includes(fn.bdf) ? { ...fn, acs: RR } : fn)),
  );
  made.hostBridges = [{ index: 0, bdf: bdf(0, 0, 0), vendorId: 0x8086, deviceId: 0x29c0 }];
  return made;
}

const hopsOf = ({ hops }: ReturnType<typeof explainP2p>): string[] =>
  hops.map((hop) => `${hop.role} ${formatBdf(hop.bdf)}${hop.isRedirect ? '!' : ''}`);

test('a direct way turns in the nearest common bridge', () => {
  const found = explainP2p(view(), B, A, []);
  assert.equal(found.common, UP);
  assert.equal(found.route.type, MapType.BusAddress);
  assert.deepEqual(hopsOf(found), [
    'requester 03:00.0',
    'up 02:00.0',
    'turn 01:00.0',
    'down 02:01.0',
    'provider 04:00.0',
  ]);
});

test('a redirect anywhere below the common bridge leads through the host bridge', () => {
  // The root port redirects too, but lies above.
  const found = explainP2p(view([DOWN_B, ROOT]), B, A, []);
  assert.equal(found.route.type, MapType.NotSupported);
  assert.equal(found.common, UP);
  assert.deepEqual(hopsOf(found), [
    'requester 03:00.0',
    'up 02:00.0',
    'up 01:00.0',
    'up 00:01.0',
    'host bridge 00:00.0',
    'down 00:01.0',
    'down 01:00.0',
    'down 02:01.0!',
    'provider 04:00.0',
  ]);
  assert.deepEqual(
    found.hops.filter(({ isBelowCommon }) => isBelowCommon).map(({ bdf: id }) => id),
    [A, DOWN_A, UP, UP, DOWN_B, B],
  );
});

test('without a common bridge no redirect counts', () => {
  const found = explainP2p(view([ROOT, OTHER, DOWN_A]), C, A, undefined, {
    vendor: 'AMD',
    family: 0x19,
  });
  assert.deepEqual([found.common, found.route.type], [null, MapType.ThruHostBridge]);
  assert.ok(found.hops.every(({ isRedirect, isBelowCommon }) => !isRedirect && !isBelowCommon));
  assert.equal(found.hostBridges.length, 1);
  assert.equal(found.listed.allowed, true);
});
