/** Reads whose completion is lost: the timeout, the quarantine of the tag, and what happens without it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DevCtl2, Pcie } from '#emu/pcie/config-registers.ts';
import { DmaStatus, Purpose } from '#emu/pcie/dma-status.ts';
import type { Port } from '#emu/pcie/port.ts';
import { TlpKind } from '#emu/pcie/tlp.ts';
import {
  bytesOf,
  Outcomes,
  pattern,
  type SmallFabric,
  smallFabric,
} from '#test/support/small-fabric.ts';

const { Data } = Purpose;
const MS = 1e9;

/** Holds back the next completion that reaches `port`; the function returned lets it through. */
function holdCompletion(port: Port): () => void {
  const { owner } = port;
  const receive = owner.receive.bind(owner);
  let release = (): void => {};
  owner.receive = (ingress, tlp) => {
    if (tlp.kind !== TlpKind.CplD) return receive(ingress, tlp);
    owner.receive = receive;
    release = () => receive(ingress, tlp);
  };
  return () => release();
}

function timeoutOf(one: SmallFabric, code: number): void {
  const { config } = one.endpoints[0]!.endpoint;
  const at = config.capability(0x10) + Pcie.DevCtl2;
  config.write(at, 2, DevCtl2.TimeoutValue.put(config.read(at, 2), code));
}

test('a lost completion ends its transfer with Timeout, in the range that software chose', () => {
  for (const [code, latest] of [
    [0, 50 * MS],
    [1, 0.1 * MS],
    [2, 10 * MS],
  ] as const) {
    const one = smallFabric();
    const [a, b] = one.endpoints;
    timeoutOf(one, code);
    holdCompletion(a!.endpoint.port);
    const client = new Outcomes();
    let endedAt = 0;
    client.dmaDone = (status, arg) => {
      endedAt = one.kernel.now;
      client.ended.push({ status, arg });
    };
    a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, client, 3);
    one.kernel.run();
    assert.deepEqual(client.ended, [{ status: DmaStatus.Timeout, arg: 3 }]);
    assert.equal(endedAt, latest);
    assert.equal(one.fabric.errors.get('ep0 completion-timeout'), 1);
  }
});

test('with timeouts disabled a lost completion leaves the transfer open', () => {
  const one = smallFabric();
  const [a, b] = one.endpoints;
  const { config } = a!.endpoint;
  config.write(config.capability(0x10) + Pcie.DevCtl2, 2, DevCtl2.TimeoutDisable.put(0, 1));
  holdCompletion(a!.endpoint.port);
  const client = new Outcomes();
  a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, client, 3);
  one.kernel.run();
  assert.deepEqual(client.ended, []);
  assert.equal(a!.endpoint.outstandingReads, 1);
});

/** A read is lost, a second one goes out, and the late data of the first arrives before the second's. */
function lateCompletion(tagQuarantine: boolean) {
  const one = smallFabric({ endpoint: { tagQuarantine, tags: 32 } });
  const [a, b] = one.endpoints;
  timeoutOf(one, 1);
  pattern(b!.memory, 0, 4096);
  const client = new Outcomes();
  const letThrough = holdCompletion(a!.endpoint.port);
  a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, client, 0);
  one.kernel.runUntil(0.1 * MS);
  a!.endpoint.read(b!.bar, 64, a!.memory, 4096, Data, client, 1);
  // What the second read should see differs from what the first was answered.
  b!.memory.fill(0, 64, 0xaa);
  one.kernel.runUntil(0.1 * MS + 1000);
  letThrough();
  one.kernel.run();
  return { one, got: bytesOf(a!.memory, 4096, 64), client };
}

test('quarantine: a late completion is unexpected, and the next transfer is right', () => {
  const { one, got, client } = lateCompletion(true);
  assert.ok(got.every((byte) => byte === 0xaa));
  assert.deepEqual(client.statuses, [DmaStatus.Timeout, DmaStatus.Ok]);
  assert.equal(one.fabric.errors.get('ep0 unexpected-completion'), 1);
});

test('without quarantine the late completion ends up in the next transfer', () => {
  const { got } = lateCompletion(false);
  assert.ok(
    got.some((byte) => byte !== 0xaa),
    'the corruption that quarantine prevents',
  );
});

test('with every tag in quarantine reads wait, and go on when it ends', () => {
  const one = smallFabric({ endpoint: { tags: 32 } });
  const [a, b] = one.endpoints;
  timeoutOf(one, 1);
  const { owner } = a!.endpoint.port;
  const receive = owner.receive.bind(owner);
  owner.receive = (ingress, tlp) => {
    ingress.release(tlp);
    one.fabric.tlps.give(tlp);
  };
  const client = new Outcomes();
  for (let i = 0; i < 32; i++) a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, client, i);
  one.kernel.runUntil(0.11 * MS);
  assert.equal(client.ended.length, 32);
  owner.receive = receive;
  a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, client, 99);
  one.kernel.runUntil(0.15 * MS);
  assert.equal(client.ended.length, 32, 'no tag is free');
  one.kernel.run();
  assert.deepEqual(client.ended.at(-1), { status: DmaStatus.Ok, arg: 99 });
});
