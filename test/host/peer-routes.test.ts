/**
 * Map types that software chooses against the routes that hardware takes, with a host bridge whose bus addresses
 * differ from the CPU's; and what happens where the two disagree. [P2PDMA], [PCIE] 6.12
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Direction, isRefusal, MapType } from '#emu/dma/mapping.ts';
import { HOST_BRIDGE_ALLOW_LIST } from '#emu/dma/p2p/host-bridge-list.ts';
import { type HostBridgeSpec, type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { AcsBit } from '#emu/pcie/config/config-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';

const MiB = 2 ** 20;
const TiB = 2 ** 40;
const SIZE = 9000;
const FIDELITIES = ['timed', 'functional'] as const;
const { BusAddress, ThruHostBridge } = MapType;

/** A and B below one switch, c beside it, d below the other host bridge. */
const spec = (rest: Partial<MachineSpec> = {}): MachineSpec => {
  const device = pcieSwitch({
    ports: [{ device: barMemory('a', MiB) }, { device: barMemory('b', MiB) }],
  });
  return {
    hostBridges: [
      { rootPorts: [{ device }, { device: barMemory('c', MiB) }], busOffset: { high: 2 * TiB } },
      { rootPorts: [{ device: barMemory('d', MiB) }], busOffset: { high: 5 * TiB } },
    ],
    ...rest,
  };
};

/** Which of the three addresses of a BAR a descriptor holds. */
type Address = 'bus' | 'cpu' | 'iova';

function kindOf(rig: BridgesRig, owner: string, address: number): Address {
  const { address: cpu, busAddress } = rig.built.pci.node(owner).bars[0]!;
  if (address === cpu) return 'cpu';
  return address === busAddress ? 'bus' : 'iova';
}

const upstreamBytes = (rig: BridgesRig): number =>
  rig.built.links().find(({ path }) => path === 'rc0.port0.sw0')?.up.dataBytes ?? -1;

interface Row {
  readonly name: string;
  readonly spec: Partial<MachineSpec>;
  readonly owner: 'b' | 'c' | 'd';
  readonly expect: readonly [MapType, Address, isThroughRoot: boolean];
}

const rows: readonly Row[] = [
  {
    name: 'no IOMMU, one switch',
    spec: {},
    owner: 'b',
    expect: [BusAddress, 'bus', false],
  },
  {
    name: 'no IOMMU, one switch that redirects',
    spec: { acs: 'linux' },
    owner: 'b',
    expect: [ThruHostBridge, 'cpu', true],
  },
  { name: 'no IOMMU, two root ports', spec: {}, owner: 'c', expect: [ThruHostBridge, 'cpu', true] },
  {
    name: 'no IOMMU, two host bridges',
    spec: {},
    owner: 'd',
    expect: [ThruHostBridge, 'cpu', true],
  },
  {
    name: 'IOMMU, one switch',
    spec: { iommu: true, acs: 'off' },
    owner: 'b',
    expect: [BusAddress, 'bus', false],
  },
  {
    name: 'IOMMU, one switch that redirects',
    spec: { iommu: true },
    owner: 'b',
    expect: [ThruHostBridge, 'iova', true],
  },
  {
    name: 'IOMMU, two root ports',
    spec: { iommu: true },
    owner: 'c',
    expect: [ThruHostBridge, 'iova', true],
  },
  {
    name: 'IOMMU, two root ports without redirect',
    spec: { iommu: true, acs: 'off' },
    owner: 'c',
    expect: [ThruHostBridge, 'iova', true],
  },
  {
    name: 'IOMMU, two host bridges',
    spec: { iommu: true },
    owner: 'd',
    expect: [ThruHostBridge, 'iova', true],
  },
];

/** The bytes arrive by the way that the type says; unmapping leaves nothing to go by. */
function checkRow(row: Row, fidelity: Fidelity): void {
  const rig = new BridgesRig(spec(row.spec), fidelity);
  const mapping = rig.map('a', rig.barOf(row.owner));
  const [mapType, address, isThroughRoot] = row.expect;
  const target = mapping.ranges.address(0);
  assert.deepEqual([mapping.mapType, kindOf(rig, row.owner, target)], [mapType, address]);
  assert.equal(mapping.ranges.flags(0) !== 0, mapType === BusAddress);
  const sent = mark(rig.memory('a').local, 0, SIZE, 7);
  const before = upstreamBytes(rig);
  assert.equal(rig.transfer('a', true, target, SIZE), DmaStatus.Ok);
  assert.deepEqual(bytesAt(rig.memory(row.owner).shown, 0, SIZE), sent);
  assert.equal(upstreamBytes(rig) - before, isThroughRoot ? SIZE : 0);
  assert.deepEqual([rig.refusals, rig.built.faults?.count ?? 0], [[], 0]);
  rig.unmap('a', mapping);
  if (address === 'iova') {
    assert.equal(rig.transfer('a', false, target, 64), DmaStatus.UnsupportedRequest);
  }
  rig.dispose();
}

for (const fidelity of FIDELITIES) {
  describe(`map type and route, ${fidelity}`, () => {
    for (const row of rows) it(row.name, () => checkRow(row, fidelity));

    for (const iommu of [false, true]) {
      it(`not allowed, IOMMU ${iommu ? 'on' : 'off'}: refused for good`, () => {
        const rig = new BridgesRig(spec({ iommu, hostBridgeAllowList: [] }), fidelity);
        for (const owner of ['c', 'd']) {
          const answer = rig.built.function('a').dma.map(rig.barOf(owner), Direction.ToDevice);
          assert.ok(isRefusal(answer) && answer.refused === 'EREMOTEIO');
        }
        rig.dispose();
      });
    }
  });

  describe(`wrong software, ${fidelity}`, () => {
    it('a CPU address below one switch goes the long way, or faults', () => {
      for (const iommu of [false, true]) {
        const rig = new BridgesRig(spec({ iommu, acs: 'off' }), fidelity);
        const cpu = rig.built.function('b').bar(0).address;
        const sent = mark(rig.memory('a').local, 0, SIZE, 3);
        rig.transfer('a', true, cpu, SIZE);
        assert.equal(upstreamBytes(rig), SIZE);
        const { shown } = rig.memory('b');
        if (iommu) assert.ok(shown.residentBytes === 0 && (rig.built.faults?.count ?? 0) > 0);
        else assert.deepEqual(bytesAt(shown, 0, SIZE), sent);
        rig.dispose();
      }
    });

    it('a bus address under redirect faults at the IOMMU', () => {
      const rig = new BridgesRig(spec({ iommu: true }), fidelity);
      const { busAddress } = rig.built.pci.node('b').bars[0]!;
      assert.equal(rig.transfer('a', false, busAddress, 64), DmaStatus.UnsupportedRequest);
      assert.ok(rig.refusals.includes('rc0.port0 translation-fault'));
      rig.dispose();
    });

    it('a bus address under redirect goes the long way without an IOMMU', () => {
      const rig = new BridgesRig(spec({ acs: 'linux' }), fidelity);
      const sent = mark(rig.memory('a').local, 0, SIZE, 9);
      const { busAddress } = rig.built.pci.node('b').bars[0]!;
      rig.transfer('a', true, busAddress, SIZE);
      assert.deepEqual(bytesAt(rig.memory('b').shown, 0, SIZE), sent);
      assert.equal(upstreamBytes(rig), SIZE);
      rig.dispose();
    });

    it('a bus address means nothing below another host bridge', () => {
      const rig = new BridgesRig(spec(), fidelity);
      const { busAddress } = rig.built.pci.node('d').bars[0]!;
      assert.equal(rig.transfer('a', false, busAddress, 64), DmaStatus.UnsupportedRequest);
      rig.dispose();
    });
  });
}

/** Two neighbours below the second host bridge, whose first port has this access control. */
const neighbours = (acs: number, acsEgress: number): MachineSpec => ({
  hostBridges: [
    { rootPorts: [{ device: barMemory('other', MiB) }] },
    {
      busOffset: { high: TiB },
      rootPorts: [{ device: barMemory('x', MiB), acs, acsEgress }, { device: barMemory('y', MiB) }],
    },
  ],
});

for (const fidelity of FIDELITIES) {
  it(`root ports below the second host bridge count from 0 in egress vectors, ${fidelity}`, () => {
    const { EC, RR } = AcsBit;
    const cases: [acs: number, vector: number, status: number][] = [
      [EC, 0b10, DmaStatus.CompleterAbort],
      [EC, 0b100, DmaStatus.Ok],
      [EC | RR, 0b10, DmaStatus.Ok],
      [RR, 0, DmaStatus.Ok],
    ];
    for (const [acs, vector, status] of cases) {
      const rig = new BridgesRig(neighbours(acs, vector), fidelity);
      const { busAddress } = rig.built.pci.node('y').bars[0]!;
      const bytes = mark(rig.memory('y').shown, 0, SIZE, 4);
      assert.equal(rig.transfer('x', false, busAddress, SIZE), status);
      const isRead = bytesAt(rig.memory('x').local, 0, SIZE).every((byte, i) => byte === bytes[i]);
      assert.equal(isRead, status === DmaStatus.Ok);
      rig.dispose();
    }
  });
}

/** Devices below the second see at the first's CPU addresses their own neighbours. */
const aliased = (iommu: boolean): MachineSpec => ({
  iommu,
  hostBridges: [
    { rootPorts: [{ device: barMemory('near', MiB) }] },
    {
      busOffset: { high: -128 * 2 ** 30 },
      rootPorts: [{ device: barMemory('victim', MiB) }, { device: barMemory('client', MiB) }],
    },
  ] satisfies HostBridgeSpec[],
});

for (const fidelity of FIDELITIES) {
  it(`bus addresses that hide another bridge's CPU addresses misroute, unless translated, ${fidelity}`, () => {
    for (const iommu of [false, true]) {
      const rig = new BridgesRig(aliased(iommu), fidelity);
      const [near, victim] = ['near', 'victim'].map((name) => rig.built.pci.node(name).bars[0]!);
      assert.equal(Number(victim!.busAddress), Number(near!.address));
      const mapping = rig.map('client', rig.barOf('near'));
      const sent = mark(rig.memory('client').local, 0, SIZE, 1);
      assert.equal(rig.transfer('client', true, mapping.ranges.address(0), SIZE), DmaStatus.Ok);
      const [right, wrong] = iommu ? ['near', 'victim'] : ['victim', 'near'];
      assert.deepEqual(bytesAt(rig.memory(right).shown, 0, SIZE), sent);
      assert.equal(rig.memory(wrong).shown.residentBytes, 0);
      rig.dispose();
    }
  });

  it(`software that trusts a host bridge learns the truth from the route, ${fidelity}`, () => {
    const policies: [MachineSpec['peerForwarding'], number, number][] = [
      [false, DmaStatus.UnsupportedRequest, 0],
      [{ reads: 'refuse' }, DmaStatus.UnsupportedRequest, 0x5a],
      [{ reads: 'all-ones' }, DmaStatus.Ok, 0x5a],
      [{ splitReadBytes: 64, bytesPerSecond: 1e9 }, DmaStatus.Ok, 0x5a],
      [[{ to: 2, allowed: false }], DmaStatus.UnsupportedRequest, 0],
      [[{ from: [1, 2], to: 2, allowed: false }], DmaStatus.Ok, 0x5a],
    ];
    for (const [peerForwarding, status, written] of policies) {
      const rig = new BridgesRig(spec({ iommu: true, peerForwarding: peerForwarding! }), fidelity);
      const mapping = rig.map('a', rig.barOf('d'));
      assert.equal(mapping.mapType, ThruHostBridge);
      const { local } = rig.memory('a');
      local.fill(0, 64, 0x5a);
      rig.transfer('a', true, mapping.ranges.address(0), 64);
      assert.equal(rig.memory('d').shown.getU8(63), written);
      assert.equal(rig.transfer('a', false, mapping.ranges.address(0), 64, 4096), status);
      rig.dispose();
    }
  });
}

it('no I/O virtual address lies where the bus has MMIO', () => {
  // The 32-bit window stands right below 4 GiB on this bus, where addresses are given out first.
  const rig = new BridgesRig(
    {
      iommu: true,
      memory: { sizeBytes: 2 ** 30 },
      hostBridges: [
        { rootPorts: [{ device: barMemory('a', MiB, 32) }], busOffset: { low: 0x8000_0000 } },
      ],
    },
    'functional',
  );
  assert.equal(rig.built.pci.node('a').bars[0]?.busAddress, 0xc000_0000);
  const page = rig.built.mm.allocate(4096);
  const mapping = rig.map('a', rig.built.mm.pin(page, 4096));
  assert.equal(mapping.ranges.address(0), 0xc000_0000 - 4096);
  rig.unmap('a', mapping);
  rig.dispose();
});

it('software distrusts what hardware forwards, and a list entry changes its mind', () => {
  const identity = { vendorId: 0x8086, deviceId: 0x29c0 };
  const hostBridges = (spec().hostBridges ?? []).map((bridge) => ({ ...bridge, identity }));
  const answers = [
    {},
    { hostBridgeAllowList: [...HOST_BRIDGE_ALLOW_LIST, identity] },
    { cpu: { vendor: 'AMD', family: 0x19 } },
  ].map((rest) => {
    const rig = new BridgesRig({ hostBridges, ...rest }, 'functional');
    const answer = rig.built.function('a').dma.map(rig.barOf('d'), Direction.ToDevice);
    rig.dispose();
    return isRefusal(answer) ? answer.refused : answer.mapType;
  });
  assert.deepEqual(answers, ['EREMOTEIO', ThruHostBridge, ThruHostBridge]);
});
