/**
 * SR-IOV through the real fabric: virtual functions appear with VF Enable, decode their share of the VF BARs, send
 * with requester IDs of their own, and reset alone. [PCIE] 9.2, 9.3
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { bdf, type DmaAddr, dmaAddr, formatBdf, offsetBy } from '#emu/base/units.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, multiFunction, pcieSwitch } from '#emu/host/machine-spec.ts';
import type { BarSpec } from '#emu/pcie/config/config-header.ts';
import { Header, Type1 } from '#emu/pcie/config/config-registers.ts';
import { SrIovControl, SrIov as Sriov } from '#emu/pcie/config/function-registers.ts';
import type { SriovOptions } from '#emu/pcie/config/sriov.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { plainDevice } from '#test/support/plain-device.ts';
import { throwsCode } from '#test/support/usage-error.ts';
import { PHYSICAL, VF_DEVICE_ID, vfDevice, vfModel } from '#test/support/vf-device.ts';

const machines: Machine[] = [];
after(() => {
  for (const built of machines) built.dispose();
});

function boot(spec: MachineSpec, fidelity: Fidelity = 'timed'): Machine {
  const built = machine(spec).build({ fidelity });
  machines.push(built);
  const booted = built.boot();
  built.kernel.run();
  assert.equal(booted.value, undefined);
  return built;
}

function setVfs(built: Machine, name: string, count: number): void {
  const done = built.setVfs(name, count);
  built.kernel.run();
  assert.equal(done.value, undefined);
}

/** What the registers of a function read: who stands behind them. */
function who(built: Machine, name: string): number {
  const read = built.cpu.read32(built.function(name).bar(0).address);
  built.kernel.run();
  return read.value;
}

/** Each function reads 16 KiB of host memory at once, of bytes that are its own. */
function readAll(built: Machine, names: readonly string[]): void {
  const size = 16384;
  const refused = [...built.fabric.errors];
  for (const name of names) built.kernel.spawn('on', built.function(name).setBusMaster(true));
  built.kernel.run();
  for (const [i, name] of names.entries()) {
    const page = built.mm.allocate(size);
    built.mm.memory.fill(page, size, 0x10 + i);
    const mapping = built.function(name).dma.map(built.mm.pin(page, size), Direction.ToDevice);
    assert.ok(!isRefusal(mapping), name);
    const model = vfModel(built.endpoint(name));
    model.ended.length = 0;
    const from = mapping.ranges.address(0);
    model.endpoint.read(from, size, model.memory, 0, Purpose.Data, model, 0);
  }
  built.kernel.run();
  for (const [i, name] of names.entries()) {
    const { memory, ended } = vfModel(built.endpoint(name));
    assert.deepEqual(ended, [DmaStatus.Ok], name);
    const word = 0x0101_0101 * (0x10 + i);
    for (let at = 0; at < size; at += 4) assert.equal(memory.getU32(at), word, `${name} at ${at}`);
  }
  assert.deepEqual([...built.fabric.errors], refused, 'nothing is refused');
}

const withVfs = (fidelity: Fidelity, count: number, more: Partial<MachineSpec> = {}): Machine => {
  const ports = [{ device: vfDevice('nic', 6) }, { device: plainDevice('other') }];
  const built = boot({ rootPorts: [{ device: pcieSwitch({ ports }) }], ...more }, fidelity);
  if (count > 0) setVfs(built, 'nic', count);
  return built;
};

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`virtual functions, ${fidelity}`, () => {
    it('appear with VF Enable, as many as NumVFs, and vanish again', () => {
      const built = withVfs(fidelity, 0);
      const { bdf: id } = built.pci.node('nic');
      const vendor = (n: number) => {
        const read = built.root.configRead(bdf(id >>> 8, 0, n), Header.RevisionId, 4);
        built.kernel.run();
        return read.value;
      };
      assert.equal(vendor(1), 0xffff_ffff);
      throwsCode('USAGE', /expected one of nic, other, got 'nic.vf0'/, () =>
        built.function('nic.vf0'),
      );
      setVfs(built, 'nic', 4);
      const vfs = built.pci.nodes.filter(({ physical }) => physical !== null);
      assert.deepEqual(
        vfs.map((vf) => [formatBdf(vf.bdf), vf.path, vf.vendorId, vf.deviceId]),
        [1, 2, 3, 4].map((n) => [
          `03:00.${n}`,
          `rc0.port0.sw0.down0.nic.vf${n - 1}`,
          0x1234,
          VF_DEVICE_ID,
        ]),
      );
      assert.deepEqual(
        [who(built, 'nic'), who(built, 'nic.vf0'), who(built, 'nic.vf3')],
        [PHYSICAL, 0, 3],
      );
      assert.notEqual(vendor(4), 0xffff_ffff);
      assert.equal(vendor(5), 0xffff_ffff);
      const { address } = built.function('nic.vf3').bar(0);
      setVfs(built, 'nic', 0);
      assert.equal(vendor(1), 0xffff_ffff);
      const gone = built.cpu.read32(address);
      built.kernel.run();
      assert.equal(gone.value, 0xffff_ffff);
      assert.equal(vfModel(built.endpoint('nic.vf3')).resets, 1);
    });

    it('decode their share of the VF BARs only with VF MSE', () => {
      const built = withVfs(fidelity, 4);
      const nic = built.function('nic');
      const { address, sizeBytes } = built.function('nic.vf3').bar(0);
      const disabled = built.cpu.read32(offsetBy(address, sizeBytes));
      built.kernel.run();
      assert.equal(disabled.value, 0xffff_ffff);
      const control = built.pci.node('nic').sriov!.at + Sriov.Control;
      built.kernel.spawn('off', nic.configWrite16(control, SrIovControl.VfEnable.of(1)));
      built.kernel.run();
      assert.equal(who(built, 'nic.vf2'), 0xffff_ffff);
      assert.equal(who(built, 'nic'), PHYSICAL);
    });

    it('interrupt by MSI-X tables of their own', () => {
      const built = withVfs(fidelity, 4, { iommu: true });
      const seen: string[] = [];
      for (const name of ['nic', 'nic.vf0', 'nic.vf3']) {
        const fn = built.function(name);
        built.kernel.spawn('bus master', fn.setBusMaster(true));
        built.kernel.spawn('msix', fn.enableMsix(1, [() => seen.push(name)]));
      }
      built.kernel.run();
      for (const name of ['nic.vf3', 'nic.vf1', 'nic', 'nic.vf0']) {
        built.endpoint(name).raise(0);
        built.kernel.run();
      }
      assert.deepEqual(seen, ['nic.vf3', 'nic', 'nic.vf0']);
    });
  });

  describe(`requester IDs of virtual functions, ${fidelity}`, () => {
    it('move with the bus number of their physical function', () => {
      const built = withVfs(fidelity, 2);
      assert.equal(built.endpoint('nic.vf1').id, built.pci.node('nic').bdf + 2);
      const port = built.function('rc0.port0.sw0.down1');
      built.kernel.spawn('away', port.configWrite32(Type1.PrimaryBus, 0));
      const down = built.function('rc0.port0.sw0.down0');
      built.kernel.spawn('move', down.configWrite32(Type1.PrimaryBus, 0x04_04_02));
      built.kernel.run();
      built.root.configWrite(bdf(4, 0, 0), Header.InterruptLine, 1, 7);
      built.kernel.run();
      assert.equal(built.endpoint('nic.vf1').id, 0x402);
      const line = built.root.configRead(bdf(4, 0, 2), Header.RevisionId, 4);
      built.kernel.run();
      assert.equal(line.value, 0x0200_0000);
    });

    it('need a Bus Master Enable each, and the IOMMU tells them apart', () => {
      const built = withVfs(fidelity, 4, { iommu: true });
      const page = built.mm.allocate(4096);
      const names = ['nic', ...[0, 1, 2, 3].map((n) => `nic.vf${n}`)];
      for (const [i, name] of names.entries()) {
        const model = vfModel(built.endpoint(name));
        const mapping = built
          .function(name)
          .dma.map(built.mm.pin(page, 4096), Direction.FromDevice);
        assert.ok(!isRefusal(mapping), name);
        const at = offsetBy(mapping.ranges.address(0), 64 * i);
        model.memory.setU32(0, 0xcafe_0000 + i);
        const write = (address: DmaAddr): void => {
          model.endpoint.write(address, 4, model.memory, 0, Purpose.Data, model, 0);
          built.kernel.run();
        };
        write(at);
        assert.deepEqual(model.ended, [DmaStatus.BusMasterOff], name);
        built.kernel.spawn('on', built.function(name).setBusMaster(true));
        built.kernel.run();
        write(at);
        assert.equal(built.mm.memory.getU32(page + 64 * i), 0xcafe_0000 + i, name);
        write(dmaAddr(0x10_0000));
        const fault = built.faults?.faults.at(-1);
        assert.equal(fault?.requester, built.function(name).bdf, name);
      }
    });

    it('spill over to further bus numbers, which enumeration keeps', () => {
      const far = vfDevice('far', 5, { firstOffset: 0x80, stride: 0x90 });
      const ports = [{ device: far }, { device: plainDevice('next') }];
      const built = boot({ rootPorts: [{ device: pcieSwitch({ ports }) }] }, fidelity);
      setVfs(built, 'far', 5);
      const ids = [0, 1, 2, 3, 4].map((n) => formatBdf(built.pci.node(`far.vf${n}`).bdf));
      assert.deepEqual(ids, ['03:10.0', '04:02.0', '04:14.0', '05:06.0', '05:18.0']);
      const port = built.pci.node('rc0.port0.sw0.down0');
      assert.deepEqual([port.secondary, port.subordinate], [3, 5]);
      assert.equal(formatBdf(built.pci.node('next').bdf), '06:00.0');
      for (let n = 0; n < 5; n++) assert.equal(who(built, `far.vf${n}`), n);
      readAll(built, ['far', 'far.vf0', 'far.vf2', 'far.vf4']);
    });

    it('of several physical functions share the link without mixing up completions', () => {
      const device = multiFunction([
        vfDevice('p0', 3, { firstOffset: 4, stride: 2 }),
        vfDevice('p1', 3, { firstOffset: 4, stride: 2 }),
      ]);
      const built = boot({ rootPorts: [{ device }], iommu: true }, fidelity);
      setVfs(built, 'p0', 3);
      setVfs(built, 'p1', 3);
      assert.equal(formatBdf(built.pci.node('p0.vf2').bdf), '01:01.0');
      assert.equal(formatBdf(built.pci.node('p1.vf2').bdf), '01:01.1');
      const names = ['p0', 'p1'].flatMap((name) => [
        name,
        ...[0, 1, 2].map((n) => `${name}.vf${n}`),
      ]);
      readAll(built, names);
    });
  });
}

describe('functions behind one link', () => {
  /** Each named function writes 256 KiB of its own memory; gives the times of their ends. */
  const writeAll = (built: Machine, names: readonly string[]): number[] => {
    const size = 262_144;
    for (const name of names) built.kernel.spawn('on', built.function(name).setBusMaster(true));
    built.kernel.run();
    const start = built.kernel.now;
    const ends = names.map((name) => {
      const { endpoint, memory } = vfModel(built.endpoint(name));
      const seen = { ps: 0 };
      const client = { dmaDone: () => (seen.ps = built.kernel.now - start) };
      const page = built.mm.allocate(size);
      for (let at = 0; at < size; at += 65536) {
        endpoint.write(dmaAddr(page + at), 65536, memory, 0, Purpose.Data, client, 0);
      }
      return seen;
    });
    built.kernel.run();
    return ends.map(({ ps }) => ps);
  };

  it('take turns', () => {
    const built = withVfs('timed', 4);
    const ends = writeAll(built, ['nic', 'nic.vf0', 'nic.vf3']);
    const [first, last] = [Math.min(...ends), Math.max(...ends)];
    assert.ok(first > 0.95 * last, `${ends}`);
  });

  it('have it to themselves while the others are idle', () => {
    const built = withVfs('timed', 4);
    const [alone] = writeAll(built, ['nic.vf2']);
    const [one, other] = writeAll(withVfs('timed', 4), ['nic.vf2', 'nic.vf3']);
    assert.ok(alone! > 0 && alone! < 0.55 * Math.max(one!, other!), `${alone} ${one} ${other}`);
  });
});

describe('the SR-IOV capability', () => {
  it('refuses what no hardware could have', () => {
    const refused = (totalVfs: number, options: Partial<SriovOptions>, message: RegExp): void =>
      throwsCode('USAGE', message, () =>
        boot({ rootPorts: [{ device: vfDevice('nic', totalVfs, options) }] }, 'functional'),
      );
    refused(0, {}, /sriov.totalVfs: expected an integer of 1 to 256, got 0/);
    refused(300, {}, /sriov.totalVfs: expected an integer of 1 to 256, got 300/);
    refused(2, { stride: 0 }, /sriov.stride: expected an integer of 1 to 65535, got 0/);
    const small: BarSpec = { index: 0, sizeBytes: 2048, width: 64 };
    refused(2, { vfBars: [small] }, /vfBars\[0\].sizeBytes: expected at least 4096, got 2048/);
    refused(2, { firstOffset: 0xff00, stride: 0xff00 }, /expected at most 255 buses .* got more/);
    const nics = multiFunction([vfDevice('p0', 3), vfDevice('p1', 3)]);
    throwsCode('USAGE', /requester ID of its own for .*p0.vf0, got that of .*p1/, () =>
      boot({ rootPorts: [{ device: nics }] }, 'functional'),
    );
  });

  it('turns on no more than there are, and no others while some are on', () => {
    const built = withVfs('functional', 3);
    const refused = (name: string, count: number, message: RegExp): void =>
      throwsCode('USAGE', message, () => setVfs(built, name, count));
    refused('nic', 7, /vfs: expected an integer of 0 to 6, got 7/);
    refused('nic', 2, /vfs: expected 0 while 3 are on, got 2/);
    refused('other', 1, /other: expected a function with SR-IOV/);
  });

  it('keeps the number of functions that VF Enable found', () => {
    const built = withVfs('functional', 3);
    const { at } = built.pci.node('nic').sriov!;
    built.kernel.spawn('more', built.function('nic').configWrite16(at + Sriov.NumVfs, 5));
    built.kernel.run();
    assert.equal(built.endpoint('nic').sriov?.enabled, 3);
  });
});
