/**
 * Interrupt pins through the real fabric: levels as messages, turned at each bridge, shared lines, and all the ways in
 * which a pin falls silent. [PCIE] 2.2.8.1, 6.1.4.1
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, multiFunction, pcieSwitch } from '#emu/host/machine-spec.ts';
import {
  BridgeControl,
  Command,
  Header,
  Status,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import type { InterruptPin } from '#emu/pcie/config/intx.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { plainDevice } from '#test/support/plain-device.ts';

const machines: Machine[] = [];
after(() => {
  for (const built of machines) built.dispose();
});

function boot(spec: MachineSpec, fidelity: Fidelity): Machine {
  const built = machine(spec).build({ fidelity });
  machines.push(built);
  const booted = built.boot();
  built.kernel.run();
  assert.equal(booted.value, undefined);
  return built;
}

const pinned = (name: string, interruptPin: InterruptPin) =>
  plainDevice(name, undefined, { interruptPin, msi: { vectors: 1 } });

/** Two functions on pins B and C of a device below a switch's second port, one on pin A below a root port. */
const tree = (): MachineSpec => {
  const ports = [{}, { device: multiFunction([pinned('b', 2), pinned('c', 3)]) }];
  return { rootPorts: [{ device: pcieSwitch({ ports }) }, { device: pinned('a', 1) }] };
};

const lines = (built: Machine) =>
  [0, 1, 2, 3].filter((line) => built.legacyInterrupts.isAsserted(line));

function level(built: Machine, name: string, on: boolean): void {
  built.endpoint(name).setIntx(on);
  built.kernel.run();
}

function command(built: Machine, name: string, value: number): void {
  built.kernel.spawn('command', built.function(name).configWrite16(Header.Command, value));
  built.kernel.run();
}

/** Listens, calms the device at its `calmAt`th run, and counts runs. */
function listen(built: Machine, name: string, calmAt = 1): { runs: number } {
  const seen = { runs: 0 };
  const handler = (): void => {
    seen.runs++;
    if (seen.runs === calmAt) built.endpoint(name).setIntx(false);
  };
  built.kernel.spawn('intx', built.function(name).enableIntx(handler));
  built.kernel.run();
  return seen;
}

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`interrupt pins, ${fidelity}`, () => {
    it('are turned by the device number of each port on the way', () => {
      const built = boot(tree(), fidelity);
      // Pin B below device 1 of the switch and device 1 of the root bus, pin A below device 2.
      level(built, 'b', true);
      assert.deepEqual(lines(built), [3]);
      level(built, 'c', true);
      assert.deepEqual(lines(built), [0, 3]);
      level(built, 'a', true);
      assert.deepEqual(lines(built), [0, 2, 3]);
      for (const name of ['b', 'c', 'a']) level(built, name, false);
      assert.deepEqual(lines(built), []);
    });

    it('reach the handler of their line as often as it takes', () => {
      const built = boot(tree(), fidelity);
      const seen = ['a', 'b', 'c'].map((name) => listen(built, name, name === 'c' ? 3 : 1));
      for (const name of ['a', 'b', 'c']) level(built, name, true);
      assert.ok(
        seen.every(({ runs }) => runs >= 1),
        JSON.stringify(seen),
      );
      assert.ok(seen[2]!.runs >= 3, JSON.stringify(seen));
      assert.deepEqual([lines(built), built.legacyInterrupts.spurious], [[], 0]);
    });

    it('are merged with others on their line, which stays up for the last', () => {
      const device = multiFunction([pinned('x', 1), pinned('y', 1)]);
      const built = boot({ rootPorts: [{ device }] }, fidelity);
      level(built, 'x', true);
      level(built, 'y', true);
      level(built, 'x', false);
      assert.deepEqual(lines(built), [1]);
      level(built, 'y', false);
      assert.deepEqual(lines(built), []);
    });
  });

  describe(`silent pins, ${fidelity}`, () => {
    it('show in Interrupt Status though software has turned them off', () => {
      const built = boot(tree(), fidelity);
      const status = () =>
        Status.InterruptStatus.get(built.endpoint('a').config.read(Header.Status, 2));
      command(built, 'a', Command.MSE.of(1) | Command.INTxDisable.of(1));
      level(built, 'a', true);
      assert.deepEqual([status(), lines(built)], [1, []]);
      command(built, 'a', Command.MSE.of(1));
      assert.deepEqual(lines(built), [2]);
      command(built, 'a', Command.MSE.of(1) | Command.INTxDisable.of(1));
      assert.deepEqual(lines(built), []);
      level(built, 'a', false);
      assert.equal(status(), 0);
    });

    it('are mute while MSI is enabled', () => {
      const built = boot(tree(), fidelity);
      level(built, 'a', true);
      built.kernel.spawn(
        'msi',
        built.function('a').enableMsi(() => {}),
      );
      built.kernel.run();
      assert.deepEqual(lines(built), []);
      built.kernel.spawn('off', built.function('a').disableInterrupts());
      built.kernel.run();
      assert.deepEqual(lines(built), [2]);
    });

    it('are let go by a reset and by the loss of a link', () => {
      const built = boot(tree(), fidelity);
      for (const name of ['a', 'b']) level(built, name, true);
      const done = built.reset('a', 'flr');
      built.kernel.run();
      assert.deepEqual([done.value, lines(built)], [true, [3]]);
      built.switches.get('sw0')!.ports[2]!.linkDown();
      built.kernel.run();
      assert.deepEqual(lines(built), []);
      level(built, 'a', true);
      const held = BridgeControl.SecondaryBusReset.of(1);
      const port = built.function('rc0.port1');
      built.kernel.spawn('hold', port.configWrite16(Type1.BridgeControl, held));
      built.kernel.run();
      assert.deepEqual(lines(built), []);
    });

    it('that nobody calms are turned off, and work again once calm', () => {
      const built = boot(tree(), fidelity);
      const seen = listen(built, 'a', 1200);
      level(built, 'a', true);
      assert.deepEqual([seen.runs, built.legacyInterrupts.spurious], [1000, 1]);
      level(built, 'a', false);
      level(built, 'a', true);
      assert.ok(seen.runs >= 1200, `${seen.runs}`);
      assert.deepEqual(lines(built), []);
    });

    it('stay silent towards a driver that has left', () => {
      const built = boot(tree(), fidelity);
      const seen = listen(built, 'a');
      built.kernel.spawn('off', built.function('a').disableInterrupts());
      built.kernel.run();
      level(built, 'a', true);
      assert.deepEqual([seen.runs, lines(built)], [0, []]);
    });
  });
}
