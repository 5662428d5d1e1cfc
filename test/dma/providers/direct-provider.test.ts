/**
 * The direct provider: identity, bus addresses of peers, refusals, lifetimes; and the walk over segments that
 * every provider uses.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { bdf, offsetBy, physAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import { DmaFlag, DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal, MapType } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import {
  BAR_SIZE,
  BUS_OFFSET,
  CLIENT,
  exceptBanned,
  FakeView,
  NEAR,
  PEER,
  rangesOf,
  threePorts,
} from '#test/support/dma-rig.ts';

const HOST = physAddr(0x8000_0000);
const { Bidirectional } = Direction;
const hasCode = (code: string) => (error: unknown) =>
  error instanceof EmuError && error.code === code;

interface Rig {
  readonly kernel: Kernel;
  readonly view: FakeView;
  readonly device: DmaDevice;
}

function rig(limits: Partial<DmaLimits> = {}, acs?: number): Rig {
  const kernel = new Kernel();
  const view = new FakeView(threePorts(acs));
  const provider = new DirectProvider({ kernel, view, hostBridgeAllowed: exceptBanned });
  const started = kernel.spawn('start', provider.start());
  assert.ok(started.done);
  return { kernel, view, device: provider.device(CLIENT, limits) };
}

function map(device: DmaDevice, list: PhyRangeList): DmaMapping {
  const result = device.map(list, Bidirectional);
  if (isRefusal(result)) return assert.fail(result.reason);
  return result;
}

const refusal = (device: DmaDevice, list: PhyRangeList): string => {
  const result = device.map(list, Bidirectional);
  assert.equal(device.liveMappings, 0);
  return isRefusal(result) ? `${result.refused} ${result.reason}` : 'mapped';
};

test('host memory is mapped as it is, sharing the storage of the list', () => {
  const { device } = rig();
  const list = PhyRangeList.of(HOST, 8192).append(physAddr(0x9000_0000), 100);
  const mapping = map(device, list);
  assert.deepEqual(rangesOf(mapping.ranges), rangesOf(list));
  assert.equal(mapping.mapType, MapType.None);
  assert.equal(mapping.source, list);
  assert.equal(mapping.direction, Bidirectional);
  assert.throws(() => mapping.ranges.append(mapping.ranges.address(0), 1), hasCode('USAGE'));
  assert.throws(() => list.append(physAddr(0x9000_0064), 100), hasCode('CHECKER'));
  device.unmap(mapping);
  list.append(physAddr(0x9000_0064), 100);
  assert.equal(mapping.ranges.sizeBytes, 8292);
});

test('peer memory under the same switch becomes bus addresses, flagged, each on its own', () => {
  const { device } = rig();
  const list = PhyRangeList.of(HOST, 4096)
    .append(PEER.near, 65536)
    .append(offsetBy(PEER.near, 2 ** 20), 4096)
    .append(HOST, 4096);
  const mapping = map(device, list);
  const flags = DmaFlag.BusAddress;
  assert.deepEqual(rangesOf(mapping.ranges), [
    { address: HOST, length: 4096, flags: 0 },
    { address: PEER.near + BUS_OFFSET, length: 65536, flags },
    { address: PEER.near + BUS_OFFSET + 2 ** 20, length: 4096, flags },
    { address: HOST, length: 4096, flags: 0 },
  ]);
  assert.equal(mapping.mapType, MapType.BusAddress);
});

test('peer memory through the host bridge keeps its physical address', () => {
  const { device } = rig();
  const mapping = map(device, PhyRangeList.of(PEER.far, 65536));
  assert.deepEqual(rangesOf(mapping.ranges), [{ address: PEER.far, length: 65536, flags: 0 }]);
  assert.equal(mapping.mapType, MapType.ThruHostBridge);
});

test('a range over several BARs is decided piece by piece', () => {
  const { device } = rig();
  const list = PhyRangeList.of(offsetBy(PEER.far, -4096), 8192);
  assert.equal(list.count, 1);
  const mapping = map(device, list);
  assert.deepEqual(rangesOf(mapping.ranges), [
    { address: PEER.far - 4096 + BUS_OFFSET, length: 4096, flags: DmaFlag.BusAddress },
    { address: PEER.far, length: 4096, flags: 0 },
  ]);
});

test('what the policy forbids, and what nobody decodes, is refused whole', () => {
  const { device } = rig();
  const list = PhyRangeList.of(HOST, 4096).append(PEER.banned, 4096);
  assert.match(
    refusal(device, list),
    /^EREMOTEIO 03:00.0 cannot reach memory of 06:00.0: they share no/,
  );
  assert.match(refusal(device, PhyRangeList.of(PEER.nobody, 1)), /^EINVAL no function decodes/);
  assert.match(refusal(device, PhyRangeList.of(offsetBy(PEER.nobody, -1), 2)), /^EREMOTEIO/);
  assert.match(refusal(device, new PhyRangeList()), /^EINVAL the list is empty/);
  assert.equal(list.count, 2);
});

test('ACS redirect turns bus addresses into the host bridge, or into a refusal that names the ports', () => {
  const { device, view } = rig({}, 0x1d);
  assert.equal(map(device, PhyRangeList.of(PEER.near, 4096)).mapType, MapType.ThruHostBridge);
  const strict = new DirectProvider({ kernel: new Kernel(), view }).device(CLIENT);
  assert.match(refusal(strict, PhyRangeList.of(PEER.near, 1)), /ACS redirects at 02:01.0, 02:00.0/);
});

test('map types are cached until the view says that it has changed', () => {
  const { device, view } = rig();
  const list = PhyRangeList.of(PEER.near, 4096);
  const type = (): MapType => map(device, list).mapType;
  assert.equal(type(), MapType.BusAddress);
  const before = view.generation;
  view.set(threePorts(0x04));
  const after = view.generation;
  view.generation = before;
  assert.equal(type(), MapType.BusAddress, 'stale, as the view was not refreshed');
  view.generation = after;
  assert.equal(type(), MapType.ThruHostBridge);
});

test('addresses beyond what the device can make are an error', () => {
  const { device } = rig({ addressLimit: 2 ** 32 });
  assert.match(refusal(device, PhyRangeList.of(physAddr(2 ** 32 - 1), 2)), /^EIO/);
  assert.equal(refusal(device, PhyRangeList.of(PEER.near, 2)).slice(0, 3), 'EIO');
  assert.equal(map(device, PhyRangeList.of(physAddr(2 ** 32 - 2), 2)).ranges.count, 1);
});

test('a mapping is unmapped once, by the function that made it', () => {
  const { device, kernel } = rig();
  const mapping = map(device, PhyRangeList.of(HOST, 1));
  assert.equal(device.liveMappings, 1);
  const done = device.unmap(mapping);
  assert.equal(done.done, true);
  assert.equal(device.liveMappings, 0);
  assert.throws(() => device.unmap(mapping), hasCode('CHECKER'));
  const other = map(rig().device, PhyRangeList.of(HOST, 1));
  assert.throws(() => device.unmap(other), hasCode('CHECKER'));
  assert.deepEqual(kernel.outstanding(), []);
});

test('wrong arguments are refused with what was expected', () => {
  const { device } = rig();
  const dma: object = new DmaRangeList();
  // @ts-expect-error a list of the wrong kind
  assert.throws(() => device.map(dma, Bidirectional), hasCode('USAGE'));
  for (const direction of [0, 4, Number.NaN]) {
    // @ts-expect-error no direction
    assert.throws(() => device.map(PhyRangeList.of(HOST, 1), direction), hasCode('USAGE'));
  }
});

test('the doorbell is where it is', () => {
  assert.equal(rig().device.mapDoorbell(physAddr(0x2800_0040)), 0x2800_0040);
});

test('mapping covers exactly the bytes of the list, once and in order, and leaves the list alone', () => {
  const places = [HOST, PEER.near, PEER.far, offsetBy(PEER.far, BAR_SIZE - 4096)] as const;
  const piece = fc.record({
    place: fc.nat({ max: places.length - 1 }),
    page: fc.nat({ max: 3 }),
    offset: fc.nat({ max: 1023 }),
    size: fc.integer({ min: 1, max: 3000 }),
  });
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 40 }), (pieces) => {
      const { device } = rig();
      const list = new PhyRangeList();
      for (const { place, page, offset, size } of pieces) {
        const base = places[place] ?? HOST;
        const room = place === 3 ? 0 : page * 4096;
        list.append(offsetBy(base, room + offset), size);
      }
      const before = rangesOf(list);
      const { ranges } = map(device, list);
      assert.deepEqual(rangesOf(list), before);
      assert.equal(ranges.sizeBytes, list.sizeBytes);
      const back = new PhyRangeList();
      for (const { address, length, flags } of ranges) {
        back.append(physAddr(address - (flags === 0 ? 0 : BUS_OFFSET)), length);
      }
      const joined = new PhyRangeList();
      for (const { address, length } of list) joined.append(address, length);
      assert.deepEqual(rangesOf(back), rangesOf(joined));
    }),
    { numRuns: 100 },
  );
});

test('a client reaches its own memory by bus address', () => {
  const { view } = rig();
  const provider = new DirectProvider({ kernel: new Kernel(), view });
  const mapping = map(provider.device(NEAR), PhyRangeList.of(PEER.near, 16));
  assert.equal(mapping.mapType, MapType.BusAddress);
  const stranger = provider.device(bdf(99, 0, 0));
  assert.match(refusal(stranger, PhyRangeList.of(PEER.near, 16)), /not in the topology/);
});
