/**
 * Resets through the real fabric: function-level reset takes its time and says so, a bus reset takes all below a port,
 * and software gets back what it had. [PCIE] 2.3.2, 6.6
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type Bdf, dmaAddr } from '#emu/base/units.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, multiFunction, pcieSwitch } from '#emu/host/machine-spec.ts';
import {
  BridgeControl,
  CapabilityId,
  DevCtl,
  ExtendedId,
  Header,
  Pcie,
  RootCtl,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import { Ats, AtsControl, Pasid as PasidRegister } from '#emu/pcie/config/function-registers.ts';
import type { EndpointSpec } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { plainDevice } from '#test/support/plain-device.ts';
import { throwsCode } from '#test/support/usage-error.ts';
import { vfDevice, vfModel } from '#test/support/vf-device.ts';

const MS = 1e9;
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

const slow = (name: string, spec: Partial<EndpointSpec>) => plainDevice(name, undefined, spec);

/** Runs until `done` or for good, and gives its value. */
function outcome<T>(built: Machine, pending: { readonly value: T }): T {
  built.kernel.run();
  return pending.value;
}

function setMemory(built: Machine, name: string): void {
  built.kernel.spawn('bus master', built.function(name).setBusMaster(true));
  built.kernel.run();
}

const loads = (built: Machine, name: string): number =>
  outcome(built, built.cpu.read32(built.function(name).bar(0).address));

/** Writes Initiate Function Level Reset as software would, and waits for that write only. */
function initiate(built: Machine, name: string): void {
  const fn = built.function(name);
  const control = fn.capability(CapabilityId.Pcie) + Pcie.DevCtl;
  outcome(built, built.root.configWrite(fn.bdf, control, 2, DevCtl.InitiateFlr.of(1)));
}

function setVisibility(built: Machine, on: boolean): void {
  const port = built.function('rc0.port0');
  const at = port.capability(CapabilityId.Pcie) + Pcie.RootCtl;
  built.kernel.spawn('visibility', port.configWrite16(at, RootCtl.CrsVisibility.of(+on)));
  built.kernel.run();
}

/** Reads and says how long that took. */
function timed(built: Machine, id: Bdf, offset: number, size: 2 | 4): [value: number, ps: number] {
  const start = built.kernel.now;
  const value = outcome(built, built.root.configRead(id, offset, size));
  return [value, built.kernel.now - start];
}

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`function-level reset, ${fidelity}`, () => {
    it('shows the retry in the vendor ID, or holds the request until the function is ready', () => {
      const device = slow('a', { flrPs: 20 * MS, readyPs: 5 * MS });
      const built = boot({ rootPorts: [{ device }] }, fidelity);
      const { bdf: id } = built.function('a');
      initiate(built, 'a');
      assert.equal(timed(built, id, Header.VendorId, 4)[0], 0xffff_0001);
      assert.equal(timed(built, id, Header.VendorId, 2)[0], 0x0001);
      const [revision, waitedPs] = timed(built, id, Header.RevisionId, 4);
      assert.equal(revision, 0x00ff_0000);
      assert.ok(waitedPs > 24 * MS && waitedPs < 26 * MS, `waited ${waitedPs}`);
      initiate(built, 'a');
      setVisibility(built, false);
      const [vendor, heldPs] = timed(built, id, Header.VendorId, 4);
      assert.equal(vendor, 0x11e8_1234);
      assert.ok(heldPs > 24 * MS, `held for ${heldPs}`);
    });

    it('waits for a device that is slow to come up', () => {
      const built = boot({ rootPorts: [{ device: slow('a', { readyPs: 300 * MS }) }] }, fidelity);
      assert.equal(built.pci.node('a').vendorId, 0x1234);
      assert.ok(built.kernel.now >= 300 * MS, `${built.kernel.now}`);
    });

    it('gives back what software had set, and takes no other function along', () => {
      const device = multiFunction([slow('a', { flrPs: 90 * MS }), plainDevice('b')]);
      const built = boot({ rootPorts: [{ device }] }, fidelity);
      setMemory(built, 'a');
      const before = built.endpoint('a').config.maxReadRequestBytes;
      let resets = 0;
      built.endpoint('a').onReset = () => resets++;
      built.endpoint('b').onReset = () => resets++;
      const start = built.kernel.now;
      assert.equal(outcome(built, built.reset('a', 'flr')), true);
      assert.ok(built.kernel.now - start >= 100 * MS, 'software waits 100 ms');
      const { config } = built.endpoint('a');
      assert.deepEqual([config.busMaster, config.memoryEnable], [true, true]);
      assert.equal(config.maxReadRequestBytes, before);
      assert.deepEqual(
        [resets, loads(built, 'a'), loads(built, 'b')],
        [1, 0x0302_0100, 0x0302_0100],
      );
    });

    it('lets nothing out while it lasts, and late completions find nobody', () => {
      const device = vfDevice('a', 1, {});
      const built = boot({ rootPorts: [{ device }] }, fidelity);
      setMemory(built, 'a');
      const { endpoint, memory, ended } = vfModel(built.endpoint('a'));
      const page = built.mm.allocate(4096);
      const model = vfModel(built.endpoint('a'));
      endpoint.read(dmaAddr(page), 4096, memory, 0, Purpose.Data, model, 0);
      built.root.configWrite(
        built.function('a').bdf,
        built.function('a').capability(CapabilityId.Pcie) + Pcie.DevCtl,
        2,
        DevCtl.InitiateFlr.of(1),
      );
      built.kernel.run();
      if (fidelity === 'timed') assert.deepEqual(ended, []);
      assert.equal(endpoint.outstandingReads, 0);
      ended.length = 0;
      endpoint.write(dmaAddr(page), 4, memory, 0, Purpose.Data, model, 0);
      built.kernel.run();
      assert.deepEqual(ended, [DmaStatus.BusMasterOff]);
      assert.equal(built.fabric.tlps.inUse, 0);
    });

    it('of a virtual function leaves the others alone; of the physical one takes them all', () => {
      const built = boot({ rootPorts: [{ device: vfDevice('nic', 4) }] }, fidelity);
      outcome(built, built.setVfs('nic', 4));
      for (const name of ['nic.vf1', 'nic.vf2']) setMemory(built, name);
      const resets = () => [0, 1, 2, 3].map((i) => vfModel(built.endpoint(`nic.vf${i}`)).resets);
      initiate(built, 'nic.vf1');
      assert.deepEqual(resets(), [0, 1, 0, 0]);
      assert.equal(built.endpoint('nic.vf1').busMaster, false);
      assert.deepEqual([loads(built, 'nic.vf1'), built.endpoint('nic.vf2').busMaster], [1, true]);
      assert.equal(outcome(built, built.reset('nic', 'flr')), true);
      assert.deepEqual(resets(), [1, 2, 1, 1]);
      assert.deepEqual([loads(built, 'nic.vf3'), built.endpoint('nic.vf2').busMaster], [3, true]);
    });
  });

  describe(`bus reset, ${fidelity}`, () => {
    const tree = (): MachineSpec => {
      const inner = pcieSwitch({ ports: [{ device: plainDevice('deep') }] });
      const ports = [{ device: slow('a', { readyPs: 200 * MS }) }, { device: inner }];
      const outer = pcieSwitch({ ports });
      return { rootPorts: [{ device: outer }, { device: plainDevice('other') }] };
    };

    it('takes everything below the port, switches too, and nothing else', () => {
      const built = boot(tree(), fidelity);
      const names = ['a', 'deep', 'other'];
      for (const name of names) setMemory(built, name);
      const port = built.function('rc0.port0');
      const hold = (on: number) => {
        const held = BridgeControl.SecondaryBusReset.of(on);
        built.kernel.spawn('reset', port.configWrite16(Type1.BridgeControl, held));
        built.kernel.run();
      };
      hold(1);
      const masters = () => names.map((name) => built.endpoint(name).busMaster);
      assert.deepEqual(masters(), [false, false, true]);
      const { bridges, ports } = built.switches.get('sw1')!;
      assert.deepEqual(
        bridges.map(({ secondary, memoryEnable }) => [secondary, memoryEnable]),
        [
          [0, false],
          [0, false],
        ],
      );
      assert.deepEqual(
        ports.map(({ isUp }) => isUp),
        [false, false],
      );
      assert.equal(loads(built, 'deep'), 0xffff_ffff);
      assert.equal(loads(built, 'other'), 0x0302_0100);
      hold(0);
      assert.deepEqual(
        ports.map(({ isUp }) => isUp),
        [true, true],
      );
      const upstream = built.pci.node('sw0').bdf;
      const read = built.root.configRead(upstream, Header.VendorId, 2);
      assert.equal(outcome(built, read), 0x104c);
      assert.equal(loads(built, 'deep'), 0xffff_ffff);
    });

    it('by software ends with the tree as it was, after all were ready', () => {
      const built = boot(tree(), fidelity);
      setMemory(built, 'deep');
      const shape = () =>
        [...built.endpoints.values()].map(({ config }) => config.bars.map(({ base }) => base));
      const before = shape();
      const start = built.kernel.now;
      assert.equal(outcome(built, built.reset('sw0', 'bus')), true);
      assert.ok(built.kernel.now - start >= 200 * MS, 'a is ready after 200 ms');
      assert.deepEqual(shape(), before);
      assert.equal(built.endpoint('deep').busMaster, true);
      for (const name of ['a', 'deep', 'other'])
        assert.equal(loads(built, name), 0x0302_0100, name);
    });
  });

  describe(`reset by software, ${fidelity}`, () => {
    it('gives interrupts back: MSI, and MSI-X with each vector as masked as it was', () => {
      const msix = { vectors: 3, bar: 0, tableOffset: 0x1000, pbaOffset: 0x2000 };
      const built = boot(
        {
          rootPorts: [
            { device: slow('a', { msix }) },
            { device: slow('b', { msi: { vectors: 1 } }) },
          ],
        },
        fidelity,
      );
      const heard: string[] = [];
      const handlers = ['a0', 'a1'].map((text) => () => void heard.push(text));
      for (const name of ['a', 'b']) setMemory(built, name);
      built.kernel.spawn('msix', built.function('a').enableMsix(2, handlers));
      built.kernel.spawn(
        'msi',
        built.function('b').enableMsi(() => void heard.push('b')),
      );
      built.kernel.run();
      for (const way of ['flr', 'bus'] as const) {
        for (const name of ['a', 'b']) {
          assert.equal(outcome(built, built.reset(name, way)), true);
          for (const vector of [1, 0, 2]) built.endpoint(name).raise(vector);
          built.kernel.run();
        }
        assert.deepEqual(heard.splice(0), ['a1', 'a0', 'b', 'b', 'b'], way);
      }
      assert.equal(built.interrupts.spurious, 0);
    });

    it('gives process address spaces and translations back', () => {
      const options = { pasid: { width: 20 }, ats: true } as const;
      const built = boot({ rootPorts: [{ device: slow('a', options) }] }, fidelity);
      const { config } = built.endpoint('a');
      const pasid = config.extendedCapability(ExtendedId.Pasid) + PasidRegister.Control;
      const ats = config.extendedCapability(ExtendedId.Ats) + Ats.Control;
      config.write(pasid, 2, 1);
      config.write(ats, 2, AtsControl.Enable.mask);
      assert.equal(outcome(built, built.reset('a', 'flr')), true);
      assert.deepEqual([config.read(pasid, 2), config.read(ats, 2)], [1, 0x8000]);
    });

    it('says when something does not come back', () => {
      const built = boot({ rootPorts: [{ device: plainDevice('a') }] }, fidelity);
      const done = built.reset('a', 'bus');
      built.kernel.runUntil(built.kernel.now + 50 * MS);
      built.root.ports[0]!.linkDown();
      assert.equal(outcome(built, done), false);
    });
  });
}

describe('reset', () => {
  it('refuses what the function cannot do', () => {
    const built = boot({ rootPorts: [{ device: plainDevice('a') }] }, 'functional');
    const fails = (name: string, way: 'flr' | 'bus', message: RegExp): void =>
      throwsCode('USAGE', message, () => outcome(built, built.reset(name, way)));
    fails('rc0.port0', 'flr', /expected a function with function-level reset, got rc0.port0/);
    fails('rc0.port0', 'bus', /expected a function below a port, got rc0.port0/);
    fails('a', 'warm' as never, /expected one of flr, bus, got warm/);
    throwsCode(
      'USAGE',
      /flrPs: expected an integer of 0 to 100000000000 ps, got 1000000000000/,
      () => boot({ rootPorts: [{ device: slow('b', { flrPs: 1e12 }) }] }, 'functional'),
    );
  });
});
