/**
 * Memory that driver and function share: where it lies under every provider, that neither side needs a sync, and
 * what happens when it is mixed up with mappings. [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { physAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { type CoherentMemory, CoherentRecord } from '#emu/dma/providers/coherent-memory.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import type { MachineSpec } from '#emu/host/machine-spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { BounceRig } from '#test/support/bounce-rig.ts';
import { plainDevice } from '#test/support/plain-device.ts';

const PAGE = 4096;
const MiB = 2 ** 20;
const GiB = 2 ** 30;
const DRAM = 2 * GiB;

const PROVIDERS: Readonly<Record<string, Partial<MachineSpec>>> = {
  direct: {},
  strict: { iommu: true },
  lazy: { iommu: { flush: 'lazy' } },
  passthrough: { iommu: true, dma: { provider: 'direct' } },
  bounced: { dma: { provider: 'bounce', forceBounce: true } },
  wrapper: { dma: { provider: 'legacy' } },
  'wrapper over the IOMMU': { iommu: true, dma: { provider: 'legacy' } },
};

class Stand {
  readonly m: Machine;
  readonly dma: DmaDevice;
  readonly bytes = new SparseMemory(MiB, 'bytes of the device');

  constructor(spec: Partial<MachineSpec> = {}, limits: Partial<DmaLimits> = {}) {
    const rootPorts = [{ device: plainDevice('a') }, { device: plainDevice('b') }];
    const checker = { onError: 'collect' } as const;
    this.m = machine({ checker, ...spec, rootPorts }).build({ fidelity: 'functional' });
    this.m.boot();
    this.m.kernel.run();
    const fn = this.m.function('a');
    fn.limitDma(limits);
    void this.m.kernel.spawn('on', fn.setBusMaster(true));
    this.m.kernel.run();
    this.dma = fn.dma;
  }

  allocate(sizeBytes: number): CoherentMemory {
    const memory = this.dma.allocateCoherent(sizeBytes);
    if (isRefusal(memory)) return assert.fail(memory.reason);
    return memory;
  }
  free(memory: CoherentMemory): void {
    const done = this.dma.freeCoherent(memory);
    this.m.kernel.run();
    assert.ok(done.done);
  }
  map(sizeBytes: number): DmaMapping {
    const list = PhyRangeList.of(this.m.mm.allocate(sizeBytes), sizeBytes);
    const mapping = this.dma.map(list, Direction.Bidirectional);
    if (isRefusal(mapping)) return assert.fail(mapping.reason);
    return mapping;
  }
  /** The device moves 64 bytes between its own memory and an address. */
  move(address: CoherentMemory['dma'], isWrite: boolean): void {
    const endpoint = this.m.endpoint('a');
    if (isWrite) endpoint.write(address, 64, this.bytes, 0, Purpose.Data, null, 0);
    else endpoint.read(address, 64, this.bytes, 0, Purpose.Data, { dmaDone: () => {} }, 0);
    this.m.kernel.run();
  }
  get classes(): readonly string[] {
    return this.m.checker?.reports.map((report) => report.class) ?? [];
  }
  account(): readonly number[] {
    const { domain, liveMappings } = this.dma;
    const used = domain instanceof IommuDomain ? [domain.iovas.usedBytes, domain.table.leaves] : [];
    return [liveMappings, this.m.bounce?.usedSlots ?? 0, ...used];
  }
  end(): void {
    this.bytes.dispose();
    this.m.dispose();
  }
}

const misuse = (message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Error && 'code' in error && error.code === 'CHECKER', `${error}`);
  assert.match(error.message, message);
  return true;
};

for (const [name, spec] of Object.entries(PROVIDERS)) {
  test(`coherent memory is seen by both sides at once, and gone after free: ${name}`, () => {
    const stand = new Stand(spec);
    const { m, dma } = stand;
    const before = stand.account();
    const memory = stand.allocate(3 * PAGE + 1);
    assert.equal(memory.sizeBytes, 4 * PAGE);
    assert.equal(memory.address % memory.sizeBytes, 0);
    assert.equal(memory.dma % memory.sizeBytes, 0);
    assert.equal(memory.ranges.sizeBytes, memory.sizeBytes);
    const isTranslated = m.iommu !== null && spec.dma?.provider !== 'direct';
    assert.equal(Number(memory.dma) !== Number(memory.address), isTranslated);
    assert.equal(m.mm.memory.getU32(memory.address + PAGE), 0);
    assert.equal(m.bounce?.usedSlots ?? 0, 0);
    // The device and then the CPU write, and the other side looks, with no call in between.
    stand.bytes.setU32(0, 0x1234);
    stand.move(memory.dma, true);
    assert.equal(m.mm.memory.getU32(memory.address), 0x1234);
    m.mm.memory.setU32(memory.address, 0x5678);
    stand.move(memory.dma, false);
    assert.equal(stand.bytes.getU32(0), 0x5678);
    assert.equal(dma.liveMappings, 1);
    stand.free(memory);
    assert.deepEqual(stand.account(), before);
    assert.deepEqual(stand.classes, []);
    stand.end();
  });
}

test('coherent memory lies where the function reaches it, and no memory there is ENOMEM', () => {
  for (const dma of [{}, { provider: 'legacy' }, { provider: 'bounce' }] as const) {
    const stand = new Stand({ dma, memory: { sizeBytes: 4 * GiB } }, { addressLimit: 4 * GiB });
    const { mm } = stand.m;
    // Memory is handed out from the low end: what is left there is one piece of 64 KiB.
    const low = 2 * GiB - (stand.m.bounce?.sizeBytes ?? 0) - 2 ** 16;
    const taken = mm.allocate(low);
    const hole = mm.allocate(2 ** 16);
    mm.allocate(MiB);
    mm.free(hole, 2 ** 16);
    assert.ok(mm.allocate(2 ** 17) >= 4 * GiB);
    const memory = stand.allocate(2 ** 16);
    assert.ok(memory.address + memory.sizeBytes <= 4 * GiB);
    const refusal = stand.dma.allocateCoherent(PAGE);
    assert.ok(isRefusal(refusal) && refusal.refused === 'ENOMEM');
    assert.match(refusal.reason, /4096 bytes aligned to 0x1000 and below 0x100000000/);
    assert.equal(stand.dma.liveMappings, 1);
    stand.free(memory);
    mm.free(taken, low);
    stand.end();
  }
});

test('coherent memory takes nothing when there are no addresses for it', () => {
  const stand = new Stand({ iommu: true }, { addressLimit: 2 ** 20 });
  const { mm } = stand.m;
  const { usedBytes } = mm;
  const refusal = stand.dma.allocateCoherent(MiB);
  assert.ok(isRefusal(refusal) && refusal.refused === 'ENOMEM');
  assert.deepEqual([mm.usedBytes, ...stand.account()], [usedBytes, 0, 0, 0, 0]);
  const memory = stand.allocate(PAGE);
  assert.ok(memory.dma + PAGE <= 2 ** 20);
  assert.ok(memory.address >= DRAM);
  stand.end();
});

test('coherent memory knows no segments, since nothing lists it', () => {
  const limits = { maxSegmentBytes: 2 * PAGE, boundaryBytes: 4 * PAGE };
  for (const iommu of [false, true]) {
    const stand = new Stand({ iommu }, limits);
    stand.allocate(16 * PAGE);
    assert.deepEqual(stand.classes, []);
    stand.end();
  }
});

test('coherent memory is refused without anybody to take it from', () => {
  const { device } = new BounceRig();
  const refusal = device.allocateCoherent(PAGE);
  assert.ok(isRefusal(refusal) && refusal.refused === 'ENOMEM');
});

test('coherent memory has a size', () => {
  const stand = new Stand();
  for (const size of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => stand.dma.allocateCoherent(size), {
      code: 'USAGE',
      message: `allocateCoherent: expected a positive number of bytes, got ${size}`,
    });
  }
  stand.end();
});

test('coherent memory is not a mapping: neither can be ended or synced as the other, and the places are told', () => {
  const stand = new Stand();
  const { dma, m } = stand;
  const memory = stand.allocate(PAGE);
  assert.ok(memory instanceof CoherentRecord);
  const wrong = { ...memory.mapping, source: PhyRangeList.of(physAddr(DRAM), 1) };
  const places = /made at .*coherent\.test.*wrong call at .*coherent\.test/;
  for (const other of [memory as never, memory.mapping]) {
    assert.throws(() => dma.unmap(other), misuse(/unmap of coherent memory, which freeCoherent/));
    assert.throws(() => dma.unmap(other), misuse(places));
    assert.throws(() => dma.sync(other, 'cpu'), misuse(/sync for the cpu of coherent memory/));
  }
  const mapping = stand.map(PAGE);
  assert.throws(() => dma.freeCoherent(mapping as never), misuse(/of a mapping, which unmap ends/));
  assert.throws(() => dma.freeCoherent(mapping as never), misuse(places));
  assert.throws(() => dma.freeCoherent(wrong as never), misuse(/of something else/));
  const stranger = m.function('b').dma;
  assert.throws(() => stranger.freeCoherent(memory), misuse(/this function did not make/));
  assert.equal(dma.liveMappings, 2);
  stand.free(memory);
  assert.throws(() => dma.freeCoherent(memory), misuse(/not live any more.*ended at/));
  assert.equal(dma.liveMappings, 1);
  dma.unmap(mapping);
  stand.end();
});

test('coherent memory is told of when the device uses it after free, and when the driver leaves it', () => {
  const stand = new Stand();
  const { m, dma } = stand;
  const memory = stand.allocate(PAGE);
  const { dma: address } = memory;
  dma.unbind();
  stand.free(memory);
  stand.move(address, true);
  dma.unbind();
  assert.deepEqual(stand.classes, ['leak', 'after-unmap']);
  const [leak, late] = m.checker?.reports ?? [];
  assert.match(
    leak!.message,
    /driver gone with a mapping left, such as 4096 bytes of coherent memory/,
  );
  assert.match(late!.message, /write of 64 bytes .*has ended; 4096 bytes of coherent memory/);
  stand.end();
});
