/** Faults on purpose: what each receiver does about poisoned, damaged, malformed, lost, doubled and late TLPs. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf, physAddr } from '#emu/base/units.ts';
import { ExtendedId, Header } from '#emu/pcie/config/config-registers.ts';
import { AerControl, AerRegister } from '#emu/pcie/errors/aer-registers.ts';
import { Effect, type Injection, Injector } from '#emu/pcie/errors/injector.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import {
  bytesOf,
  DRAM,
  Outcomes,
  pattern,
  type SmallFabric,
  type SmallFabricOptions,
  smallFabric,
} from '#test/support/small-fabric.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const { Data } = Purpose;
const FIDELITIES: readonly Fidelity[] = ['timed', 'functional'];

function damaged(injection: Injection, options: SmallFabricOptions = {}) {
  const rig = smallFabric({ endpoint: { aer: { ecrc: true } }, ...options });
  const injector = new Injector(rig.fabric);
  rig.fabric.injector = injector;
  const count = injector.add(injection);
  return { rig, injector, count };
}

/** Digests are made and looked at by the endpoints. */
function useDigests(rig: SmallFabric): void {
  for (const { endpoint } of rig.endpoints) {
    const at = endpoint.config.extendedCapability(ExtendedId.Aer) + AerRegister.Control;
    const on = AerControl.EcrcGenerationEnable.of(1) | AerControl.EcrcCheckEnable.of(1);
    endpoint.config.write(at, 4, on);
  }
}

/** A peer write, then a peer read of 64 bytes; how they ended. */
function move(rig: SmallFabric, isWrite: boolean): { status: number | undefined; kept: boolean } {
  const [a, b] = rig.endpoints;
  const client = new Outcomes();
  const [from, into] = isWrite ? [a!.memory, b!.memory] : [b!.memory, a!.memory];
  const sent = pattern(from, 0, 64, 3);
  if (isWrite) a!.endpoint.write(b!.bar, 64, a!.memory, 0, Data, client, 1);
  else a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, client, 1);
  rig.kernel.run();
  rig.kernel.runUntil(rig.kernel.now + 1_000_000);
  assert.equal(rig.fabric.tlps.inUse, 0, 'records given back');
  const ends = rig.endpoints.map(({ endpoint }) => endpoint.port);
  for (const port of [...rig.root.ports, ...rig.switch.ports, ...ends]) {
    assert.ok(port.creditsAtRest(), `${port.path} has its credits`);
  }
  const got = bytesOf(into, 0, 64);
  const status = client.statuses[0];
  // Functional fidelity may have put the bytes of a failed read there already.
  if (status !== DmaStatus.Ok && rig.fabric.functional) return { status, kept: false };
  return { status, kept: Buffer.from(got).equals(sent) };
}
const errorsOf = (rig: SmallFabric): string[] => [...rig.fabric.errors.keys()].sort();

for (const fidelity of FIDELITIES) {
  describe(`poisoned, ${fidelity}`, () => {
    it('writes are not committed, at a peer or in host memory', () => {
      const { rig } = damaged({ effect: Effect.Poison, kind: 'MWr', port: 'ep0' }, { fidelity });
      assert.deepEqual(move(rig, true), { status: DmaStatus.Ok, kept: false });
      assert.ok(errorsOf(rig).includes('ep1 poisoned-tlp'), errorsOf(rig).join());
      rig.dispose();
      const other = damaged({ effect: Effect.Poison, kind: 'MWr' }, { fidelity }).rig;
      const { endpoint, memory } = other.endpoints[2]!;
      pattern(memory, 0, 64);
      endpoint.write(physAddr(DRAM) as never, 64, memory, 0, Data, null, 0);
      other.kernel.run();
      assert.deepEqual(bytesOf(other.host, DRAM, 64), new Uint8Array(64));
      assert.deepEqual(errorsOf(other), ['rc0.port1 poisoned-tlp']);
      other.dispose();
    });

    it('completions end their read as poisoned; a request without data cannot be', () => {
      const { rig } = damaged({ effect: Effect.Poison, port: 'ep1' }, { fidelity });
      assert.deepEqual(move(rig, false), { status: DmaStatus.Poisoned, kept: false });
      assert.ok(errorsOf(rig).includes('ep0 poisoned-tlp'), errorsOf(rig).join());
      rig.dispose();
      const other = damaged({ effect: Effect.Poison, kind: 'MRd' }, { fidelity });
      assert.deepEqual(move(other.rig, false), { status: DmaStatus.Ok, kept: true });
      assert.equal(other.count(), 1);
      other.rig.dispose();
    });

    it('configuration writes are refused, and CPU reads are all ones', () => {
      const { rig } = damaged({ effect: Effect.Poison, count: 2, nth: 2 }, { fidelity });
      const { config } = rig.endpoints[2]!.endpoint;
      const before = config.read(Header.CacheLineSize, 1);
      const target = bdf(5, 0, 0);
      // The second and third TLP: the completion of the first request, and the second request.
      const values: number[] = [];
      rig.root.configRead(target, 0, 4).onDone((value) => values.push(value));
      rig.kernel.run();
      rig.root.configWrite(target, Header.CacheLineSize, 1, before ^ 0xff);
      rig.kernel.run();
      assert.deepEqual(values, [0xffff_ffff]);
      assert.equal(config.read(Header.CacheLineSize, 1), before);
      assert.deepEqual(errorsOf(rig), ['ep2 poisoned-tlp', 'rc0.port1 poisoned-tlp']);
      rig.dispose();
    });
  });

  describe(`with a digest that does not fit, ${fidelity}`, () => {
    it('requests and completions are dropped where digests are checked', () => {
      for (const [isWrite, port, ...errors] of [
        [true, 'ep0', 'ep1 ecrc-error'],
        [true, 'sw0.down1', 'ep1 ecrc-error'],
        [false, 'ep0', 'ep0 completion-timeout', 'ep1 ecrc-error'],
        [false, 'ep1', 'ep0 completion-timeout', 'ep0 ecrc-error'],
      ] as const) {
        const { rig, count } = damaged({ effect: Effect.Corrupt, port }, { fidelity });
        useDigests(rig);
        const status = isWrite ? DmaStatus.Ok : DmaStatus.Timeout;
        assert.deepEqual(move(rig, isWrite), { status, kept: false }, port);
        assert.equal(count(), 1);
        const found = errorsOf(rig).filter((error) => error.startsWith('ep'));
        assert.deepEqual(found, errors);
        rig.dispose();
      }
    });

    it('nobody notices where there are none', () => {
      const { rig } = damaged({ effect: Effect.Corrupt, port: 'ep0' }, { fidelity });
      const { status, kept } = move(rig, true);
      assert.equal(status, DmaStatus.Ok);
      assert.equal(kept, fidelity === 'functional');
      assert.deepEqual(errorsOf(rig), []);
      rig.dispose();
    });
  });

  describe(`malformed or lost, ${fidelity}`, () => {
    it('ends at the next receiver, unanswered', () => {
      for (const [port, where] of [
        ['ep0', 'sw0.down0'],
        ['sw0.down1', 'ep1'],
        ['ep1', 'sw0.down1'],
      ] as const) {
        const { rig } = damaged({ effect: Effect.Malform, port }, { fidelity });
        assert.deepEqual(move(rig, false), { status: DmaStatus.Timeout, kept: false }, port);
        assert.deepEqual(errorsOf(rig), ['ep0 completion-timeout', `${where} malformed-tlp`]);
        rig.dispose();
      }
    });

    it('is missed by whoever waits for an answer, and by nobody else', () => {
      for (const port of ['ep0', 'sw0.down1', 'ep1', 'sw0.down0']) {
        const { rig } = damaged({ effect: Effect.Drop, port }, { fidelity });
        assert.deepEqual(move(rig, false), { status: DmaStatus.Timeout, kept: false }, port);
        assert.deepEqual(errorsOf(rig), ['ep0 completion-timeout']);
        rig.dispose();
      }
      const { rig } = damaged({ effect: Effect.Drop, port: 'sw0.down1' }, { fidelity });
      assert.deepEqual(move(rig, true), { status: DmaStatus.Ok, kept: false });
      assert.deepEqual(errorsOf(rig), []);
      rig.dispose();
    });
  });
}

describe('doubled or late', () => {
  it('a completion that comes twice is unexpected the second time', () => {
    const { rig } = damaged({ effect: Effect.Duplicate, port: 'ep1', kind: 'CplD' });
    assert.deepEqual(move(rig, false), { status: DmaStatus.Ok, kept: true });
    assert.deepEqual(errorsOf(rig), ['ep0 unexpected-completion']);
    rig.dispose();
  });

  it('a late one is late by so much, or comes after the timeout', () => {
    const plain = smallFabric();
    let took = 0;
    const timeOf = (rig: SmallFabric): number => {
      const [a, b] = rig.endpoints;
      let at = 0;
      a!.endpoint.read(b!.bar, 64, a!.memory, 0, Data, { dmaDone: () => (at = rig.kernel.now) }, 1);
      rig.kernel.run();
      return at;
    };
    took = timeOf(plain);
    plain.dispose();
    const late = damaged({ effect: Effect.Delay, delayPs: 5_000_000, port: 'ep1' });
    assert.equal(timeOf(late.rig) - took, 5_000_000);
    late.rig.dispose();
    const lost = damaged({ effect: Effect.Delay, delayPs: 55e9, port: 'sw0.down0' });
    assert.equal(move(lost.rig, false).status, DmaStatus.Timeout);
    assert.deepEqual(errorsOf(lost.rig), ['ep0 completion-timeout', 'ep0 unexpected-completion']);
    lost.rig.dispose();
  });
});

describe('an injector', () => {
  it('chooses by place, kind, predicate and number', () => {
    const { rig, injector, count } = damaged({
      ...{ effect: Effect.Poison, port: 'ep0', kind: 'MWr', nth: 2, count: 2 },
      where: (tlp) => tlp.sizeBytes === 256,
    });
    const [a, b] = rig.endpoints;
    const others = [
      injector.add({ effect: Effect.Drop, port: 'ep1' }),
      injector.add({ effect: Effect.Drop, kind: 'CplD' }),
    ];
    const sent = pattern(a!.memory, 0, 1124, 5);
    a!.endpoint.write(b!.bar, 1124, a!.memory, 0, Data, null, 0);
    rig.kernel.run();
    sent.fill(0, 256, 768);
    assert.deepEqual(bytesOf(b!.memory, 0, 1124), sent);
    assert.deepEqual([count(), ...others.map((other) => other())], [2, 0, 0]);
    injector.clear();
    assert.deepEqual(move(rig, true), { status: DmaStatus.Ok, kept: true });
    rig.dispose();
  });

  it('takes only what makes sense', () => {
    const { rig, injector } = damaged({ effect: Effect.Drop });
    for (const [wrong, key] of [
      [{ effect: Effect.Drop, nth: 0 }, /injection.nth/],
      [{ effect: Effect.Drop, count: 0 }, /injection.count/],
      [{ effect: Effect.Drop, kind: 'MWrite' }, /injection.kind/],
      [{ effect: Effect.Delay }, /injection.delayPs/],
      [{ effect: Effect.Drop, delayPs: 1 }, /injection.delayPs/],
    ] as const) {
      throwsCode('USAGE', key, () => injector.add(wrong));
    }
    rig.dispose();
  });
});
