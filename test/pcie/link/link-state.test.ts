/** Links that go down, come up, and change their rate: what is lost, what is told, and that nothing leaks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bdf, physAddr } from '#emu/base/units.ts';
import {
  CapabilityId,
  DevCtl,
  Header,
  LinkSta,
  Pcie,
  sizeCode,
} from '#emu/pcie/config/config-registers.ts';
import { RETRAIN_PS } from '#emu/pcie/link/data-link.ts';
import { initialisationPs, type LinkSpec } from '#emu/pcie/link/link.ts';
import { LossCounter } from '#emu/pcie/link/link-counters.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { FlowClass, type Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import {
  BAR_BYTES,
  bytesOf,
  Outcomes,
  pattern,
  type SmallFabric,
  smallFabric,
} from '#test/support/small-fabric.ts';

const { Data } = Purpose;
const GEN3_X4: LinkSpec = { gen: 3, width: 4 };

const portsOf = (one: SmallFabric): readonly Port[] => [
  ...one.root.ports,
  ...one.switch.ports,
  ...one.endpoints.map(({ endpoint }) => endpoint.port),
];
const lostBytes = (one: SmallFabric): number =>
  portsOf(one).reduce((sum, { losses }) => sum + losses[LossCounter.bytes]!, 0);

function atRest(one: SmallFabric): void {
  for (const port of portsOf(one)) assert.equal(port.creditsAtRest(), true, port.path);
  assert.equal(one.fabric.tlps.inUse, 0, 'records in use');
}

/** Payload of writes that reached a device, and of those that a component refused. */
function watchWrites(one: SmallFabric): { delivered: number; refused: number } {
  const seen = { delivered: 0, refused: 0 };
  const isWrite = (tlp: Tlp): boolean => tlp.kind === TlpKind.MWr;
  one.fabric.probe = {
    sent: () => undefined,
    delivered: (path, tlp) => {
      if (isWrite(tlp) && path.startsWith('ep')) seen.delivered += tlp.payloadBytes;
    },
    refused: (_path, _error, tlp) => {
      if (isWrite(tlp)) seen.refused += tlp.payloadBytes;
    },
  };
  return seen;
}

/** Gives a device back what its reset took. */
function enable({ endpoint, bar }: SmallFabric['endpoints'][number], lower: number): void {
  endpoint.config.write(Header.Bar0, 4, lower >>> 0);
  endpoint.config.write(Header.Bar0 + 4, 4, Math.floor(bar / 2 ** 32));
  endpoint.config.write(Header.Command, 2, 6);
  const control = endpoint.config.capability(CapabilityId.Pcie) + Pcie.DevCtl;
  const value = endpoint.config.read(control, 2);
  endpoint.config.write(control, 2, DevCtl.MaxPayload.put(value, sizeCode(256)));
}

test('what waits, what is on the wire and what was written since is lost, and said to be', () => {
  const one = smallFabric({ link: GEN3_X4 });
  const [a, b] = one.endpoints;
  const seen = watchWrites(one);
  const down = b!.endpoint.port.peer!;
  a!.endpoint.write(b!.bar, 64 * 1024, a!.memory, 0, Data, null, 0);
  one.kernel.runUntil(5_000_000);
  assert.ok(down.channels.waiting > 0 || seen.delivered > 0, 'under way');
  down.linkDown();
  assert.equal(down.isUp, false);
  assert.equal(b!.endpoint.port.isUp, false);
  assert.equal(b!.endpoint.port.peer, null);
  assert.ok(down.losses[FlowClass.Posted]! > 0 || one.fabric.tlps.inUse > 0);
  one.kernel.run();
  assert.ok(seen.delivered > 0 && seen.delivered < 64 * 1024, `${seen.delivered} delivered`);
  assert.ok(seen.refused > 0, 'the switch refuses what comes later');
  assert.ok(down.losses[FlowClass.Posted]! > 0, 'and tells what it lost');
  assert.equal(down.losses[FlowClass.NonPosted]! + down.losses[FlowClass.Completion]!, 0);
  assert.equal(seen.delivered + seen.refused + lostBytes(one), 64 * 1024);
  atRest(one);
});

test('a link that comes back at once carries nothing of before, and all credits', () => {
  const one = smallFabric({ link: GEN3_X4 });
  const [a, b] = one.endpoints;
  const down = b!.endpoint.port.peer!;
  const before = [0, 1, 2].map((kind) => down.credits(kind as 0));
  const seen = watchWrites(one);
  a!.endpoint.write(b!.bar, 32 * 1024, a!.memory, 0, Data, null, 0);
  one.kernel.runUntil(3_000_000);
  const delivered = seen.delivered;
  down.linkDown();
  down.linkUp();
  assert.deepEqual(
    [0, 1, 2].map((kind) => down.credits(kind as 0)),
    before,
  );
  enable(b!, b!.bar);
  one.kernel.run();
  assert.ok(seen.delivered > delivered, 'the rest arrives');
  assert.ok(lostBytes(one) > 0);
  assert.equal(seen.delivered + seen.refused + lostBytes(one), 32 * 1024);
  atRest(one);
  const sent = pattern(a!.memory, 0, 4096, 7);
  a!.endpoint.write(b!.bar, 4096, a!.memory, 0, Data, null, 0);
  one.kernel.run();
  assert.deepEqual(bytesOf(b!.memory, 0, 4096), sent);
});

test('TLPs wait for flow control to be initialised', () => {
  const one = smallFabric({ link: GEN3_X4 });
  const { root } = one;
  const port = root.ports[0]!;
  port.linkDown();
  port.linkUp();
  const from = one.kernel.now;
  const times: number[] = [];
  one.fabric.probe = {
    sent: (sender) => {
      if (sender === port) times.push(one.kernel.now);
    },
    delivered: () => undefined,
    refused: () => undefined,
  };
  root.mmioWrite(physAddr(one.endpoints[0]!.bar), 4, 1);
  one.kernel.run();
  // Twice the flight of 10 ns and three DLLPs of 8 bytes at 3.94 GB/s.
  assert.equal(initialisationPs(GEN3_X4), 32_188);
  assert.deepEqual(
    times.map((time) => time - from),
    [32_188],
  );
});

test('registers tell whether the link is up', () => {
  const one = smallFabric({ link: GEN3_X4 });
  const port = one.root.ports[0]!;
  const bridge = one.root.bridges[0]!;
  const at = bridge.capability(0x10) + Pcie.LinkSta;
  const status = (): number => bridge.read(at, 2);
  port.linkDown();
  assert.equal(LinkSta.DllActive.get(status()), 0);
  one.switch.upstream.linkUp({ gen: 2, width: 1 });
  assert.equal(LinkSta.DllActive.get(status()), 1);
  assert.equal(LinkSta.Speed.get(status()), 2);
  assert.equal(LinkSta.Width.get(status()), 1);
  assert.deepEqual(port.link, { gen: 2, width: 1 });
  assert.throws(() => {
    port.linkDown();
    port.linkUp({ gen: 9 as 1, width: 1 });
  }, /link gen must be one of/);
});

test('the CPU reads all ones, from what was asked before the link went down and after', () => {
  const one = smallFabric({ link: GEN3_X4 });
  const { root } = one;
  const bar = physAddr(one.endpoints[0]!.bar);
  const early = root.mmioRead(bar, 4);
  const config = root.configRead(bdf(3, 0, 0), 0, 2);
  one.kernel.runUntil(20_000);
  root.ports[0]!.linkDown();
  const late = root.mmioRead(bar, 4);
  one.kernel.run();
  for (const answer of [early, config, late]) assert.ok(answer.done, 'answered');
  assert.deepEqual([early.value, config.value, late.value], [0xffff_ffff, 0xffff, 0xffff_ffff]);
  atRest(one);
});

test('a surprise is reported by the end nearer to the root, a link taken down is not', () => {
  const one = smallFabric({ link: GEN3_X4 });
  const down = one.switch.ports[1]!;
  const errors = (): readonly string[] => [...one.fabric.errors.keys()];
  down.linkDown();
  assert.deepEqual(errors(), []);
  down.linkUp();
  one.endpoints[0]!.endpoint.port.linkDown(true);
  assert.deepEqual(errors(), ['sw0.down0 surprise-down']);
});

test('retraining loses nothing, takes its time, and is told at its end', () => {
  const one = smallFabric({ link: { gen: 3, width: 8 } });
  const [a, b] = one.endpoints;
  const { port } = a!.endpoint;
  const at = a!.endpoint.config.capability(0x10) + Pcie.LinkSta;
  const speed = (): number => LinkSta.Speed.get(a!.endpoint.config.read(at, 2));
  const sent = pattern(a!.memory, 0, 256 * 1024);
  a!.endpoint.linkChanged(port, true);
  a!.endpoint.write(b!.bar, 256 * 1024, a!.memory, 0, Data, null, 0);
  one.kernel.runUntil(10_000_000);
  port.retrain({ gen: 1, width: 8 });
  one.kernel.runUntil(10_000_000 + RETRAIN_PS - 1);
  assert.equal(speed(), 3);
  one.kernel.runUntil(10_000_000 + RETRAIN_PS);
  assert.equal(speed(), 1);
  one.kernel.run();
  assert.deepEqual(bytesOf(b!.memory, 0, 256 * 1024), sent);
  // 10 us at 7.2 GB/s, then the rest at 2 GB/s and 256 of 280 bytes.
  const rest = (256 * 1024 - 72_018) / (2 * (256 / 280)) / 1000;
  const took = one.kernel.now / 1e6;
  assert.ok(Math.abs(took - (20 + rest)) < 1, `${took} us for ${20 + rest}`);
  assert.equal(lostBytes(one), 0);
  atRest(one);
  assert.throws(() => port.retrain({ gen: 3, width: 3 as 4 }), /link width/);
});

test('a link that goes down while it retrains stays down', () => {
  const one = smallFabric({ link: GEN3_X4 });
  const port = one.root.ports[0]!;
  const bridge = one.root.bridges[0]!;
  port.retrain({ gen: 1, width: 4 });
  port.linkDown();
  one.kernel.run();
  const status = bridge.read(bridge.capability(0x10) + Pcie.LinkSta, 2);
  assert.equal(LinkSta.DllActive.get(status), 0);
});

interface Step {
  readonly afterNs: number;
  readonly port: number;
  readonly isUp: boolean;
}
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    afterNs: fc.integer({ min: 0, max: 3000 }),
    port: fc.integer({ min: 0, max: 7 }),
    isUp: fc.boolean(),
  }),
  { maxLength: 8 },
);

/** Ports of {@link portsOf} whose link can go down without a reset of the writing device. */
const APART: readonly number[] = [1, 4, 6, 7];

test('bit errors and links that go down and up: all is delivered, refused or reported lost', () => {
  fc.assert(
    fc.property(steps, fc.constantFrom(0, 1e-6, 1e-5), (changes, bitErrorRate) => {
      const one = smallFabric({ link: { ...GEN3_X4, bitErrorRate, overheads: true } });
      const seen = watchWrites(one);
      const [a, b, far] = one.endpoints;
      const size = 16 * 1024;
      a!.endpoint.write(b!.bar, size, a!.memory, 0, Data, null, 0);
      b!.endpoint.read(far!.bar, size, b!.memory, 0, Data, new Outcomes(), 0);
      far!.endpoint.read(a!.bar, size, far!.memory, size, Data, new Outcomes(), 0);
      const ports = portsOf(one);
      for (const { afterNs, port, isUp } of changes) {
        one.kernel.runUntil(one.kernel.now + afterNs * 1000);
        const chosen = ports[port % ports.length]!;
        if (isUp) chosen.linkUp();
        else chosen.linkDown();
      }
      one.kernel.run();
      const written = seen.delivered + seen.refused;
      // A device whose link went down is reset: what it had not sent yet is nobody's loss.
      assert.ok(written <= size, `${written} of ${size}`);
      if (changes.every(({ isUp }) => isUp)) assert.equal(seen.delivered, size);
      if (changes.every(({ isUp, port }) => isUp || APART.includes(port))) {
        assert.ok(written + lostBytes(one) >= size, 'lost without a report');
      }
      atRest(one);
      one.dispose();
    }),
    { numRuns: 150 },
  );
});

test('bit errors at 1e-5: nothing is lost, nothing comes twice, the order stays', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 2, 3, 4, 5, 6),
      fc.integer({ min: 1, max: 40_000 }),
      (gen, size) => {
        const one = smallFabric({ link: { gen: gen as 1, width: 4, bitErrorRate: 1e-5 } });
        const [a, b] = one.endpoints;
        const offsets: number[] = [];
        one.fabric.probe = {
          sent: () => undefined,
          delivered: (_path, tlp) => {
            if (tlp.kind === TlpKind.MWr) offsets.push(tlp.address - b!.bar, tlp.sizeBytes);
          },
          refused: () => undefined,
        };
        a!.endpoint.write(b!.bar, size, a!.memory, 0, Data, new Outcomes(), 0);
        one.kernel.run();
        let next = 0;
        for (let i = 0; i < offsets.length; i += 2) {
          assert.equal(offsets[i], next);
          next += offsets[i + 1]!;
        }
        assert.equal(next, size);
        atRest(one);
        one.dispose();
      },
    ),
    { numRuns: 60 },
  );
});

test('whatever is plugged in anew finds an empty port', () => {
  const one = smallFabric({ link: GEN3_X4 });
  const [a, b] = one.endpoints;
  a!.endpoint.write(b!.bar, BAR_BYTES, a!.memory, 0, Data, null, 0);
  one.kernel.runUntil(3_000_000);
  const down = b!.endpoint.port.peer!;
  down.unplug();
  assert.equal(down.link, null);
  down.linkUp();
  assert.equal(down.isUp, false, 'nothing is there');
  one.kernel.run();
  atRest(one);
});
