/**
 * Devices of several functions: found by the multi-function bit or through ARI, reached by configuration and
 * memory requests, each with requester ID and reset of its own. [PCIE] 6.13, 7.5.1.1.9
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { bdf, formatBdf } from '#emu/base/units.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, multiFunction, pcieSwitch } from '#emu/host/machine-spec.ts';
import { CapabilityId, DevCtl2, Header, Pcie } from '#emu/pcie/config/config-registers.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { plainDevice } from '#test/support/plain-device.ts';
import { throwsCode } from '#test/support/usage-error.ts';

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

const named = (count: number) => Array.from({ length: count }, (_, i) => plainDevice(`f${i}`));
const found = ({ pci }: Machine) =>
  pci.nodes.filter(({ isBridge }) => !isBridge).map(({ bdf, path }) => `${formatBdf(bdf)} ${path}`);

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`several functions, ${fidelity}`, () => {
    it('are found by the multi-function bit, with a BAR each', () => {
      const built = boot({ rootPorts: [{ device: multiFunction(named(3)) }] }, fidelity);
      assert.deepEqual(found(built), [
        '00:00.0 rc0.host',
        '01:00.0 rc0.port0.f0',
        '01:00.1 rc0.port0.f1',
        '01:00.2 rc0.port0.f2',
      ]);
      for (const name of ['f0', 'f1', 'f2']) {
        const { address } = built.function(name).bar(0);
        built.cpu.write32(address, 0xabcd);
        const read = built.cpu.read32(address);
        built.kernel.run();
        assert.equal(read.value, 0x0302_0100);
        const { model } = built.endpoint(name);
        assert.deepEqual(Object.entries(model ?? {}), [['writes', [[0, 4, 0xabcd]]]]);
      }
    });

    it('refuse requests to a number that none has', () => {
      const built = boot({ rootPorts: [{ device: multiFunction(named(2)) }] }, fidelity);
      const absent = built.root.configRead(bdf(1, 0, 2), Header.VendorId, 4);
      built.kernel.run();
      assert.equal(absent.value, 0xffff_ffff);
      assert.equal(built.fabric.errors.get('rc0.port0.f0 unsupported-request'), 7);
    });

    it('beyond eight take function numbers of eight bits, below a switch too', () => {
      const device = multiFunction(named(20));
      const built = boot(
        { rootPorts: [{ device: pcieSwitch({ ports: [{ device }] }) }] },
        fidelity,
      );
      const ids = found(built).map((line) => line.slice(0, 7));
      assert.deepEqual(ids.slice(7, 11), ['03:00.6', '03:00.7', '03:01.0', '03:01.1']);
      assert.equal(ids.at(-1), '03:02.3');
      const down = built.switches.get('sw0')!.bridges[1]!;
      assert.equal(down.ariForwarding, true);
      const { address } = built.function('f19').bar(0);
      const read = built.cpu.read32(address);
      built.kernel.run();
      assert.equal(read.value, 0x0302_0100);
    });

    it('are out of reach with ARI forwarding off, but for the first eight', () => {
      const built = boot({ rootPorts: [{ device: multiFunction(named(9)) }] }, fidelity);
      const port = built.function('rc0.port0');
      const at = port.capability(CapabilityId.Pcie) + Pcie.DevCtl2;
      const config = built.root.bridges[0]!;
      built.kernel.spawn('off', port.configWrite16(at, DevCtl2.AriForwarding.of(0)));
      built.kernel.run();
      assert.equal(config.ariForwarding, false);
      const eighth = built.root.configRead(built.function('f7').bdf, Header.VendorId, 2);
      const ninth = built.root.configRead(built.function('f8').bdf, Header.VendorId, 2);
      built.kernel.run();
      assert.deepEqual([eighth.value, ninth.value], [0x1234, 0xffff]);
    });
  });
}

describe('the specification of a device of several functions', () => {
  it('names what it does not take', () => {
    const refused = (message: RegExp, functions: readonly DeviceSpec[], ari?: boolean) =>
      throwsCode('USAGE', message, () =>
        machine({
          rootPorts: [{ device: multiFunction(functions, ari === undefined ? {} : { ari }) }],
        }),
      );
    refused(/functions: expected an array of at least one device, got/, []);
    refused(/functions: expected .*8.* functions, got 9/, named(9), false);
    refused(/functions\[1\].name: expected a name used once/, [...named(1), ...named(1)]);
    refused(/functions\[0\]: expected a device/, [{ kind: 'x' } as never]);
  });
});
