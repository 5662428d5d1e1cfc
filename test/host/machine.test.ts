/**
 * A booted machine as drivers use it: function handles, interrupts, CPU accesses, link counters, taking apart.
 * [PCIE] 6.1.4, 7.7
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dmaAddr, offsetBy } from '#emu/base/units.ts';
import { Direction } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { Process } from '#emu/sim/process.ts';
import { EchoRegisters, plainDevice } from '#test/support/plain-device.ts';

const FIDELITIES = ['timed', 'functional'] as const;

const device = (name: string) =>
  plainDevice(name, undefined, {
    msix: { vectors: 4, bar: 0, tableOffset: 0x2000, pbaOffset: 0x3000 },
    msi: { vectors: 1 },
  });
const spec = (): MachineSpec => ({
  rootPorts: [{ device: pcieSwitch({ ports: [{ device: device('a') }, {}] }) }],
});

function run<T>(built: Machine, process: Process<T>): T {
  const result = built.kernel.spawn('test', process);
  built.kernel.run();
  return result.value;
}

/** Builds, boots, runs `body` and takes apart. */
function withMachine(
  what: MachineSpec,
  fidelity: (typeof FIDELITIES)[number],
  body: (built: Machine) => void,
): void {
  const built = machine(what).build({ fidelity, seed: 7 });
  try {
    const booted = built.boot();
    built.kernel.run();
    assert.equal(booted.value, undefined);
    body(built);
    assert.deepEqual(built.kernel.outstanding(), []);
  } finally {
    built.dispose();
  }
}

for (const fidelity of FIDELITIES) {
  describe(`machine, ${fidelity}`, () => {
    it('hands out one handle a function', () => {
      withMachine(spec(), fidelity, (built) => {
        const fn = built.function('a');
        assert.equal(built.function('a'), fn);
        assert.deepEqual(
          [fn.name, fn.path, fn.vendorId, fn.deviceId, fn.classCode],
          ['a', 'rc0.port0.sw0.down0.a', 0x1234, 0x11e8, 0x00ff00],
        );
        assert.equal(fn.bar(0).address, built.endpoint('a').config.bars[0]!.base);
        assert.throws(() => fn.bar(1), { code: 'INVARIANT' });
        assert.equal(run(built, fn.configRead32(0)), 0x11e8_1234);
        assert.throws(() => built.function('b'), {
          code: 'USAGE',
          message: "device: expected one of a, got 'b'",
        });
        assert.throws(() => built.endpoint('b'), { code: 'USAGE' });
      });
    });

    it('declares limits of a DMA engine before its first mapping', () => {
      withMachine(spec(), fidelity, (built) => {
        const fn = built.function('a');
        fn.limitDma({ addressLimit: 2 ** 28 });
        const page = built.mm.allocate(4096);
        const refused = fn.dma.map(built.mm.pin(page, 4096), Direction.ToDevice);
        assert.equal('refused' in refused && refused.refused, 'EIO');
        assert.throws(() => fn.limitDma({}), { code: 'INVARIANT' });
        fn.limitDma({ addressLimit: 2 ** 28 });
      });
    });

    it('reaches BARs by CPU loads and stores', () => {
      withMachine(spec(), fidelity, (built) => {
        const { address } = built.function('a').bar(0);
        const registers = built.endpoint('a').model;
        assert.ok(registers instanceof EchoRegisters);
        built.cpu.write32(offsetBy(address, 0x10), 0xcafe_f00d);
        built.cpu.write64(offsetBy(address, 0x18), 1, 2);
        const read = built.cpu.read32(offsetBy(address, 4));
        built.kernel.run();
        assert.equal(read.value, 0x0706_0504);
        assert.deepEqual(registers.writes[0], [0x10, 4, 0xcafe_f00d]);
        assert.deepEqual(registers.writes[1]?.slice(0, 2), [0x18, 8]);
      });
    });
  });

  describe(`interrupts and transfers, ${fidelity}`, () => {
    it('delivers MSI-X to the handler of its vector, masked ones not at all', () => {
      withMachine(spec(), fidelity, (built) => {
        const fn = built.function('a');
        const ran: string[] = [];
        run(built, fn.setBusMaster(true));
        assert.equal(run(built, fn.msixVectors()), 4);
        run(built, fn.enableMsix(2, [() => ran.push('zero'), () => ran.push('one')]));
        for (const vector of [1, 0, 3]) built.endpoint('a').raise(vector);
        built.kernel.run();
        assert.deepEqual(ran, ['one', 'zero']);
        run(built, fn.disableInterrupts());
        built.endpoint('a').raise(0);
        built.kernel.run();
        assert.deepEqual([ran.length, built.interrupts.spurious], [2, 0]);
      });
    });

    it('delivers MSI, and refuses interrupts that a function does not have', () => {
      withMachine(spec(), fidelity, (built) => {
        const fn = built.function('a');
        let count = 0;
        run(built, fn.setBusMaster(true));
        run(
          built,
          fn.enableMsi(() => count++),
        );
        built.endpoint('a').raise(0);
        built.kernel.run();
        assert.equal(count, 1);
        const five = Array.from({ length: 5 }, () => () => {});
        assert.throws(() => run(built, fn.enableMsix(5, five)), {
          code: 'INVARIANT',
          message: /5 MSI-X vectors of 4/,
        });
      });
      withMachine({ rootPorts: [{ device: plainDevice('a') }] }, fidelity, (built) => {
        const fn = built.function('a');
        assert.equal(run(built, fn.msixVectors()), 0);
        assert.throws(
          () =>
            run(
              built,
              fn.enableMsi(() => {}),
            ),
          { code: 'INVARIANT' },
        );
      });
    });

    it('moves nothing without bus mastering, and counts what crosses links', () => {
      withMachine(spec(), fidelity, (built) => {
        const from = new SparseMemory(8192, 'device');
        from.fill(0, 4096, 0x5a);
        const target = built.mm.allocate(4096);
        const endpoint = built.endpoint('a');
        const seen: number[] = [];
        const client = { dmaDone: (status: number) => seen.push(status) };
        const write = () => {
          endpoint.write(dmaAddr(target), 4096, from, 0, Purpose.Data, client, 0);
          built.kernel.run();
        };
        write();
        assert.equal(built.mm.memory.getU32(target), 0);
        run(built, built.function('a').setBusMaster(true));
        write();
        assert.deepEqual(seen, [DmaStatus.BusMasterOff, DmaStatus.Ok]);
        assert.equal(built.mm.memory.getU32(target), 0x5a5a_5a5a);
        const links = built.links();
        assert.deepEqual(
          links.map(({ path }) => path),
          ['rc0.port0.sw0.down0.a', 'rc0.port0.sw0'],
        );
        assert.deepEqual(
          links.map(({ up }) => up.dataBytes),
          [4096, 4096],
        );
        assert.ok(links.every(({ down }) => down.dataBytes === 0));
        from.dispose();
      });
    });
  });
}

describe('machine plan', () => {
  it('checks first, names machines and builds as often as asked', () => {
    assert.throws(() => machine({ rootPorts: [] }), { code: 'USAGE' });
    const plan = machine({ name: 'left', rootPorts: [{}] });
    const [left, right] = [plan.build(), plan.build({ name: 'right', seed: 3 })];
    assert.deepEqual([left.name, right.name, right.kernel.seed], ['left', 'right', 3]);
    assert.throws(() => left.function('a'), { code: 'USAGE', message: /expected boot\(\) before/ });
    left.dispose();
    right.dispose();
  });

  it('refuses peers where the specification says so', () => {
    const rootPorts = [{}, {}];
    const none = machine({ peerForwarding: false, rootPorts }).build();
    assert.deepEqual(
      [none.root.peerForwarding(0, 1), none.root.peerForwarding(1, 1)],
      [false, false],
    );
    const rules = [{ from: 0, to: 1, allowed: false }];
    const one = machine({ peerForwarding: rules, rootPorts }).build();
    assert.deepEqual([one.root.peerForwarding(0, 1), one.root.peerForwarding(1, 0)], [false, true]);
    none.dispose();
    one.dispose();
  });
});
