/**
 * The IOMMU's driver against the IOMMU: bring-up, mapping and unmapping as the hardware sees them, faults,
 * running out of things.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { offsetBy, type PhysAddr, physAddr, us } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal, MapType } from '#emu/dma/mapping.ts';
import { IommuProvider } from '#emu/dma/providers/iommu-provider.ts';
import { DdtMode, Reg } from '#emu/iommu/spec.ts';
import { IommuCounter } from '#emu/iommu/translation-unit.ts';
import {
  BUS_OFFSET,
  CLIENT,
  DOORBELL,
  FAR,
  FakeHost,
  FakeView,
  IommuDriverRig,
  NEAR,
  PEER,
  REGISTERS,
  rangesOf,
  threePorts,
  WINDOW,
} from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const GIB = 2 ** 30;
const { ToDevice, FromDevice, Bidirectional } = Direction;
const hasCode = (code: string) => (error: unknown) =>
  error instanceof EmuError && error.code === code;

/** `count` pages that are not adjacent. */
const scattered = (count: number, base: PhysAddr = HOST): PhyRangeList => {
  const list = new PhyRangeList();
  for (let i = 0; i < count; i++) list.append(offsetBy(base, i * 8192), 4096);
  return list;
};

const unmapAll = (rig: IommuDriverRig, mappings: readonly DmaMapping[]): void => {
  const done = mappings.map((mapping) => rig.device.unmap(mapping));
  rig.host.kernel.run();
  assert.ok(done.every((each) => each.done));
};

test('bring-up turns on queues, interrupts and a two-level directory', () => {
  const rig = new IommuDriverRig();
  const read = (offset: number): number => {
    const pending = rig.host.mmioRead32(offsetBy(REGISTERS, offset));
    rig.host.kernel.run();
    return pending.value;
  };
  assert.equal(read(Reg.ddtp) & 0xf, DdtMode.TwoLevel);
  assert.equal(read(Reg.cqcsr), 0x1_0003);
  assert.equal(read(Reg.fqcsr), 0x1_0003);
  assert.equal(read(Reg.cqh), 3);
  assert.deepEqual(rig.host.kernel.outstanding(), []);
});

test('hardware without Sv48 or of another version is refused', () => {
  const host = new FakeHost();
  const read = host.mmioRead32.bind(host);
  for (const capabilities of [0x210, 0x411, 0]) {
    host.mmioRead32 = (address) => {
      const pending = read(address);
      const wrong = host.kernel.pending<number>('wrong');
      pending.onDone(() => wrong.complete(capabilities));
      return wrong;
    };
    const view = new FakeView([]);
    const provider = new IommuProvider({ host, view, registers: REGISTERS, doorbell: DOORBELL });
    const started = host.kernel.spawn('start', provider.start());
    assert.throws(() => host.kernel.run(), hasCode('USAGE'));
    assert.ok(started.done);
  }
});

test('a mapped list translates byte by byte to the list, for its direction, until it is unmapped', () => {
  const rig = new IommuDriverRig();
  const list = PhyRangeList.of(offsetBy(HOST, 100), 5000).append(PEER.far, 4096);
  for (const [direction, canWrite] of [
    [ToDevice, false],
    [FromDevice, true],
    [Bidirectional, true],
  ] as const) {
    const mapping = rig.map(list, direction);
    assert.equal(mapping.mapType, MapType.ThruHostBridge);
    const [first, second] = rangesOf(mapping.ranges);
    assert.ok(first && second);
    assert.equal(rig.access(first.address), HOST + 100);
    assert.equal(rig.access(first.address + 4999), HOST + 5099);
    assert.equal(rig.access(second.address + 4095), PEER.far + 4095);
    assert.equal(rig.access(first.address, true), canWrite ? HOST + 100 : -1);
    assert.equal(rig.access(second.address + 4096), -1);
    assert.equal(rig.access(first.address, false, FAR), -1, 'only the client has this address');
    unmapAll(rig, [mapping]);
    assert.equal(rig.access(first.address), -1);
  }
  rig.dispose();
});

test('unmap is strict: the hardware forgets before it completes, and nothing is used again before', () => {
  const rig = new IommuDriverRig();
  const mapping = rig.map(scattered(3), Bidirectional);
  const [first] = rangesOf(mapping.ranges);
  assert.ok(first);
  assert.equal(rig.access(first.address), HOST);
  const done = rig.device.unmap(mapping);
  assert.equal(done.done, false);
  assert.equal(rig.access(first.address), HOST, 'cached still');
  assert.notEqual(rig.domain.iovas.usedBytes, 0);
  const other = rig.map(scattered(3), Bidirectional);
  assert.notEqual(rangesOf(other.ranges)[0]?.address, first.address);
  rig.host.kernel.run();
  assert.equal(done.done, true);
  assert.equal(rig.access(first.address), -1);
  unmapAll(rig, [other]);
  assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
  assert.throws(() => rig.device.unmap(mapping), hasCode('CHECKER'));
  rig.dispose();
});

test('unmap does not complete before translated requests have arrived', () => {
  const rig = new IommuDriverRig();
  const { kernel, iommu } = rig.host;
  const drained = kernel.now + us(30);
  iommu.drainedAt = () => drained;
  const done = rig.device.unmap(rig.map(scattered(1), Bidirectional));
  kernel.runUntil(drained - 1);
  assert.equal(done.done, false);
  kernel.run();
  assert.equal(done.done, true);
});

test('one unmap of few pages invalidates them alone; of many, the domain', () => {
  const rig = new IommuDriverRig();
  const kept = rig.map(PhyRangeList.of(HOST, 4096), Bidirectional);
  const iova = kept.ranges.address(0);
  const missesAfterUnmapOf = (pages: number): number => {
    rig.access(iova);
    const before = rig.host.iommu.counters[IommuCounter.misses] ?? 0;
    unmapAll(rig, [rig.map(scattered(pages), Bidirectional)]);
    rig.access(iova);
    return (rig.host.iommu.counters[IommuCounter.misses] ?? 0) - before;
  };
  assert.equal(missesAfterUnmapOf(8), 0);
  assert.equal(missesAfterUnmapOf(9), 1);
});

test('2 MiB pages are used where both sides are aligned', () => {
  const rig = new IommuDriverRig();
  const mapping = rig.map(PhyRangeList.of(HOST, 2 ** 22 + 4096), Bidirectional);
  assert.equal(rig.domain.table.leaves, 3);
  const at = mapping.ranges.address(0);
  assert.equal(rig.access(at + 2 ** 22 + 5), HOST + 2 ** 22 + 5);
  assert.equal(rig.access(at + 2 ** 21 - 1), HOST + 2 ** 21 - 1);
  const tables = rig.domain.table.tables;
  unmapAll(rig, [mapping]);
  assert.equal(rig.access(at), -1);
  assert.ok(rig.domain.table.tables <= tables);
  rig.dispose();
});

for (const size of [4 * GIB - 4096, 4 * GIB, 8 * GIB + 4096]) {
  test(`a mapping of ${size} bytes translates around every 4 GiB edge`, () => {
    const rig = new IommuDriverRig();
    for (const base of [HOST, PEER.far]) {
      const mapping = rig.map(PhyRangeList.of(base, size), Bidirectional);
      assert.equal(mapping.ranges.sizeBytes, size);
      let offset = 0;
      for (const { address, length } of mapping.ranges) {
        for (const at of [0, 4095, length - 4096, length - 1]) {
          assert.equal(rig.access(address + at, true), base + offset + at);
        }
        offset += length;
      }
      unmapAll(rig, [mapping]);
      assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
    }
    rig.dispose();
  });
}

test('addresses never lie in a window of the host bridge, seen from the bus', () => {
  const rig = new IommuDriverRig();
  for (let i = 0; i < 40; i++) {
    const { ranges } = rig.map(PhyRangeList.of(HOST, 2 ** 36), Bidirectional);
    const at = ranges.address(0);
    const bus = WINDOW.base + BUS_OFFSET;
    assert.ok(at + 2 ** 36 <= bus || at >= bus + WINDOW.sizeBytes);
  }
  rig.dispose();
});

test('addresses never lie on the doorbell', () => {
  const rig = new IommuDriverRig({ addressLimit: 2 ** 30 });
  const size = 2 ** 27;
  const bases: number[] = [];
  for (;;) {
    const result = rig.device.map(PhyRangeList.of(HOST, size), Bidirectional);
    if (isRefusal(result)) break;
    bases.push(result.ranges.address(0) / size);
  }
  // All of 1 GiB but the parts with page 0 and with the doorbell.
  assert.deepEqual(bases, [7, 6, 4, 3, 2, 1]);
  rig.dispose();
});

test('an address limit keeps I/O virtual addresses below it', () => {
  const rig = new IommuDriverRig({ addressLimit: 2 ** 30 });
  const { ranges } = rig.map(PhyRangeList.of(physAddr(2 ** 40 - 4096), 4096), Bidirectional);
  assert.equal(ranges.address(0), 2 ** 30 - 4096);
  const result = rig.device.map(PhyRangeList.of(HOST, 2 ** 30), Bidirectional);
  assert.equal(isRefusal(result) && result.refused, 'ENOMEM');
});

test('limits that make no sense are refused', () => {
  for (const boundaryBytes of [0, 2048, 12_288]) {
    assert.throws(() => new IommuDriverRig({ boundaryBytes }), hasCode('USAGE'));
  }
});

test('a function has one domain', () => {
  const rig = new IommuDriverRig();
  assert.throws(() => rig.provider.device(CLIENT), hasCode('USAGE'));
  rig.provider.device(NEAR);
});

test('a larger granule maps and aligns by it', () => {
  const rig = new IommuDriverRig({}, { granuleBytes: 0x1_0000 });
  const list = PhyRangeList.of(offsetBy(HOST, 0x8000), 0x8000).append(offsetBy(HOST, 2 ** 20), 100);
  const { ranges } = rig.map(list, Bidirectional);
  assert.deepEqual([ranges.count, ranges.sizeBytes], [1, 0x8064]);
  const at = ranges.address(0);
  assert.equal(at % 0x1_0000, 0x8000);
  assert.equal(rig.access(at), HOST + 0x8000);
  assert.equal(rig.access(at + 0x8063), HOST + 2 ** 20 + 99);
});

test('the doorbell is mapped once, for writing, at its own address', () => {
  const rig = new IommuDriverRig();
  const at = physAddr(DOORBELL.base + 0x40);
  assert.equal(rig.access(at, true), -1);
  assert.equal(rig.device.mapDoorbell(at), at);
  assert.equal(rig.device.mapDoorbell(at), at);
  assert.equal(rig.access(at, true), at);
  const elsewhere = physAddr(0x2900_0010);
  const mapped = rig.device.mapDoorbell(elsewhere);
  assert.equal(rig.access(mapped, true), elsewhere);
});

test('running out of memory for tables refuses the mapping and leaves nothing', () => {
  const rig = new IommuDriverRig();
  // Two upper tables and one for each 2 MiB: six, of which each attempt leaves some in place.
  const list = scattered(2000);
  for (const budget of [0, 1, 2]) {
    rig.host.budget = budget;
    const result = rig.device.map(list, Bidirectional);
    assert.equal(isRefusal(result) && result.refused, 'ENOMEM');
    assert.deepEqual([rig.domain.table.leaves, rig.domain.iovas.usedBytes], [0, 0]);
  }
  rig.host.budget = Number.POSITIVE_INFINITY;
  unmapAll(rig, [rig.map(list, Bidirectional)]);
  rig.dispose();
});

test('table pages come back with the mappings that needed them', () => {
  const rig = new IommuDriverRig();
  const list = scattered(4096);
  unmapAll(rig, [rig.map(list, Bidirectional)]);
  const { size } = rig.host.live;
  assert.equal(rig.domain.table.tables, 3, 'those above the last level are kept');
  for (let i = 0; i < 5; i++) unmapAll(rig, [rig.map(list, Bidirectional)]);
  assert.equal(rig.host.live.size, size);
  rig.dispose();
});

for (const pages of [1, 3]) {
  test(`more unmaps of ${pages} than the command queue holds wait their turn, and none is lost`, () => {
    const rig = new IommuDriverRig({}, {}, { iotlbEntries: 8192 });
    const order: number[] = [];
    const mappings = Array.from({ length: 700 }, () => rig.map(scattered(pages), Bidirectional));
    const reachable = (): number =>
      mappings.filter(({ ranges }) => rig.access(ranges.address(0)) >= 0).length;
    assert.equal(reachable(), 700);
    for (const [i, mapping] of mappings.entries()) {
      rig.device.unmap(mapping).onDone(() => order.push(i));
    }
    rig.host.kernel.run();
    assert.deepEqual(
      order,
      mappings.map((_, i) => i),
    );
    assert.equal(rig.provider.ring.outstanding, 0);
    assert.equal(reachable(), 0);
    assert.deepEqual([rig.domain.iovas.usedBytes, rig.domain.table.leaves], [0, 0]);
    rig.dispose();
  });
}

test('a small unmap does not overtake a large one that waits for room', () => {
  const rig = new IommuDriverRig();
  const order: number[] = [];
  const mappings = Array.from({ length: 30 }, (_, i) =>
    rig.map(scattered(i === 29 ? 1 : 8), Bidirectional),
  );
  for (const [i, mapping] of mappings.entries()) {
    rig.device.unmap(mapping).onDone(() => order.push(i));
  }
  rig.host.kernel.run();
  assert.deepEqual(order.slice(-2), [28, 29]);
  rig.dispose();
});

test('a command queue that stops fails the unmaps under way and those to come', () => {
  const rig = new IommuDriverRig();
  const errors: string[] = [];
  const fail = (mapping: DmaMapping): void =>
    rig.device.unmap(mapping).onDone(
      () => errors.push('done'),
      (error) => errors.push(error.message),
    );
  const mappings = [0, 1, 2].map(() => rig.map(scattered(1), Bidirectional));
  for (const mapping of mappings.slice(0, 2)) fail(mapping);
  rig.host.memory.fill(rig.provider.ring.base, 4096, 0xff);
  rig.host.kernel.run();
  for (const mapping of mappings.slice(2)) fail(mapping);
  assert.equal(errors.length, 3);
  for (const message of errors)
    assert.match(message, /iommu0: the command queue stopped at entry 3/);
});

test('passing the host bridge is for the policy to decide', () => {
  const rig = new IommuDriverRig({}, { hostBridgeAllowed: () => false });
  assert.equal(isRefusal(rig.device.map(PhyRangeList.of(PEER.far, 1), ToDevice)), true);
  rig.view.set(threePorts(0x04));
  assert.equal(isRefusal(rig.device.map(PhyRangeList.of(PEER.near, 1), ToDevice)), true);
});
