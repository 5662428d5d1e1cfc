/** Reads whose completion is lost: the timeout, the quarantine of the tag, and what happens without it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dmaAddr } from '#emu/base/units.ts';
import { DevCtl2, Header, Pcie } from '#emu/pcie/config/config-registers.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { RequestTimeouts } from '#emu/pcie/root/request-timeouts.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { type Tlp, TlpFlag, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { Kernel } from '#emu/sim/kernel.ts';
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

/** A read of 64 bytes whose completion is changed before it is taken. */
function changedCompletion(change: (tlp: Tlp) => void) {
  const one = smallFabric();
  const [a, b] = one.endpoints;
  const { owner } = a!.endpoint.port;
  const receive = owner.receive.bind(owner);
  owner.receive = (ingress, tlp) => {
    if (tlp.kind === TlpKind.CplD) change(tlp);
    receive(ingress, tlp);
  };
  pattern(b!.memory, 0, 4096);
  const client = new Outcomes();
  a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, client, 0);
  one.kernel.run();
  assert.ok(
    bytesOf(a!.memory, 0, 68).every((byte) => byte === 0),
    'bytes of it were taken',
  );
  return { statuses: client.statuses, errors: [...one.fabric.errors.keys()] };
}

test('a completion that is too long, of another function or of another tag is unexpected', () => {
  const changes: readonly ((tlp: Tlp) => void)[] = [
    (tlp) => {
      tlp.sizeBytes += 4;
    },
    (tlp) => {
      tlp.targetId ^= 1;
    },
    (tlp) => {
      tlp.tag ^= 1;
    },
  ];
  for (const change of changes) {
    assert.deepEqual(changedCompletion(change), {
      statuses: [DmaStatus.Timeout],
      errors: ['ep0 unexpected-completion', 'ep0 completion-timeout'],
    });
  }
});

test('a poisoned completion ends its read however long it says that it is', () => {
  const got = changedCompletion((tlp) => {
    tlp.sizeBytes += 4;
    tlp.flags |= TlpFlag.EP;
  });
  assert.deepEqual(got, { statuses: [DmaStatus.Poisoned], errors: ['ep0 poisoned-tlp'] });
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

test('a timeout that changes while reads are on their way is the one of the reads to come', () => {
  const one = smallFabric({ endpoint: { tags: 32 } });
  const [a, b] = one.endpoints;
  pattern(b!.memory, 0, 4096);
  const client = new Outcomes();
  const read = (from: number, to: number) =>
    a!.endpoint.read(dmaAddr(b!.bar + from), 64, a!.memory, to, Data, client, to);
  const letThrough = holdCompletion(a!.endpoint.port);
  read(0, 0);
  one.kernel.runUntil(0.01 * MS);
  timeoutOf(one, 1);
  holdCompletion(a!.endpoint.port);
  read(64, 64);
  one.kernel.runUntil(0.05 * MS);
  letThrough();
  one.kernel.run();
  assert.deepEqual(client.ended, [
    { status: DmaStatus.Ok, arg: 0 },
    { status: DmaStatus.Timeout, arg: 64 },
  ]);
  // Each tag is free once.
  read(128, 128);
  read(192, 192);
  one.kernel.run();
  assert.deepEqual(client.statuses.slice(2), [DmaStatus.Ok, DmaStatus.Ok]);
  assert.deepEqual(bytesOf(a!.memory, 128, 128), bytesOf(b!.memory, 128, 128));
});

test('a reset ends timeouts and quarantines, so that no tag is freed twice', () => {
  const one = smallFabric({ endpoint: { tags: 32 } });
  const [a, b] = one.endpoints;
  const { endpoint, memory } = a!;
  pattern(b!.memory, 0, 4096);
  timeoutOf(one, 1);
  const client = new Outcomes();
  const { config, id } = endpoint;
  const read = (at: number) =>
    endpoint.read(dmaAddr(b!.bar + at), 64, memory, at, Data, client, at);
  for (const waitPs of [0.05 * MS, 0.15 * MS]) {
    holdCompletion(endpoint.port);
    read(0);
    one.kernel.runUntil(one.kernel.now + waitPs);
    endpoint.reset();
    client.ended.length = 0;
    config.write(Header.Command, 2, 6);
    endpoint.id = id;
    one.kernel.run();
    read(128);
    read(192);
    one.kernel.run();
    assert.deepEqual(client.statuses, [DmaStatus.Ok, DmaStatus.Ok]);
    assert.deepEqual(bytesOf(memory, 128, 128), bytesOf(b!.memory, 128, 128));
  }
});

test('a tag of the CPU expires after its own time, is free as long again later, and is never told once answered', () => {
  const kernel = new Kernel({ seed: 1 });
  const told: string[] = [];
  const tell = (what: string) => (tag: number) => told.push(`${kernel.now} ${what} ${tag}`);
  const requests = { expired: tell('expired'), freed: tell('freed') };
  const timeouts = new RequestTimeouts(kernel, 'cpu', requests, 256);
  for (let start = 0; start < 2; start++) {
    told.length = 0;
    const from = kernel.now;
    for (const [tag, delayPs] of [1000, 300, 0, 1000].entries()) timeouts.start(tag, delayPs);
    timeouts.stop(3);
    kernel.run();
    const expected = ['300 expired 1', '600 freed 1', '1000 expired 0', '2000 freed 0'];
    assert.deepEqual(
      told,
      expected.map((line) => line.replace(/^\d+/, (ps) => `${from + Number(ps)}`)),
    );
  }
});
