/**
 * What a root complex does with requests between root ports, policy by policy, in both fidelities. [PCIE] 1.3.1
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dmaAddr } from '#emu/base/units.ts';
import { LinkCounter } from '#emu/pcie/link/link-counters.ts';
import { PeerRules } from '#emu/pcie/root/peer-policy.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { errorsOf, FAR, NEAR, policed, transfer } from '#test/support/peer-rig.ts';
import {
  BAR_BYTES,
  bytesOf,
  DRAM,
  Outcomes,
  pattern,
  type SmallFabric,
  smallFabric,
} from '#test/support/small-fabric.ts';

const { Data } = Purpose;
const { Ok, UnsupportedRequest } = DmaStatus;

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`peer policies, ${fidelity}`, () => {
    it('writes only: writes arrive, reads are answered Unsupported Request', () => {
      const one = policed({ reads: 'refuse' }, { fidelity });
      const [near, , far] = one.endpoints;
      const sent = pattern(near!.memory, 0, 5000);
      assert.equal(transfer(one, true, far!.bar + 3, 5000), Ok);
      assert.deepEqual(bytesOf(far!.memory, 3, 5000), sent);
      assert.equal(transfer(one, false, far!.bar, 64), UnsupportedRequest);
      assert.deepEqual(errorsOf(one), ['rc0.port0 peer-refused']);
      // The other way round nothing changed.
      assert.equal(transfer(one, false, near!.bar + 8, 5000, 9000, 2), Ok);
      one.dispose();
    });

    it('refused: neither arrives, and writes report nothing to their requester', () => {
      const one = policed(false, { fidelity });
      const [near, , far] = one.endpoints;
      pattern(near!.memory, 0, 5000);
      assert.equal(transfer(one, true, far!.bar, 5000), Ok);
      assert.equal(transfer(one, false, far!.bar, 64), UnsupportedRequest);
      assert.equal(far!.memory.residentBytes, 0);
      assert.deepEqual(errorsOf(one), ['rc0.port0 peer-refused']);
      assert.equal(one.root.peerForwarding(NEAR, FAR), false);
      assert.equal(one.root.peerForwarding(FAR, NEAR), true);
      one.dispose();
    });

    it('swallowed: reads succeed with all ones and no error anywhere, writes arrive', () => {
      const one = policed({ reads: 'all-ones' }, { fidelity });
      const [near, , far] = one.endpoints;
      const sent = pattern(near!.memory, 0, 5000);
      assert.equal(transfer(one, true, far!.bar, 5000), Ok);
      assert.deepEqual(bytesOf(far!.memory, 0, 5000), sent);
      assert.equal(transfer(one, false, far!.bar + 5, 3000, 7), Ok);
      assert.ok(bytesOf(near!.memory, 7, 3000).every((byte) => byte === 0xff));
      assert.deepEqual(bytesOf(near!.memory, 3007, 1993), sent.subarray(3007));
      assert.deepEqual(errorsOf(one), []);
      assert.deepEqual([...one.root.server.counters], [0, 0, 0, 0]);
      const toFar = one.root.ports[FAR]!.counters;
      assert.equal(toFar[LinkCounter.dataBytes], 5000);
      assert.equal(toFar[LinkCounter.tlps], fidelity === 'timed' ? 20 : 0, 'only the writes');
      // Reads of host memory are as before, and without a link nothing answers.
      const kept = pattern(one.host, DRAM, 64);
      assert.equal(transfer(one, false, DRAM, 64), Ok);
      assert.deepEqual(bytesOf(near!.memory, 0, 64), kept);
      one.root.ports[FAR]!.linkDown();
      assert.equal(transfer(one, false, far!.bar, 64), UnsupportedRequest);
      one.dispose();
    });

    it('a limit changes what nothing but time is', () => {
      const one = policed({ bytesPerSecond: 1e6 }, { fidelity });
      const [near, , far] = one.endpoints;
      const sent = pattern(near!.memory, 0, 9000);
      assert.equal(transfer(one, true, far!.bar, 9000), Ok);
      assert.equal(transfer(one, false, far!.bar, 9000, 20_000), Ok);
      assert.deepEqual(bytesOf(near!.memory, 20_000, 9000), sent);
      one.dispose();
    });
  });
}

describe('bandwidth limits', () => {
  const RATE = 2e9;
  const SIZE = 400_000;
  /** Simulated time of one transfer by each of `who` to the far endpoint, ps. */
  function time(one: SmallFabric, isWrite: boolean, who: readonly number[]): number {
    const start = one.kernel.now;
    const far = one.endpoints[2]!;
    for (const i of who) {
      const { endpoint, memory } = one.endpoints[i]!;
      const client = new Outcomes();
      if (isWrite) endpoint.write(far.bar, SIZE, memory, 0, Data, client, 0);
      else endpoint.read(far.bar, SIZE, memory, 0, Data, client, 0);
    }
    one.kernel.run();
    return one.kernel.now - start;
  }

  for (const isWrite of [true, false]) {
    it(`${isWrite ? 'writes' : 'reads'} keep to the rate, and two requesters share it`, () => {
      const one = policed({ bytesPerSecond: RATE });
      const expected = (SIZE / RATE) * 1e12;
      const alone = time(one, isWrite, [0]);
      const both = time(one, isWrite, [0, 1]);
      assert.ok(Math.abs(alone / expected - 1) < 0.02, `${alone} for ${expected} ps`);
      assert.ok(Math.abs(both / (2 * expected) - 1) < 0.02, `${both} for ${2 * expected} ps`);
      one.dispose();
    });
  }

  it('are shared by the pairs of one call, not by those of two', () => {
    const pairs = new PeerRules(3);
    pairs.set([0, 1], [2], { bytesPerSecond: 1e9 });
    assert.equal(pairs.limit(0, 2), pairs.limit(1, 2));
    pairs.set([1], [2], { bytesPerSecond: 1e9 });
    assert.notEqual(pairs.limit(0, 2), pairs.limit(1, 2));
    assert.equal(pairs.limit(2, 0), null);
    assert.ok(pairs.isLimited);
    pairs.set([0, 1], [2], {});
    assert.equal(pairs.isLimited, false);
  });

  it('leave traffic to host memory alone', () => {
    const one = policed({ bytesPerSecond: 1e6 });
    const client = new Outcomes();
    const [near] = one.endpoints;
    near!.endpoint.read(dmaAddr(DRAM), 100_000, near!.memory, 0, Data, client, 0);
    one.kernel.run();
    assert.ok(one.kernel.now < 100e6, `${one.kernel.now} ps`);
    one.dispose();
  });
});

describe('peer policies that cannot be', () => {
  const rules = new PeerRules(2);
  const cases: readonly [policy: object, message: string][] = [
    [{ allowed: 1 }, 'peer policy.allowed: expected true or false, got 1'],
    [{ reads: 'no' }, "peer policy.reads: expected 'forward', 'refuse' or 'all-ones', got no"],
    [
      { splitReadBytes: 100 },
      'peer policy.splitReadBytes: expected a power of two, 64 to 4096, got 100',
    ],
    [
      { reads: 'refuse', splitReadBytes: 64 },
      "peer policy.splitReadBytes: expected reads that are forwarded, got 'refuse'",
    ],
    [{ bytesPerSecond: 0 }, 'peer policy.bytesPerSecond: expected a rate of 1 to 1e15, got 0'],
  ];
  for (const [policy, message] of cases) {
    it(message, () => {
      assert.throws(() => rules.set([0], [1], policy), { code: 'USAGE', message });
    });
  }

  it('names root ports that do not exist', () => {
    const message = 'peer policy: expected a root port, 0 to 1, got 2';
    assert.throws(() => rules.set([0], [2], {}), { code: 'USAGE', message });
    assert.throws(() => policed({ splitReadBytes: 64 }, { peerReads: { tags: 0 } }), {
      code: 'USAGE',
      message: 'peerReads.tags: expected 1 to 256, got 0',
    });
  });
});

it('a completion does not overtake the slow writes before it', () => {
  const one = smallFabric();
  const [near, , far] = one.endpoints;
  one.root.setPeerForwarding(NEAR, FAR, { bytesPerSecond: 1e8 });
  pattern(near!.memory, 0, 2048);
  const client = new Outcomes();
  near!.endpoint.write(far!.bar, 2048, near!.memory, 0, Data, null, 0);
  // The far endpoint reads what the near one has: its data comes behind the writes.
  far!.endpoint.read(near!.bar, 64, far!.memory, BAR_BYTES - 64, Data, client, 0);
  let arrived = -1;
  client.dmaDone = () => {
    arrived = far!.memory.getU32(2044);
  };
  one.kernel.run();
  assert.equal(arrived, near!.memory.getU32(2044));
  one.dispose();
});
