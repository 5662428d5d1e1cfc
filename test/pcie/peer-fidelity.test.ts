/**
 * Whatever the policies of the root complex are, both fidelities end with the same statuses, bytes and traffic;
 * and everything at once leaves nothing behind. [PCIE] 1.3.1
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { dmaAddr } from '#emu/base/units.ts';
import { Acs, AcsBit, ExtendedId } from '#emu/pcie/config/config-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { LinkCounter } from '#emu/pcie/link/link-counters.ts';
import type { PeerPolicy } from '#emu/pcie/root/peer-policy.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { FlowClass } from '#emu/pcie/tlp/tlp.ts';
import { FAR, NEAR, transfer } from '#test/support/peer-rig.ts';
import {
  bytesOf,
  Outcomes,
  pattern,
  type SmallFabric,
  smallFabric,
} from '#test/support/small-fabric.ts';

const SPAN = 12_000;

const policy: fc.Arbitrary<PeerPolicy> = fc.oneof(
  fc.constant({}),
  fc.constant({ allowed: false }),
  fc.record({ reads: fc.constantFrom('forward', 'refuse', 'all-ones') }),
  fc.record({
    splitReadBytes: fc.constantFrom(64, 128, 512, 4096),
    bytesPerSecond: fc.constantFrom(1e9, 20e9),
  }),
);
/** Not from a device to itself: source and target could overlap. */
const operation = fc
  .record({
    from: fc.nat(2),
    to: fc.nat(2),
    isWrite: fc.boolean(),
    offset: fc.nat(3000),
    at: fc.nat(3000),
    sizeBytes: fc.integer({ min: 1, max: 5000 }),
  })
  .filter(({ from, to }) => from !== to);
const plan = fc.record({
  policies: fc.tuple(policy, policy, policy),
  acs: fc.constantFrom(0, AcsBit.RR | AcsBit.UF, AcsBit.RR | AcsBit.CR | AcsBit.UF),
  operations: fc.array(operation, { minLength: 1, maxLength: 6 }),
});
type Plan = typeof plan extends fc.Arbitrary<infer P> ? P : never;

const portsOf = (one: SmallFabric) => [
  ...one.root.ports,
  ...one.switch.ports,
  ...one.endpoints.map(({ endpoint }) => endpoint.port),
];

const creditsOf = (one: SmallFabric) =>
  portsOf(one).map((port) => Object.values(FlowClass).map((kind) => port.credits(kind)));

/** Runs one operation after the other; all that can be seen afterwards. */
function outcome({ policies, acs, operations }: Plan, fidelity: Fidelity) {
  const one = smallFabric({ fidelity });
  for (const bridge of [...one.root.bridges, ...one.switch.bridges.slice(1)]) {
    bridge.write(bridge.extendedCapability(ExtendedId.Acs) + Acs.Control, 2, acs);
  }
  const [out, back, round] = policies;
  one.root.setPeerForwarding(NEAR, FAR, out);
  one.root.setPeerForwarding(FAR, NEAR, back);
  one.root.setPeerForwarding(NEAR, NEAR, round);
  for (const [i, { memory }] of one.endpoints.entries()) pattern(memory, 0, SPAN, i + 1);
  const statuses = operations.map(({ from, to, isWrite, offset, at, sizeBytes }) =>
    transfer(one, isWrite, one.endpoints[to]!.bar + offset, sizeBytes, at, from),
  );
  const bytes = one.endpoints.map(({ memory }) => bytesOf(memory, 0, SPAN));
  const traffic = portsOf(one).map(({ counters }) => counters[LinkCounter.dataBytes]);
  const errors = [...one.fabric.errors.keys()].sort();
  one.dispose();
  return { statuses, bytes, traffic, errors };
}

it('timed and functional agree', () => {
  fc.assert(
    fc.property(plan, (drawn) => {
      assert.deepEqual(outcome(drawn, 'timed'), outcome(drawn, 'functional'));
    }),
    { numRuns: 150 },
  );
});

it('all at once, with small tables and both ways split: right to the byte, credits back', () => {
  const one = smallFabric({ peerReads: { entries: 2, tags: 3 } });
  const { endpoints, root } = one;
  const before = creditsOf(one);
  root.setPeerForwarding([NEAR, FAR], [NEAR, FAR], { splitReadBytes: 64, bytesPerSecond: 3e9 });
  const client = new Outcomes();
  const SIZE = 40_000;
  for (const [i, { memory }] of endpoints.entries()) pattern(memory, 0, SIZE, i + 1);
  const jobs = [
    [0, 2],
    [1, 2],
    [2, 0],
    [2, 1],
  ] as const;
  for (const [i, [from, to]] of jobs.entries()) {
    const { endpoint, memory } = endpoints[from]!;
    const { bar } = endpoints[to]!;
    endpoint.read(bar, SIZE, memory, 100_000 * (i + 1), Purpose.Data, client, i);
    endpoint.write(dmaAddr(bar + 600_000 + i * SIZE), SIZE, memory, 0, Purpose.Data, client, i);
  }
  one.kernel.run();
  assert.deepEqual(client.statuses, new Array(8).fill(DmaStatus.Ok));
  for (const [i, [from, to]] of jobs.entries()) {
    const [source, target] = [endpoints[from]!.memory, endpoints[to]!.memory];
    assert.deepEqual(bytesOf(source, 100_000 * (i + 1), SIZE), bytesOf(target, 0, SIZE));
    assert.deepEqual(bytesOf(target, 600_000 + i * SIZE, SIZE), bytesOf(source, 0, SIZE));
  }
  assert.deepEqual([one.fabric.tlps.inUse, root.peerReadsInUse], [0, 0]);
  assert.deepEqual(creditsOf(one), before);
  one.dispose();
});
