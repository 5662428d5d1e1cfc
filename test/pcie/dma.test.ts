/** Transfers over the fabric: right to the byte, in order, within limits, and refused where hardware would. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { dmaAddr } from '#emu/base/units.ts';
import { AcsBit, Header, Msi } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { LinkCounter } from '#emu/pcie/link/link-counters.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { Tlp } from '#emu/pcie/tlp/tlp.ts';
import {
  BAR_BYTES,
  bytesOf,
  DOORBELL,
  DRAM,
  Outcomes,
  pattern,
  type SmallFabric,
  smallFabric,
} from '#test/support/small-fabric.ts';

const BOTH: readonly Fidelity[] = ['timed', 'functional'];
const { Data, Control } = Purpose;
const setAcs = (bridge: ConfigSpace, bits: number): void =>
  bridge.write(bridge.extendedCapability(0x000d) + 6, 2, bits);
const command = (config: ConfigSpace, value: number): void =>
  config.write(Header.Command, 2, value);

/** Data bytes on the switch's upstream link, both ways. */
const upstreamData = ({ root, switch: sw }: SmallFabric): number =>
  root.ports[0]!.counters[LinkCounter.dataBytes]! + sw.upstream.counters[LinkCounter.dataBytes]!;

function finished(one: SmallFabric): void {
  one.kernel.run();
  assert.equal(one.fabric.tlps.inUse, 0, 'TLP records left over');
}

for (const fidelity of BOTH) {
  test(`${fidelity}: any peer write and read-back is exact and touches nothing else`, () => {
    const one = smallFabric({ fidelity });
    const [a, b] = one.endpoints;
    const at = fc.integer({ min: 0, max: 9000 });
    fc.assert(
      fc.property(at, at, fc.integer({ min: 1, max: 9000 }), fc.nat(), (from, to, size, seed) => {
        const sent = pattern(a!.memory, from, size, seed);
        b!.memory.fill(0, 20_000, 0xee);
        const client = new Outcomes();
        a!.endpoint.write(dmaAddr(b!.bar + to), size, a!.memory, from, Data, client, 7);
        assert.deepEqual(client.ended, [], 'told before the call returned');
        finished(one);
        assert.deepEqual(client.ended, [{ status: DmaStatus.Ok, arg: 7 }]);
        assert.deepEqual(bytesOf(b!.memory, to, size), sent);
        assert.ok(bytesOf(b!.memory, 0, to).every((x) => x === 0xee));
        assert.ok(bytesOf(b!.memory, to + size, 100).every((x) => x === 0xee));
        a!.memory.fill(0, 20_000, 0);
        a!.endpoint.read(dmaAddr(b!.bar + to), size, a!.memory, from, Data, client, 8);
        finished(one);
        assert.deepEqual(client.ended[1], { status: DmaStatus.Ok, arg: 8 });
        assert.deepEqual(bytesOf(a!.memory, from, size), sent);
      }),
      { numRuns: 60 },
    );
    assert.equal(upstreamData(one), 0);
  });

  test(`${fidelity}: after a reset nobody hears of what was asked for before`, () => {
    const one = smallFabric({ fidelity });
    const [a, b] = one.endpoints;
    const { endpoint, memory } = a!;
    const { config, id } = endpoint;
    pattern(b!.memory, 0, 100_000);
    for (const isMaster of [true, false]) {
      const client = new Outcomes();
      command(config, isMaster ? 6 : 2);
      endpoint.read(b!.bar, 50_000, memory, 0, Data, client, 0);
      endpoint.write(b!.bar, 100, memory, 60_000, Data, client, 1);
      endpoint.write(b!.bar, 50_000, memory, 60_000, Data, client, 2);
      endpoint.reset();
      command(config, 6);
      endpoint.id = id;
      one.kernel.runUntil(one.kernel.now + 1e9);
      assert.deepEqual(client.ended, []);
      assert.ok(
        bytesOf(memory, 0, 50_000).every((x) => x === 0),
        'data of a read before the reset',
      );
      endpoint.read(b!.bar, 64, memory, 70_000, Data, client, 3);
      one.kernel.runUntil(one.kernel.now + 1e9);
      assert.deepEqual(client.ended, [{ status: DmaStatus.Ok, arg: 3 }]);
    }
  });

  test(`${fidelity}: host memory, and the second root port through the root complex`, () => {
    const one = smallFabric({ fidelity });
    const [a, , far] = one.endpoints;
    const client = new Outcomes();
    const sent = pattern(a!.memory, 100, 10_000);
    a!.endpoint.write(dmaAddr(DRAM + 4000), 10_000, a!.memory, 100, Data, client, 0);
    a!.endpoint.write(dmaAddr(far!.bar + 8), 10_000, a!.memory, 100, Data, client, 1);
    finished(one);
    assert.deepEqual(bytesOf(one.host, DRAM + 4000, 10_000), sent);
    assert.deepEqual(bytesOf(far!.memory, 8, 10_000), sent);
    assert.equal(upstreamData(one), 20_000);
    far!.endpoint.read(dmaAddr(DRAM + 4000), 10_000, far!.memory, 50_001, Data, client, 2);
    far!.endpoint.read(dmaAddr(a!.bar + 100), 10_000, far!.memory, 70_001, Data, client, 3);
    finished(one);
    assert.deepEqual(bytesOf(far!.memory, 50_001, 10_000), sent);
    assert.deepEqual(bytesOf(far!.memory, 70_001, 10_000), sent);
    assert.deepEqual(client.statuses, [0, 0, 0, 0]);
    const { counters } = one.root.server;
    assert.deepEqual([...counters], [10_000, 10_000, 0, 0]);
  });

  test(`${fidelity}: nothing passes a cleared Bus Master Enable or memory decoding that is off`, () => {
    const offs: [string, (one: SmallFabric) => ConfigSpace, number, number[]][] = [
      ['the requester', (one) => one.endpoints[0]!.endpoint.config, 2, [9, 9]],
      ['its port', (one) => one.switch.bridges[1]!, 2, [0, 1]],
      ['the target', (one) => one.endpoints[1]!.endpoint.config, 4, [0, 1]],
      ['the port of the target', (one) => one.switch.bridges[2]!, 4, [0, 1]],
    ];
    for (const [who, config, value, statuses] of offs) {
      const one = smallFabric({ fidelity });
      const [a, b] = one.endpoints;
      command(config(one), value);
      pattern(a!.memory, 0, 5000);
      const client = new Outcomes();
      a!.endpoint.write(b!.bar, 5000, a!.memory, 0, Data, client, 0);
      a!.endpoint.read(b!.bar, 50, a!.memory, 9000, Data, client, 1);
      finished(one);
      const byArg = client.ended.sort((x, y) => x.arg - y.arg).map(({ status }) => status);
      assert.deepEqual(byArg, statuses, who);
      assert.equal(b!.memory.residentBytes, 0, who);
    }
  });

  test(`${fidelity}: requests that nobody decodes, and completions that come back refused`, () => {
    const one = smallFabric({ fidelity });
    const [a] = one.endpoints;
    const client = new Outcomes();
    const nowhere = [0x1000, DRAM + 2 ** 30, 2 ** 51];
    for (const address of nowhere) {
      a!.endpoint.read(dmaAddr(address), 64, a!.memory, 0, Data, client, 0);
      a!.endpoint.write(dmaAddr(address), 64, a!.memory, 0, Data, client, 1);
    }
    finished(one);
    const reads = client.ended.filter(({ arg }) => arg === 0);
    assert.deepEqual(
      reads.map(({ status }) => status),
      [1, 1, 1],
    );
    assert.equal(one.fabric.errors.get('rc0.port0 unsupported-request'), 6);
  });

  test(`${fidelity}: Request Redirect sends peer traffic up, and only Upstream Forwarding lets it back`, () => {
    const one = smallFabric({ fidelity });
    const [a, b] = one.endpoints;
    setAcs(one.switch.bridges[1]!, AcsBit.RR);
    const client = new Outcomes();
    const sent = pattern(a!.memory, 0, 3000);
    a!.endpoint.write(b!.bar, 3000, a!.memory, 0, Data, client, 0);
    finished(one);
    assert.equal(
      b!.memory.residentBytes,
      0,
      'refused at the root port without Upstream Forwarding',
    );
    setAcs(one.root.bridges[0]!, AcsBit.RR | AcsBit.UF);
    a!.endpoint.write(b!.bar, 3000, a!.memory, 0, Data, client, 0);
    finished(one);
    assert.deepEqual(bytesOf(b!.memory, 0, 3000), sent);
    assert.equal(upstreamData(one), 9000, 'once up in vain, then up and down');
    one.root.setPeerForwarding(0, 0, false);
    a!.endpoint.read(b!.bar, 64, a!.memory, 4096, Data, client, 1);
    finished(one);
    assert.equal(client.ended.at(-1)?.status, DmaStatus.UnsupportedRequest);
  });

  test(`${fidelity}: Source Validation and Egress Control refuse with Completer Abort`, () => {
    const one = smallFabric({ fidelity });
    const [a, b] = one.endpoints;
    const bridge = one.switch.bridges[1]!;
    const client = new Outcomes();
    const read = (): void => a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, client, 0);
    setAcs(bridge, AcsBit.EC);
    bridge.write(bridge.extendedCapability(0x000d) + 8, 4, 1 << 2);
    read();
    finished(one);
    bridge.write(bridge.extendedCapability(0x000d) + 8, 4, 1 << 3);
    read();
    finished(one);
    setAcs(bridge, AcsBit.SV);
    bridge.write(0x19, 1, 9);
    read();
    one.kernel.run();
    assert.deepEqual(client.statuses.slice(0, 2), [DmaStatus.CompleterAbort, DmaStatus.Ok]);
    assert.equal(one.fabric.errors.get('sw0.down0 acs-violation'), 2);
  });

  test(`${fidelity}: Completion Redirect takes read data over the root complex`, () => {
    const one = smallFabric({ fidelity });
    const [a, b] = one.endpoints;
    setAcs(one.switch.bridges[2]!, AcsBit.CR);
    const sent = pattern(b!.memory, 0, 2000);
    const client = new Outcomes();
    a!.endpoint.read(b!.bar, 2000, a!.memory, 0, Data, client, 0);
    finished(one);
    assert.deepEqual(bytesOf(a!.memory, 0, 2000), sent);
    assert.equal(upstreamData(one), 4000);
  });

  test(`${fidelity}: an interrupt stays behind the writes before it`, () => {
    const one = smallFabric({ fidelity });
    const [a] = one.endpoints;
    const { config } = a!.endpoint;
    const msi = config.capability(0x05);
    config.write(msi + Msi.AddressLow, 4, DOORBELL);
    config.write(msi + Msi.Data, 2, 42);
    config.write(msi + Msi.Control, 2, 1);
    const seen: [number, boolean][] = [];
    const sent = pattern(a!.memory, 0, 50_000);
    one.root.onInterrupt = (data) => {
      const there = Buffer.compare(bytesOf(one.host, DRAM, 50_000), sent) === 0;
      seen.push([data, there]);
    };
    a!.endpoint.write(dmaAddr(DRAM), 50_000, a!.memory, 0, Data, null, 0);
    a!.endpoint.raise(0);
    finished(one);
    assert.deepEqual(seen, [[42, true]]);
  });
}

test('both fidelities move the same bytes, refuse the same and count the same per link', () => {
  const transfer = fc.record({
    from: fc.integer({ min: 0, max: 2 }),
    target: fc.integer({ min: 0, max: 4 }),
    // Above the source: a device that overwrites what it is still sending gets what it deserves.
    offset: fc.integer({ min: 8192, max: BAR_BYTES - 1 }),
    size: fc.integer({ min: 1, max: 6000 }),
    write: fc.boolean(),
  });
  const acs = fc.array(fc.integer({ min: 0, max: 0x1f }), { minLength: 5, maxLength: 5 });
  const outcome = (
    fidelity: Fidelity,
    list: readonly (typeof transfer extends fc.Arbitrary<infer T> ? T : never)[],
    bits: readonly number[],
  ) => {
    const one = smallFabric({ fidelity });
    const bridges = [...one.root.bridges, ...one.switch.bridges.slice(1)];
    for (const [i, bridge] of bridges.entries()) setAcs(bridge, (bits[i] ?? 0) & ~AcsBit.TB);
    const client = new Outcomes();
    for (const { endpoint, memory } of one.endpoints) pattern(memory, 0, 8192, endpoint.id);
    for (const [arg, { from, target, offset, size, write }] of list.entries()) {
      const { endpoint, memory } = one.endpoints[from]!;
      const base = one.endpoints[target]?.bar ?? (target === 3 ? DRAM : 0x1000);
      // Ends inside the BAR: what happens beyond it is another test's.
      const address = dmaAddr(base + Math.min(offset, BAR_BYTES - size));
      if (write) endpoint.write(address, size, memory, 0, Control, client, arg);
      else endpoint.read(address, size, memory, 0, Data, client, arg);
      one.kernel.run();
    }
    const ports = [
      ...one.root.ports,
      ...one.switch.ports,
      ...one.endpoints.map((e) => e.endpoint.port),
    ];
    const result = {
      ended: client.ended,
      memories: one.endpoints.map(({ memory }) =>
        Buffer.from(bytesOf(memory, 0, BAR_BYTES)).toString('base64'),
      ),
      bytes: ports.map(({ counters }) => [counters[2], counters[3]]),
    };
    one.dispose();
    return result;
  };
  fc.assert(
    fc.property(fc.array(transfer, { maxLength: 6 }), acs, (list, bits) => {
      const timed = outcome('timed', list, bits);
      const functional = outcome('functional', list, bits);
      assert.deepEqual(functional.ended, timed.ended);
      assert.deepEqual(functional.memories, timed.memories);
      const refusedHalfway = timed.ended.some(({ status }) => status !== 0);
      if (!refusedHalfway) assert.deepEqual(functional.bytes, timed.bytes);
    }),
    { numRuns: 60 },
  );
});

test('credits come back, and a link never carries more than it can', () => {
  const one = smallFabric({ endpoints: 3 });
  const [a, b, c] = one.endpoints;
  const client = new Outcomes();
  const size = 200_000;
  pattern(a!.memory, 0, size);
  const before = one.switch.ports.map((port) => [0, 1, 2].map((k) => port.credits(k as 0)));
  a!.endpoint.write(b!.bar, size, a!.memory, 0, Data, client, 0);
  c!.endpoint.write(b!.bar, size, a!.memory, 0, Data, client, 1);
  b!.endpoint.read(a!.bar, size, b!.memory, 500_000, Data, client, 2);
  one.kernel.run();
  const after = one.switch.ports.map((port) => [0, 1, 2].map((k) => port.credits(k as 0)));
  assert.deepEqual(after, before);
  const port = one.switch.ports[2]!;
  const seconds = one.kernel.now / 1e12;
  assert.ok(port.counters[LinkCounter.wireBytes]! / seconds <= 7.877e9);
  assert.deepEqual(client.statuses.sort(), [0, 0, 0]);
});

test('a saturated link of generation 3 x8 carries 7.2018 GB/s of 256-byte writes', () => {
  const one = smallFabric({ maxPayloadBytes: 256 });
  const [a, b] = one.endpoints;
  const arrivals: number[] = [];
  one.fabric.probe = {
    sent: () => {},
    refused: () => {},
    delivered: (_path, tlp: Tlp) => {
      if (tlp.payloadBytes === 256) arrivals.push(one.kernel.now);
    },
  };
  a!.endpoint.write(b!.bar, BAR_BYTES, a!.memory, 0, Data, null, 0);
  one.kernel.run();
  assert.equal(arrivals.length, 4096);
  const rate = (4095 * 256 * 1e3) / (arrivals.at(-1)! - arrivals[0]!);
  assert.ok(Math.abs(rate / 7.2018 - 1) < 0.0005, `${rate} GB/s`);
});

test('a switch adds its cut-through latency once each way', () => {
  const roundTrip = (switchLatencyPs: number): number => {
    const one = smallFabric({ switchLatencyPs });
    const [a, b] = one.endpoints;
    a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, new Outcomes(), 0);
    one.kernel.run();
    return one.kernel.now;
  };
  assert.equal(roundTrip(150_000) - roundTrip(105_000), 2 * 45_000);
});
