/**
 * A machine with an IOMMU: its driver comes up with the tree, mappings and interrupts are translated, wrong
 * addresses fault, and peers go through the root complex under access control. [RVIOMMU] 1.0, [PCIE] 6.12
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dmaAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal, MapType } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { EchoRegisters, plainDevice } from '#test/support/plain-device.ts';

const MiB = 2 ** 20;
const device = (name: string) =>
  plainDevice(name, [{ index: 0, sizeBytes: MiB, width: 64, prefetchable: true }], {
    msi: { vectors: 1 },
  });

/** Devices a and b below one switch, c on a root port of its own. */
const spec = (rest: Partial<MachineSpec> = {}): MachineSpec => ({
  rootPorts: [
    { device: pcieSwitch({ ports: [{ device: device('a') }, { device: device('b') }] }) },
    { device: device('c') },
  ],
  ...rest,
});

function withMachine(
  what: MachineSpec,
  fidelity: 'timed' | 'functional',
  body: (built: Machine, local: SparseMemory) => void,
): void {
  const built = machine(what).build({ fidelity });
  const local = new SparseMemory(8192, 'device');
  local.fill(0, 4096, 0x33);
  try {
    const booted = built.boot();
    built.kernel.run();
    assert.equal(booted.value, undefined);
    for (const name of built.endpoints.keys()) {
      built.kernel.spawn('bus master', built.function(name).setBusMaster(true));
    }
    built.kernel.run();
    body(built, local);
  } finally {
    local.dispose();
    built.dispose();
  }
}

function mapped(built: Machine, client: string, list: PhyRangeList) {
  const mapping = built.function(client).dma.map(list, Direction.Bidirectional);
  assert.ok(!isRefusal(mapping), 'refused' in mapping ? mapping.reason : '');
  return mapping;
}

function write(built: Machine, name: string, address: number, from: SparseMemory): number[] {
  const seen: number[] = [];
  const client = { dmaDone: (status: number) => seen.push(status) };
  built.endpoint(name).write(dmaAddr(address), 4096, from, 0, Purpose.Data, client, 0);
  built.kernel.run();
  return seen;
}

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`machine with an IOMMU, ${fidelity}`, () => {
    it('translates host memory and loses it on unmap', () => {
      withMachine(spec({ iommu: true }), fidelity, (built, local) => {
        const page = built.mm.allocate(4096);
        const mapping = mapped(built, 'a', built.mm.pin(page, 4096));
        const address = mapping.ranges.address(0);
        assert.notEqual(Number(address), Number(page));
        assert.deepEqual(write(built, 'a', address, local), [DmaStatus.Ok]);
        assert.equal(built.mm.memory.getU32(page), 0x3333_3333);
        assert.equal(built.faults?.count, 0);
        built.mm.memory.fill(page, 4096, 0);
        const gone = built.function('a').dma.unmap(mapping);
        built.kernel.run();
        assert.ok(gone.done);
        write(built, 'a', address, local);
        assert.equal(built.mm.memory.getU32(page), 0);
        assert.ok(built.faults.count > 0);
        assert.equal(built.faults.faults[0]?.requester, built.function('a').bdf);
      });
    });

    it('translates interrupts', () => {
      withMachine(spec({ iommu: {} }), fidelity, (built) => {
        let count = 0;
        built.kernel.spawn(
          'msi',
          built.function('a').enableMsi(() => count++),
        );
        built.kernel.run();
        built.endpoint('a').raise(0);
        built.kernel.run();
        assert.deepEqual([count, built.faults?.count], [1, 0]);
      });
    });

    it('sends peers through the root complex, as access control has it', () => {
      withMachine(spec({ iommu: true }), fidelity, (built, local) => {
        for (const [client, owner] of [
          ['a', 'b'],
          ['a', 'c'],
        ] as const) {
          const { address, sizeBytes } = built.function(owner).bar(0);
          const mapping = mapped(built, client, PhyRangeList.of(address, sizeBytes));
          assert.equal(mapping.mapType, MapType.ThruHostBridge);
          const registers = built.endpoint(owner).model;
          assert.ok(registers instanceof EchoRegisters);
          const before = registers.writes.length;
          write(built, client, mapping.ranges.address(0), local);
          assert.ok(registers.writes.length > before);
        }
        const up = built.links().find(({ path }) => path === 'rc0.port0.sw0')?.up;
        assert.equal(up?.dataBytes, 8192);
      });
    });

    it('faults a bus address that was handed out while access control redirects', () => {
      withMachine(spec({ iommu: true }), fidelity, (built, local) => {
        write(built, 'a', built.function('b').bar(0).address, local);
        const registers = built.endpoint('b').model;
        assert.ok(registers instanceof EchoRegisters && registers.writes.length === 0);
        assert.ok((built.faults?.count ?? 0) > 0);
      });
    });
  });

  describe(`peers with an IOMMU, ${fidelity}`, () => {
    it('keeps peers below the switch without redirects', () => {
      withMachine(spec({ iommu: true, acs: 'off' }), fidelity, (built, local) => {
        const { address, sizeBytes } = built.function('b').bar(0);
        const mapping = mapped(built, 'a', PhyRangeList.of(address, sizeBytes));
        assert.equal(mapping.mapType, MapType.BusAddress);
        write(built, 'a', mapping.ranges.address(0), local);
        const up = built.links().find(({ path }) => path === 'rc0.port0.sw0')?.up;
        assert.equal(up?.dataBytes, 0);
      });
    });

    it('refuses peers across root ports when their host bridge is not trusted', () => {
      withMachine(spec({ hostBridgeAllowList: [] }), fidelity, (built) => {
        const { address, sizeBytes } = built.function('c').bar(0);
        const list = PhyRangeList.of(address, sizeBytes);
        const answer = built.function('a').dma.map(list, Direction.FromDevice);
        assert.ok(isRefusal(answer) && answer.refused === 'EREMOTEIO');
      });
    });

    it('maps what software trusts, though the root complex does not forward it', () => {
      withMachine(spec({ peerForwarding: false }), fidelity, (built, local) => {
        const { address, sizeBytes } = built.function('c').bar(0);
        const mapping = mapped(built, 'a', PhyRangeList.of(address, sizeBytes));
        assert.equal(mapping.mapType, MapType.ThruHostBridge);
        write(built, 'a', mapping.ranges.address(0), local);
        const registers = built.endpoint('c').model;
        assert.ok(registers instanceof EchoRegisters && registers.writes.length === 0);
        assert.ok((built.fabric.errors.get('rc0.port0 peer-refused') ?? 0) > 0);
      });
    });
  });
}
