/** The digest: stable, and different for anything that differs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dmaAddr } from '#emu/base/units.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { pattern, smallFabric } from '#test/support/small-fabric.ts';

interface Change {
  readonly seed?: number;
  readonly address?: number;
  readonly size?: number;
  readonly waitPs?: number;
  readonly flip?: number;
}

function digest({ seed = 1, address = 64, size = 1000, waitPs = 0, flip = -1 }: Change): string {
  const one = smallFabric();
  const [a, b] = one.endpoints;
  pattern(a!.memory, 0, 4096, seed);
  if (flip >= 0) a!.memory.setU8(flip, a!.memory.getU8(flip) ^ 1);
  one.kernel.runUntil(waitPs);
  a!.endpoint.write(dmaAddr(b!.bar + address), size, a!.memory, 0, Purpose.Data, null, 0);
  one.kernel.run();
  const { digest: hash } = one.fabric.traceHash;
  one.dispose();
  return hash;
}

test('16 hex digits, the same for the same run', () => {
  assert.match(digest({}), /^[0-9a-f]{16}$/);
  assert.equal(digest({}), digest({}));
});

test('any bit of payload, the address, the size and the time all change it', () => {
  const seen = new Set([digest({})]);
  const changes: Change[] = [{ address: 68 }, { size: 1004 }, { waitPs: 1 }, { seed: 2 }];
  for (let at = 0; at < 1000; at += 7) changes.push({ flip: at });
  for (const change of changes) seen.add(digest(change));
  assert.equal(seen.size, changes.length + 1);
});

test('the digest outlives its fabric, whoever gets the memory then', () => {
  const one = smallFabric();
  const [a, b] = one.endpoints;
  pattern(a!.memory, 0, 4096);
  a!.endpoint.write(b!.bar, 4096, a!.memory, 0, Purpose.Data, null, 0);
  one.kernel.run();
  const before = one.fabric.traceHash.digest;
  one.dispose();
  const other = smallFabric();
  pattern(other.host, 0x8000_0000, 4096);
  assert.equal(one.fabric.traceHash.digest, before);
});
