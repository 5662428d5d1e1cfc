/**
 * A 512-byte read from peer to peer as traces of real machines have it: a root complex that asks by 64 bytes in its
 * own name, and a switch that forwards the request as it is. [PCIE] 1.3.1, 2.3.1.1
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { FAR, NEAR, transfer } from '#test/support/peer-rig.ts';
import { smallFabric } from '#test/support/small-fabric.ts';
import { Wire } from '#test/support/wire.ts';

const { MRd, CplD } = TlpKind;
const SIZE = 512;

test('through a root complex: 8 requests of 64 bytes with its own ID and tags, 2 completions of 256', () => {
  const one = smallFabric({ maxPayloadBytes: 256 });
  one.root.setPeerForwarding(NEAR, FAR, { splitReadBytes: 64 });
  const [a, , far] = one.endpoints;
  const wire = new Wire(one.fabric);
  assert.equal(transfer(one, false, far!.bar, SIZE), DmaStatus.Ok);
  const asked = wire.seen.filter(({ port, kind }) => port === 'ep0' && kind === MRd);
  assert.deepEqual(
    asked.map(({ sizeBytes }) => sizeBytes),
    [SIZE],
  );
  const pieces = wire.seen.filter(({ port, kind }) => port === 'rc0.port1' && kind === MRd);
  assert.deepEqual(
    pieces.map(({ address, sizeBytes }) => [address - far!.bar, sizeBytes]),
    Array.from({ length: 8 }, (_, i) => [64 * i, 64]),
  );
  const own = one.root.hosts.portId(one.root.ports[FAR]!);
  assert.ok(
    pieces.every(({ requester }) => requester === own),
    'not in its own name',
  );
  assert.equal(new Set(pieces.map(({ tag }) => tag)).size, 8);
  const answers = wire.seen.filter(({ port, kind }) => port === 'rc0.port0' && kind === CplD);
  assert.deepEqual(
    answers.map(({ sizeBytes, requester, tag }) => [sizeBytes, requester, tag]),
    Array.from({ length: 2 }, () => [256, a!.bus << 8, asked[0]!.tag]),
  );
});

test('through a switch: 1 request forwarded unchanged, 2 completions of 256', () => {
  const one = smallFabric({ maxPayloadBytes: 256 });
  const [a, b] = one.endpoints;
  const wire = new Wire(one.fabric);
  assert.equal(transfer(one, false, b!.bar, SIZE), DmaStatus.Ok);
  const [asked, ...more] = wire.seen.filter(({ kind }) => kind === MRd);
  assert.deepEqual(more, [{ ...asked, port: 'sw0.down1' }]);
  assert.deepEqual([asked?.requester, asked?.sizeBytes], [a!.bus << 8, SIZE]);
  const answers = wire.seen.filter(({ port, kind }) => port === 'sw0.down0' && kind === CplD);
  assert.deepEqual(
    answers.map(({ sizeBytes, requester, tag }) => [sizeBytes, requester, tag]),
    Array.from({ length: 2 }, () => [256, a!.bus << 8, asked!.tag]),
  );
  assert.ok(
    wire.seen.every(({ port }) => !port.startsWith('rc0') && port !== 'sw0.up'),
    'went up',
  );
});
