/**
 * The table of map types against the routes that requests take: what software puts into a descriptor, whether its
 * bytes arrive, by which links, and whether the IOMMU has seen them; then the same with the wrong addresses. [P2PDMA]
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dmaAddr } from '#emu/base/units.ts';
import { DmaFlag, DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal, MapType } from '#emu/dma/mapping.ts';
import { mapType } from '#emu/dma/p2p/p2p.ts';
import type { AcsPolicy } from '#emu/host/machine-spec.ts';
import { Acs, AcsBit, ExtendedId } from '#emu/pcie/config/config-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { type BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';
import { domainOf, drive, PAGE } from '#test/support/requester-rig.ts';
import {
  type AddressKind,
  build,
  CLIENT,
  type Mode,
  type Owner,
  type Route,
  routeOf,
  SIZE,
  sample,
  since,
  Target,
} from '#test/support/route-rig.ts';

const FIDELITIES = ['timed', 'functional'] as const;
const { BusAddress, None, ThruHostBridge } = MapType;
const ALL_MODES = ['off', 'on', 'lazy', 'passthrough'] as const;
const isTranslated = (mode: Mode): boolean => mode === 'on' || mode === 'lazy';

interface Row {
  readonly modes: readonly Mode[];
  readonly acs: AcsPolicy;
  readonly owner: Owner;
  readonly expect: readonly [MapType, AddressKind, Route];
}

const UNTRANSLATED = ['off', 'passthrough'] as const;
const TRANSLATED = ['on', 'lazy'] as const;
const ROWS: readonly Row[] = [
  { modes: ALL_MODES, acs: 'off', owner: 'b', expect: [BusAddress, 'bus', 'switch'] },
  { modes: UNTRANSLATED, acs: 'linux', owner: 'b', expect: [ThruHostBridge, 'cpu', 'root'] },
  { modes: UNTRANSLATED, acs: 'off', owner: 'c', expect: [ThruHostBridge, 'cpu', 'root'] },
  { modes: UNTRANSLATED, acs: 'linux', owner: 'c', expect: [ThruHostBridge, 'cpu', 'root'] },
  { modes: UNTRANSLATED, acs: 'off', owner: 'd', expect: [ThruHostBridge, 'cpu', 'root'] },
  { modes: UNTRANSLATED, acs: 'linux', owner: 'd', expect: [ThruHostBridge, 'cpu', 'root'] },
  { modes: UNTRANSLATED, acs: 'off', owner: 'host', expect: [None, 'cpu', 'root'] },
  ...(['b', 'c', 'd'] as const).map(
    (owner): Row => ({
      modes: TRANSLATED,
      acs: 'linux',
      owner,
      expect: [ThruHostBridge, 'iova', 'root, translated'],
    }),
  ),
  ...(['c', 'd'] as const).map(
    (owner): Row => ({
      modes: TRANSLATED,
      acs: 'off',
      owner,
      expect: [ThruHostBridge, 'iova', 'root, translated'],
    }),
  ),
  { modes: TRANSLATED, acs: 'linux', owner: 'host', expect: [None, 'iova', 'root, translated'] },
];

/** Type, address and way; then nothing is left to go by. */
function checkRow({ acs, owner, expect }: Row, mode: Mode, fidelity: Fidelity): void {
  const rig = build(mode, fidelity, { acs });
  const target = new Target(rig, owner);
  const mapping = rig.map(CLIENT, target.list);
  const { ranges } = mapping;
  const kind = target.kindOf(ranges.address(0));
  const route = routeOf(rig, target, ranges);
  assert.deepEqual([mapping.mapType, kind, route], expect);
  assert.deepEqual([ranges.count, ranges.sizeBytes], [1, SIZE]);
  assert.equal(ranges.flags(0), kind === 'bus' ? DmaFlag.BusAddress : 0);
  assert.deepEqual([rig.refusals, rig.built.faults?.count ?? 0], [[], 0]);
  if (isTranslated(mode)) {
    const { iovas, table } = domainOf(rig, CLIENT);
    assert.equal(iovas.usedBytes > 0, kind === 'iova');
    assert.equal(table.leaves, kind === 'iova' ? SIZE / PAGE : 0);
  }
  rig.unmap(CLIENT, mapping);
  if (kind === 'iova') assert.equal(routeOf(rig, target, ranges), 'fault');
  rig.dispose();
}

for (const fidelity of FIDELITIES) {
  describe(`map type, address and route, ${fidelity}`, () => {
    for (const row of ROWS) {
      for (const mode of row.modes) {
        it(`IOMMU ${mode}, ACS ${row.acs}, to ${row.owner}: ${row.expect.join(', ')}`, () => {
          checkRow(row, mode, fidelity);
        });
      }
    }
  });

  describe(`not allowed, ${fidelity}`, () => {
    for (const mode of ALL_MODES) {
      it(`IOMMU ${mode}: refused for good, with nothing mapped, as soon as one part is`, () => {
        // Listed for traffic within one host bridge; and not at all.
        for (const [hostBridge, refused] of [
          [0x3c00, ['d']],
          [0x29c0, ['c', 'd']],
        ] as const) {
          const rig = build(mode, fidelity, { hostBridge });
          const answers = (['b', 'c', 'd'] as const).filter((owner) => isRefused(rig, owner));
          assert.deepEqual(answers, refused);
          if (isTranslated(mode)) assert.equal(domainOf(rig, CLIENT).iovas.usedBytes, 0);
          rig.dispose();
        }
      });
    }

    it('below one switch that redirects, when the host bridge is not trusted', () => {
      const rig = build('off', fidelity, { acs: 'linux', hostBridge: 0x29c0 });
      const answer = rig.built.function(CLIENT).dma.map(rig.barOf('b'), Direction.ToDevice);
      assert.ok(isRefusal(answer) && answer.refused === 'EREMOTEIO');
      assert.match(answer.reason, /ACS redirects at .* and the host bridge is not allowed/);
      rig.dispose();
    });
  });

  describe(`one list of everything, ${fidelity}`, () => {
    for (const mode of ALL_MODES) {
      for (const acs of ['off', 'linux'] as const) {
        it(`IOMMU ${mode}, ACS ${acs}: each part by its own way`, () =>
          checkMixed(mode, acs, fidelity));
      }
    }
  });
}

/** Whether a list of memory that can be mapped and of this owner's is refused, and then as it must be. */
function isRefused(rig: BridgesRig, owner: Owner): boolean {
  const { dma } = rig.built.function(CLIENT);
  const list = new PhyRangeList();
  for (const part of ['b', owner] as const) {
    list.appendApart(new Target(rig, part).list.address(0), SIZE);
  }
  const before = [...list];
  const answer = dma.map(list, Direction.Bidirectional);
  assert.deepEqual([...list], before);
  if (!isRefusal(answer)) {
    rig.unmap(CLIENT, answer);
    return false;
  }
  assert.equal(answer.refused, 'EREMOTEIO');
  assert.match(answer.reason, /share no upstream bridge/);
  assert.deepEqual([dma.liveMappings, list.mappings], [0, 0]);
  return true;
}

/** Host memory, every peer and host memory again, in one mapping. */
function checkMixed(mode: Mode, acs: AcsPolicy, fidelity: Fidelity): void {
  const rig = build(mode, fidelity, { acs });
  const owners = ['host', 'b', 'host', 'c', 'd', 'b', 'host'] as const;
  const targets = owners.map((owner, i) => new Target(rig, owner, i * SIZE));
  const list = new PhyRangeList();
  for (const target of targets) list.appendApart(target.list.address(0), SIZE);
  const { ranges, mapType } = mapAll(rig, list);
  const isDirect = acs === 'off';
  const isBus = ({ flags }: { flags: number }): boolean => flags === DmaFlag.BusAddress;
  assert.equal([...ranges].filter(isBus).length, isDirect ? 2 : 0);
  assert.equal(mapType, isDirect ? BusAddress : ThruHostBridge);
  const before = sample(rig);
  const { local } = rig.memory(CLIENT);
  const sent = mark(local, 0, list.sizeBytes, 5);
  assert.deepEqual(drive(rig, CLIENT, true, ranges), [DmaStatus.Ok]);
  const [up, , , translated] = since(rig, before);
  assert.equal(up, (isDirect ? owners.length - 2 : owners.length) * SIZE);
  assert.equal((translated ?? 0) > 0, isTranslated(mode));
  for (const [i, { memory, at }] of targets.entries()) {
    assert.deepEqual(bytesAt(memory, at, SIZE), sent.subarray(i * SIZE, (i + 1) * SIZE));
  }
  for (const owner of ['b', 'c', 'd'] as const) {
    const parts = owners.filter((name) => name === owner).length;
    assert.equal(rig.memory(owner).shown.residentBytes, parts * SIZE, 'and nowhere else');
  }
  local.discard(0, list.sizeBytes);
  assert.deepEqual(drive(rig, CLIENT, false, ranges), [DmaStatus.Ok]);
  assert.deepEqual(bytesAt(local, 0, list.sizeBytes), sent);
  assert.deepEqual([rig.refusals, rig.built.faults?.count ?? 0], [[], 0]);
  rig.dispose();
}

/** A mapping for as long as the machine lives. */
function mapAll(rig: BridgesRig, list: PhyRangeList): DmaMapping {
  const mapping = rig.map(CLIENT, list);
  assert.equal(mapping.ranges.sizeBytes, list.sizeBytes);
  return mapping;
}

/** What each wrong or right address leads to: by mode, ACS, owner, then bus and CPU address. */
const WAYS: readonly [Mode, AcsPolicy, Owner, bus: Route, cpu: Route][] = [
  ['off', 'off', 'b', 'switch', 'root'],
  ['off', 'off', 'c', 'root', 'root'],
  ['off', 'off', 'd', 'unsupported', 'root'],
  ['off', 'linux', 'b', 'root', 'root'],
  ['off', 'linux', 'c', 'root', 'root'],
  ['off', 'linux', 'd', 'unsupported', 'root'],
  ['on', 'off', 'b', 'switch', 'fault'],
  // Root ports that do not redirect are neighbours on the root bus.
  ['on', 'off', 'c', 'root', 'fault'],
  ['on', 'off', 'd', 'fault', 'fault'],
  ['on', 'linux', 'b', 'fault', 'fault'],
  ['on', 'linux', 'c', 'fault', 'fault'],
  ['on', 'linux', 'd', 'fault', 'fault'],
  ['passthrough', 'off', 'b', 'switch', 'root'],
  ['passthrough', 'off', 'c', 'root', 'root'],
  ['passthrough', 'off', 'd', 'unsupported', 'root'],
  // The unit lets a redirected address pass as a CPU address, which nothing decodes.
  ['passthrough', 'linux', 'b', 'unsupported', 'root'],
  ['passthrough', 'linux', 'c', 'unsupported', 'root'],
  ['passthrough', 'linux', 'd', 'unsupported', 'root'],
];

for (const fidelity of FIDELITIES) {
  describe(`addresses of the wrong kind, ${fidelity}`, () => {
    for (const [mode, acs, owner, bus, cpu] of WAYS) {
      it(`IOMMU ${mode}, ACS ${acs}, to ${owner}: ${bus} by bus address, ${cpu} by CPU address`, () => {
        const rig = build(mode, fidelity, { acs });
        // Its domain is there, with nothing mapped.
        assert.equal(rig.built.function(CLIENT).dma.liveMappings, 0);
        const target = new Target(rig, owner);
        const ways = [target.busAddress, target.list.address(0)].map((address) =>
          routeOf(rig, target, DmaRangeList.of(dmaAddr(address), SIZE)),
        );
        assert.deepEqual(ways, [bus, cpu]);
        assert.equal((rig.built.faults?.count ?? 0) > 0, ways.includes('fault'));
        rig.dispose();
      });
    }

    it("another function's IOVA faults", () => {
      const rig = build('on', fidelity);
      const target = new Target(rig, 'host');
      const mapping = rig.map('b', target.list);
      // A domain of its own, in which nothing has this address.
      assert.equal(rig.built.function(CLIENT).dma.liveMappings, 0);
      assert.equal(routeOf(rig, target, mapping.ranges), 'fault');
      rig.unmap('b', mapping);
      rig.dispose();
    });

    it('a write to what was mapped for reading faults, directly it does not', () => {
      for (const [mode, expected] of [
        ['on', 0x11],
        ['off', 0x77],
      ] as const) {
        const rig = build(mode, fidelity);
        const { list, memory, at } = new Target(rig, 'c');
        const mapping = rig.built.function(CLIENT).dma.map(list, Direction.ToDevice);
        assert.ok(!isRefusal(mapping));
        memory.fill(at, SIZE, 0x11);
        const { local } = rig.memory(CLIENT);
        assert.deepEqual(drive(rig, CLIENT, false, mapping.ranges), [DmaStatus.Ok]);
        local.fill(0, SIZE, 0x77);
        drive(rig, CLIENT, true, mapping.ranges);
        assert.ok(bytesAt(memory, at, SIZE).every((byte) => byte === expected));
        assert.equal(rig.refusals.includes('rc0.port0 translation-fault'), mode === 'on');
        rig.dispose();
      }
    });
  });
}

/** Bits of ACS Control on the ports below the switch: software's type, and the way of a bus address. */
const BITS: readonly [bits: number, MapType, bus: Route][] = [
  [0, BusAddress, 'switch'],
  [AcsBit.SV, BusAddress, 'switch'],
  [AcsBit.TB, BusAddress, 'switch'],
  [AcsBit.UF, BusAddress, 'switch'],
  [AcsBit.DT, BusAddress, 'switch'],
  [AcsBit.RR | AcsBit.UF, ThruHostBridge, 'root'],
  [AcsBit.EC, ThruHostBridge, 'switch'],
];

for (const fidelity of FIDELITIES) {
  describe(`bits of ACS Control, ${fidelity}`, () => {
    for (const [bits, type, bus] of BITS) {
      it(`0x${bits.toString(16)}: ${type}, and ${bus} by bus address`, () => {
        const rig = build('off', fidelity, { acs: 'linux', downAcs: bits });
        const target = new Target(rig, 'b');
        const mapping = rig.map(CLIENT, target.list);
        assert.equal(mapping.mapType, type);
        const way = routeOf(rig, target, mapping.ranges);
        assert.equal(way, type === BusAddress ? 'switch' : 'root');
        const wrong = DmaRangeList.of(dmaAddr(target.busAddress), SIZE);
        assert.equal(routeOf(rig, target, wrong), bus);
        rig.dispose();
      });
    }

    it('Completion Redirect alone: requests go straight, data comes back by the root', () => {
      const rig = build('off', fidelity, { acs: 'linux', downAcs: AcsBit.CR });
      const target = new Target(rig, 'b');
      assert.equal(mapAll(rig, target.list).mapType, ThruHostBridge);
      const straight = DmaRangeList.of(dmaAddr(target.busAddress), SIZE);
      const before = sample(rig);
      assert.equal(routeOf(rig, target, straight), 'switch');
      assert.deepEqual(since(rig, before), [SIZE, SIZE, 0, 0]);
      rig.dispose();
    });

    it('what software believes is what it read: a change shows in the route first', () => {
      const rig = build('on', fidelity, { acs: 'linux', downAcs: 0 });
      const { pci } = rig.built;
      const [client, peer] = [CLIENT, 'b'].map((name) => rig.built.function(name).bdf);
      const software = (): MapType => mapType(pci, peer!, client!, true).type;
      const target = new Target(rig, 'b');
      const first = rig.map(CLIENT, target.list);
      assert.equal(routeOf(rig, target, first.ranges), 'switch');
      setAcs(rig, AcsBit.RR | AcsBit.UF);
      // The redirect bites at once, and a new mapping is as wrong as the old one.
      const second = rig.map(CLIENT, target.list);
      assert.deepEqual([second.mapType, software()], [BusAddress, BusAddress]);
      assert.equal(routeOf(rig, target, second.ranges), 'fault');
      rig.run(pci.refresh());
      const third = rig.map(CLIENT, target.list);
      assert.deepEqual([third.mapType, software()], [ThruHostBridge, ThruHostBridge]);
      assert.equal(routeOf(rig, target, third.ranges), 'root, translated');
      setAcs(rig, 0);
      rig.run(pci.refresh());
      assert.equal(routeOf(rig, target, first.ranges), 'switch');
      for (const mapping of [first, second, third]) rig.unmap(CLIENT, mapping);
      assert.equal(domainOf(rig, CLIENT).iovas.usedBytes, 0);
      rig.dispose();
    });
  });
}

/** Sets ACS Control of the ports below the switch as a driver would. */
function setAcs(rig: BridgesRig, bits: number): void {
  for (const name of ['down0', 'down1']) {
    const port = rig.built.function(`rc0.port0.sw0.${name}`);
    const at = port.extendedCapability(ExtendedId.Acs) + Acs.Control;
    rig.run(port.configWrite16(at, bits));
  }
}

it('distances of the pairs of the table', () => {
  const rig = build('off', 'functional');
  const { pci } = rig.built;
  const from = (owner: string) => {
    const [peer, client] = [owner, CLIENT].map((name) => rig.built.function(name).bdf);
    const { type, distance } = mapType(pci, peer!, client!, true);
    return [type, distance];
  };
  // No common bridge: the nodes of both chains, of which the client's has four.
  assert.deepEqual(['a', 'b', 'c', 'd'].map(from), [
    [BusAddress, 0],
    [BusAddress, 4],
    [ThruHostBridge, 6],
    [ThruHostBridge, 6],
  ]);
  rig.dispose();
});
