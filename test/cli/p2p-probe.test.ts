/**
 * Probes leave a machine as they found it, and say where bytes went that did not go where they should.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hex } from '#emu/base/units.ts';
import { addressKindOf, probe, probePlace } from '#emu/cli/p2p-probe.ts';
import { MapType } from '#emu/dma/mapping.ts';
import { type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Header } from '#emu/pcie/config/config-registers.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';
import { plainDevice } from '#test/support/plain-device.ts';

const ports = [{ device: barMemory('a', 65536) }, { device: barMemory('b', 65536) }];
const shared: MachineSpec = { rootPorts: [{ device: pcieSwitch({ ports }) }] };

async function probed(spec: MachineSpec, fidelity: Fidelity = 'timed') {
  const rig = new BridgesRig(spec, fidelity);
  const pending = probe(rig.built, 'a', 'b');
  rig.built.kernel.run();
  return { rig, result: await pending };
}

for (const fidelity of ['timed', 'functional'] as const) {
  for (const iommu of [false, true]) {
    test(`a probe puts everything back, ${fidelity}, IOMMU ${iommu}`, async () => {
      const rig = new BridgesRig({ ...shared, iommu }, fidelity);
      const { built } = rig;
      const { shown } = rig.memory('b');
      const bytes = mark(shown, 65536 - 4096, 4096, 3);
      rig.run(built.function('a').setBusMaster(false));
      const pending = probe(built, 'a', 'b');
      built.kernel.run();
      const result = await pending;
      assert.deepEqual([result.sent, result.ok, result.viaRoot], [true, true, iommu]);
      assert.deepEqual(bytesAt(shown, 65536 - 4096, 4096), bytes);
      assert.equal(built.endpoint('a').busMaster, false);
      assert.equal(built.function('a').dma.liveMappings, 0);
      assert.equal(built.fabric.probe, null);
      rig.dispose();
    });
  }
}

/** Two BARs of memory. */
const twoMemories: DeviceSpec = {
  kind: 'two',
  name: 'b',
  build(fabric, path) {
    const memories = [0, 2].map((index) => new SparseMemory(65536, `${path} ${index}`));
    const [first, second] = memories;
    const bar = { sizeBytes: 65536, width: 32 } as const;
    const endpoint = new Endpoint(fabric, path, {
      identity: { vendorId: 0x1234, deviceId: 1, classCode: 0x058000 },
      bars: [
        { index: 0, target: first!, ...bar },
        { index: 2, target: second!, ...bar },
      ],
    });
    endpoint.onDispose = () => {
      for (const memory of memories) memory.dispose();
    };
    return endpoint;
  },
};

test('bytes that land elsewhere are found', async () => {
  const rig = new BridgesRig({ rootPorts: [ports[0]!, { device: twoMemories }] }, 'timed');
  // Behind the back of host software, the two BARs change places.
  const { config, path } = rig.built.endpoint('b');
  const [first, second] = [0, 2].map((i) => config.read(Header.Bar0 + 4 * i, 4));
  config.write(Header.Bar0, 4, second!);
  config.write(Header.Bar0 + 8, 4, first!);
  const pending = probe(rig.built, 'a', 'b');
  rig.built.kernel.run();
  const { ok, write, read, cpuAddress } = await pending;
  assert.equal(ok, false);
  assert.equal(write?.landed, `${path} at ${hex(cpuAddress!)}`);
  assert.deepEqual([write?.arrived, read?.arrived, read?.status], [false, false, 'Ok']);
  assert.match(read?.landed ?? '', /^other bytes/);
  rig.dispose();
});

test('memory is offered by the largest BAR that has some', () => {
  const registers = { device: plainDevice('r') };
  const spec = { rootPorts: [{ device: barMemory('a', 65536) }, registers] };
  const rig = new BridgesRig(spec, 'functional');
  assert.equal(probePlace(rig.built, 'r'), null);
  const place = probePlace(rig.built, 'a');
  assert.deepEqual([place?.bar, place?.offset], [0, 65536 - 4096]);
  assert.equal(place?.memory, rig.memory('a').shown);
  rig.dispose();
});

test('a BAR smaller than a page is no place', async () => {
  const small = [{ device: barMemory('a', 65536) }, { device: barMemory('b', 2048) }];
  const { rig, result } = await probed({ rootPorts: small });
  assert.equal(result.sent, false);
  assert.match(result.statement ?? '', /b offers no memory of 4096 bytes/);
  rig.dispose();
});

test('address kinds are those of the map types', () => {
  const kinds = [MapType.BusAddress, MapType.ThruHostBridge, MapType.NotSupported].map((type) => [
    addressKindOf(type, false),
    addressKindOf(type, true),
  ]);
  assert.deepEqual(kinds, [
    ['bus address', 'bus address'],
    ['CPU physical address', 'IOVA'],
    [null, null],
  ]);
});
