/**
 * Machines with several host bridges: buses, windows, bus addresses, and transfers between any two of them, by
 * software's map type against the route that hardware takes. [P2PDMA], [PCIE] 7.3
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatBdf } from '#emu/base/units.ts';
import { type HostBridgeSpec, type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const TiB = 2 ** 40;
const FIDELITIES = ['timed', 'functional'] as const;

/** Devices a and b below one switch, c on a port beside it. */
const first = (): HostBridgeSpec => {
  const device = pcieSwitch({
    ports: [{ device: barMemory('a', MiB) }, { device: barMemory('b', MiB, 32) }],
  });
  return { rootPorts: [{ device }, { device: barMemory('c', MiB) }] };
};
const second = (rest: Partial<HostBridgeSpec> = {}): HostBridgeSpec => ({
  rootPorts: [{ device: barMemory('d', MiB, 32) }, { device: barMemory('e', 2 * MiB) }],
  ...rest,
});
const third = (rest: Partial<HostBridgeSpec> = {}): HostBridgeSpec => ({
  rootPorts: [{ device: barMemory('f', MiB) }],
  ...rest,
});

/** Offsets by which each bus sees both windows elsewhere; no bus has addresses that mean another's. */
const OFFSETS: Record<string, readonly HostBridgeSpec[]> = {
  'no offset': [first(), second(), third()],
  offsets: [
    { ...first(), busOffset: { high: 8 * TiB } },
    second({ busOffset: { low: -0x4000_0000, high: 2 * TiB } }),
    third({ busOffset: { low: -0x3000_0000, high: -240 * GiB } }),
  ],
};

const machines = (rest: Partial<MachineSpec> = {}) =>
  Object.entries(OFFSETS).map(([name, hostBridges]) => ({
    name,
    spec: (): MachineSpec => ({ hostBridges, ...rest }),
  }));

describe('enumeration over host bridges', () => {
  it('gives each its own buses, and names ports by it', () => {
    const rig = new BridgesRig(
      { hostBridges: [first(), second({ name: 'left' }), third()] },
      'timed',
    );
    const found = rig.built.pci.nodes.map(({ bdf, path }) => `${formatBdf(bdf)} ${path}`);
    assert.deepEqual(found, [
      '00:00.0 rc0.host',
      '00:01.0 rc0.port0',
      '01:00.0 rc0.port0.sw0',
      '02:00.0 rc0.port0.sw0.down0',
      '03:00.0 rc0.port0.sw0.down0.a',
      '02:01.0 rc0.port0.sw0.down1',
      '04:00.0 rc0.port0.sw0.down1.b',
      '00:02.0 rc0.port1',
      '05:00.0 rc0.port1.c',
      '40:00.0 left.host',
      '40:01.0 left.port0',
      '41:00.0 left.port0.d',
      '40:02.0 left.port1',
      '42:00.0 left.port1.e',
      '80:00.0 rc2.host',
      '80:01.0 rc2.port0',
      '81:00.0 rc2.port0.f',
    ]);
    const { pci } = rig.built;
    const ports = ['a', 'c', 'd', 'f'].map((name) => pci.rootPortOf(pci.node(name).bdf));
    assert.deepEqual(ports, [0, 1, 2, 4]);
    assert.throws(() => pci.rootPortOf(pci.roots[0]!.bdf), { code: 'INVARIANT' });
    rig.dispose();
  });

  it('shows software the host bridges, and the bus address of each BAR', () => {
    const identity = { vendorId: 0x8086, deviceId: 0x3c00 };
    const hostBridges = [
      first(),
      second({ identity, busOffset: { low: -0x1000_0000, high: TiB } }),
    ];
    const rig = new BridgesRig({ hostBridges }, 'functional');
    const { pci } = rig.built;
    assert.deepEqual(pci.hostBridges, [
      { index: 0, bdf: 0x0000, vendorId: 0x8086, deviceId: 0x2020 },
      { index: 1, bdf: 0x8000, vendorId: 0x8086, deviceId: 0x3c00 },
    ]);
    const bars = pci.functions.flatMap(({ hostBridge, bars: list }) =>
      list.map(({ base, busBase }) => [hostBridge, base, busBase - base]),
    );
    assert.deepEqual(bars, [
      [0, 0x40_0000_0000, 0],
      [0, 0x4000_0000, 0],
      [0, 0x40_0010_0000, 0],
      [1, 0x6000_0000, -0x1000_0000],
      [1, 0x60_0000_0000, TiB],
    ]);
    assert.deepEqual(
      pci.windows.map(({ base, busBase, sizeBytes }) => [base, busBase - base, sizeBytes]),
      [
        [0x4000_0000, 0, GiB / 2],
        [0x40_0000_0000, 0, 128 * GiB],
        [0x6000_0000, -0x1000_0000, GiB / 2],
        [0x60_0000_0000, TiB, 128 * GiB],
      ],
    );
    assert.equal(rig.built.endpoint('e').config.bars[0]?.base, 0x60_0000_0000 + TiB);
    rig.dispose();
  });

  it('counts buses below each apart', () => {
    const wide = (): HostBridgeSpec => ({
      rootPorts: Array.from({ length: 31 }, () => ({
        device: pcieSwitch({ ports: [{}, {}, {}] }),
      })),
    });
    assert.throws(() => new BridgesRig({ hostBridges: [wide(), wide()] }, 'functional'), {
      code: 'USAGE',
      message: /^rc0\.port25.*expected at most 127 buses below the root, got more/,
    });
  });
});

for (const fidelity of FIDELITIES) {
  for (const iommu of [false, true]) {
    for (const { name, spec } of machines({ iommu })) {
      it(`every device reaches every other, ${fidelity}, ${iommu ? 'IOMMU' : 'direct'}, ${name}`, () => {
        const rig = new BridgesRig(spec(), fidelity);
        for (const client of rig.names) {
          for (const owner of rig.names) if (client !== owner) checkPair(rig, client, owner);
        }
        assert.deepEqual(rig.refusals, []);
        assert.equal(rig.built.faults?.count ?? 0, 0);
        rig.dispose();
      });
    }
  }
}

/** Maps the owner's BAR for the client, writes it and reads it back, to the byte. */
function checkPair(rig: BridgesRig, client: string, owner: string): void {
  const mapping = rig.map(client, rig.barOf(owner));
  const [to, from] = [rig.memory(owner).shown, rig.memory(client).local];
  const sent = mark(from, 8, 9000, client.charCodeAt(0));
  to.fill(0, MiB, 0xee);
  const address = mapping.ranges.address(0);
  assert.equal(rig.transfer(client, true, address + 4090, 9000, 8), DmaStatus.Ok);
  assert.deepEqual(bytesAt(to, 4090, 9000), sent, `${client} to ${owner}`);
  assert.deepEqual([to.getU8(4089), to.getU8(4090 + 9000)], [0xee, 0xee]);
  from.fill(0, 20_000, 0);
  assert.equal(rig.transfer(client, false, address + 4090, 9000, 30), DmaStatus.Ok);
  assert.deepEqual(bytesAt(from, 30, 9000), sent, `${owner} back to ${client}`);
  rig.unmap(client, mapping);
}

for (const fidelity of FIDELITIES) {
  describe(`below a host bridge with an offset, ${fidelity}`, () => {
    for (const iommu of [false, true]) {
      it(`memory and interrupts are where they always are, ${iommu ? 'IOMMU' : 'direct'}`, () => {
        const rig = new BridgesRig({ iommu, hostBridges: OFFSETS.offsets! }, fidelity);
        const { built } = rig;
        for (const name of ['d', 'e', 'f']) {
          const page = built.mm.allocate(8192);
          const mapping = rig.map(name, built.mm.pin(page, 8192));
          const sent = mark(rig.memory(name).local, 0, 8192, 5);
          const address = mapping.ranges.address(0);
          assert.equal(rig.transfer(name, true, address, 8192), DmaStatus.Ok);
          assert.deepEqual(bytesAt(built.mm.memory, page, 8192), sent);
          let count = 0;
          rig.run(built.function(name).enableMsi(() => count++));
          built.endpoint(name).raise(0);
          built.kernel.run();
          assert.equal(count, 1);
        }
        rig.dispose();
      });
    }

    it('the CPU uses its own addresses, as function 0 of the root bus', () => {
      const rig = new BridgesRig({ hostBridges: OFFSETS.offsets! }, fidelity);
      const { built } = rig;
      const requesters = new Set<number>();
      const probe = { sent: () => {}, refused: () => assert.fail('refused') };
      built.fabric.probe = {
        ...probe,
        delivered: (_path, tlp) => tlp.kind === TlpKind.MWr && requesters.add(tlp.requester),
      };
      for (const name of ['a', 'd', 'e', 'f']) {
        const { address } = built.function(name).bar(0);
        built.cpu.write32(address, 0x1234_5678);
        const read = built.cpu.read32(address);
        built.kernel.run();
        assert.equal(read.value, 0x1234_5678);
        assert.equal(rig.memory(name).shown.getU32(0), 0x1234_5678);
      }
      assert.deepEqual([...requesters], [0x0000, 0x4000, 0x8000]);
      rig.dispose();
    });
  });
}
