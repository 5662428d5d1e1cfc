/** Acknowledgements and skip ordered sets cost what the closed forms say; damaged TLPs cost time, never data. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DataLinkCounter, RETRAIN_PS } from '#emu/pcie/link/data-link.ts';
import { checkLink, type LinkSpec } from '#emu/pcie/link/link.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { BAR_BYTES, bytesOf, Outcomes, pattern, smallFabric } from '#test/support/small-fabric.ts';

const { Data } = Purpose;
const GEN3_X4: LinkSpec = { gen: 3, width: 4 };

/** GB/s of writes from the first endpoint to the second, with as many back at the same time or none. */
function writeRate(link: LinkSpec, bothWays: boolean): { rate: number; dllps: number } {
  const one = smallFabric({ link, maxPayloadBytes: 256 });
  const [a, b] = one.endpoints;
  a!.endpoint.write(b!.bar, BAR_BYTES, a!.memory, 0, Data, null, 0);
  if (bothWays) b!.endpoint.write(a!.bar, BAR_BYTES, b!.memory, 0, Data, null, 0);
  one.kernel.run();
  const dllps = a!.endpoint.port.wire.dataLink?.counters[DataLinkCounter.dllps] ?? 0;
  const rate = (BAR_BYTES * 1e3) / one.kernel.now;
  one.dispose();
  return { rate, dllps };
}

test('skip ordered sets slow a stream by their share', () => {
  const plain = writeRate(GEN3_X4, false).rate;
  const charged = writeRate({ ...GEN3_X4, overheads: true }, false).rate;
  assert.ok(Math.abs(charged / plain - 0.9973) < 0.0002, `${charged / plain}`);
});

test('acknowledgements cost the direction they travel: a stream both ways pays, one way does not', () => {
  const link = { ...GEN3_X4, overheads: true };
  const oneWay = writeRate(link, false);
  const both = writeRate(link, true);
  assert.equal(oneWay.dllps, 0, 'nothing came back');
  assert.ok(both.dllps > 1000);
  // 2 x (8 B / 4 lanes) in at most 214 symbol times, at TLP boundaries: close to 1.9 %.
  const lost = 1 - both.rate / oneWay.rate;
  assert.ok(lost > 0.012 && lost < 0.022, `${lost}`);
});

test('at a bit error rate of 1e-6 all data arrives, later', () => {
  const link: LinkSpec = { ...GEN3_X4, bitErrorRate: 1e-6 };
  const [clean, hit] = [GEN3_X4, link].map((spec) => {
    const one = smallFabric({ link: spec });
    const [a, b] = one.endpoints;
    const sent = pattern(a!.memory, 0, 500_000);
    const client = new Outcomes();
    a!.endpoint.write(b!.bar, 500_000, a!.memory, 0, Data, client, 0);
    one.kernel.run();
    a!.endpoint.read(b!.bar, 100_000, a!.memory, 600_000, Data, client, 1);
    one.kernel.run();
    assert.deepEqual(bytesOf(b!.memory, 0, 500_000), sent);
    assert.deepEqual(bytesOf(a!.memory, 600_000, 100_000), sent.subarray(0, 100_000));
    assert.deepEqual(client.statuses.sort(), [0, 0]);
    const { port } = a!.endpoint;
    const bad = port.wire.dataLink?.counters[DataLinkCounter.badTlps] ?? 0;
    return { bad, now: one.kernel.now, wire: port.counters[1]! };
  });
  // 2 TLPs in a thousand of 280 bytes, about 4 of 2,400.
  assert.ok(hit!.bad >= 1 && hit!.bad <= 20, `${hit!.bad}`);
  assert.ok(hit!.now > clean!.now);
  assert.ok(hit!.wire > clean!.wire, 'replays are on the wire');
});

test('the fourth replay of one TLP retrains the link', () => {
  const one = smallFabric({ link: { gen: 1, width: 1, bitErrorRate: 1e-5 } });
  const port: Port = one.endpoints[0]!.endpoint.port;
  const { dataLink } = port.wire;
  assert.equal(dataLink!.replayPs(3, 1000) < RETRAIN_PS, true);
  assert.ok(dataLink!.replayPs(4, 1000) >= RETRAIN_PS);
  assert.equal(dataLink!.counters[DataLinkCounter.retrains], 1);
});

test('the same seed damages the same TLPs', () => {
  const digest = (): string => {
    const one = smallFabric({ link: { ...GEN3_X4, bitErrorRate: 1e-5 } });
    const [a, b] = one.endpoints;
    a!.endpoint.write(b!.bar, 300_000, a!.memory, 0, Data, null, 0);
    one.kernel.run();
    return one.fabric.traceHash.digest;
  };
  assert.equal(digest(), digest());
});

test('error rates that no link survives are refused', () => {
  assert.throws(() => checkLink({ ...GEN3_X4, bitErrorRate: 0.1 }, 'port0'), {
    code: 'USAGE',
    message: /port0: bitErrorRate must be 0 to 0.00001; got 0.1/,
  });
});
