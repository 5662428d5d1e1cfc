/** Reads that the root complex has taken over when the link to the peer goes down. [PCIE] 2.9.1 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dmaAddr } from '#emu/base/units.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { FAR, policed, transfer } from '#test/support/peer-rig.ts';
import { Outcomes } from '#test/support/small-fabric.ts';

test('they end as Unsupported Request at once, those under way and those that wait', () => {
  const one = policed({ splitReadBytes: 64 }, { peerReads: { entries: 3, tags: 4 } });
  const [near, second, far] = one.endpoints;
  const client = new Outcomes();
  for (const [i, { endpoint, memory }] of [near!, second!].entries()) {
    endpoint.read(dmaAddr(far!.bar + 9), 32_768, memory, 0, Purpose.Data, client, i);
  }
  one.kernel.runUntil(3_000_000);
  assert.ok(one.root.peerReadsInUse > 0, 'nothing under way');
  assert.equal(client.ended.length, 0);
  one.root.ports[FAR]!.linkDown();
  one.kernel.runUntil(30_000_000);
  assert.deepEqual(client.statuses, [DmaStatus.UnsupportedRequest, DmaStatus.UnsupportedRequest]);
  assert.deepEqual([one.root.peerReadsInUse, one.fabric.tlps.inUse], [0, 0]);
  // Nothing of them comes later, and the next one is refused on the way.
  assert.equal(transfer(one, false, far!.bar, 64), DmaStatus.UnsupportedRequest);
  assert.equal(client.ended.length, 2);
  assert.equal(one.fabric.errors.get('rc0.port1 completion-timeout'), undefined);
  one.dispose();
});
