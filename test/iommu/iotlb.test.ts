/**
 * The caches: what stays after tables change, what each invalidation drops, and that they never invent.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Iotlb } from '#emu/iommu/iotlb.ts';
import { Cause } from '#emu/iommu/spec.ts';
import { IommuCounter } from '#emu/iommu/translation-unit.ts';
import { type IommuRig, PAGE, pagedRig, RO, RW } from '#test/support/iommu-rig.ts';

const DEVICE = 0x108;
const OTHER = 0x109;
const PSCID = 7 << 12;

const target = (rig: IommuRig, address: number, device = DEVICE): number =>
  rig.translate(device, address).address;

/** Two devices with address spaces 0 and 7, each with pages at 0 and 4 KiB and a large page at 1 GiB. */
function cachedRig(): { rig: IommuRig; clear: () => void; live: () => number[] } {
  const { rig, root } = pagedRig();
  const other = rig.setContext(OTHER, { ta: PSCID });
  for (const table of [root, other]) {
    rig.map(table, 0, 0x8000);
    rig.map(table, PAGE, 0x9000);
    rig.map(table, 2 ** 30, 2 ** 31, RW, 1);
  }
  const places = [0, PAGE, 2 ** 30 + 0x5_4321];
  const live = (): number[] =>
    [DEVICE, OTHER].flatMap((device) =>
      places.map((at) => (rig.translate(device, at).fault ? 0 : 1)),
    );
  const clear = (): void => {
    for (const table of [root, other]) {
      for (const at of [0, PAGE]) rig.store(rig.entryAddress(table, at), 0);
      rig.store(rig.entryAddress(table, 2 ** 30, 1), 0);
    }
  };
  assert.deepEqual(live(), [1, 1, 1, 1, 1, 1]);
  return { rig, clear, live };
}

test('a changed entry stays as it was until it is invalidated', () => {
  const { rig, root } = pagedRig();
  rig.map(root, 0, 0x8000);
  assert.equal(target(rig, 4), 0x8004);
  rig.map(root, 0, 0x9000);
  assert.equal(target(rig, 4), 0x8004);
  rig.invalidate({ pscid: 0, address: 0 });
  rig.kernel.run();
  assert.equal(target(rig, 4), 0x9004);
});

test('invalid entries are not cached', () => {
  const { rig, root } = pagedRig();
  assert.equal(rig.translate(DEVICE, 0).fault, true);
  rig.map(root, 0, 0x8000);
  assert.equal(target(rig, 0), 0x8000);
  assert.equal(rig.translate(0x10a, 0).fault, true);
  rig.map(rig.setContext(0x10a, { ta: PSCID }), 0, 0x9000);
  assert.equal(target(rig, 0, 0x10a), 0x9000);
});

test('a right that is missing in the cache is looked up again', () => {
  const { rig, root } = pagedRig();
  rig.map(root, 0, 0x8000, RO);
  assert.equal(target(rig, 0), 0x8000);
  rig.map(root, 0, 0x8000, RW);
  assert.equal(rig.translate(DEVICE, 0, true).fault, false);
});

for (const [name, fields, left] of [
  ['all', {}, [0, 0, 0, 0, 0, 0]],
  ['one address space', { pscid: 7 }, [1, 1, 1, 0, 0, 0]],
  ['an address in all spaces', { address: PAGE }, [1, 0, 1, 1, 0, 1]],
  ['an address in one space', { pscid: 0, address: 0 }, [0, 1, 1, 1, 1, 1]],
  [
    'a large page by any address in it',
    { pscid: 0, address: 2 ** 30 + 0x1f_f000 },
    [1, 1, 0, 1, 1, 1],
  ],
  ['an address that is not cached', { pscid: 0, address: 2 ** 40 }, [1, 1, 1, 1, 1, 1]],
] as const) {
  test(`IOTINVAL.VMA of ${name}`, () => {
    const { rig, clear, live } = cachedRig();
    clear();
    assert.deepEqual(live(), [1, 1, 1, 1, 1, 1]);
    rig.invalidate(fields);
    rig.kernel.run();
    assert.deepEqual(live(), left);
  });
}

test('IOTINVAL.VMA of a guest and IOTINVAL.GVMA leave host address spaces alone', () => {
  const { rig, clear, live } = cachedRig();
  clear();
  rig.command(0x001, 2);
  rig.command(0x081, 2);
  rig.kernel.run();
  assert.deepEqual(live(), [1, 1, 1, 1, 1, 1]);
});

test('a NAPOT page is dropped by any address in it', () => {
  const { rig, root } = pagedRig();
  for (let page = 0; page < 0x1_0000; page += PAGE) {
    rig.storeEntry(rig.entryAddress(root, page), 0x4_8000, RW, 2 ** 31);
  }
  assert.equal(target(rig, 0x3000), 0x4_3000);
  rig.store(rig.entryAddress(root, 0x3000), 0);
  rig.invalidate({ pscid: 0, address: 0xf000 });
  rig.kernel.run();
  assert.equal(rig.translate(DEVICE, 0x3000).fault, true);
});

test('contexts are cached until IODIR.INVAL_DDT, which leaves translations alone', () => {
  const { rig, root } = pagedRig();
  rig.map(root, 0, 0x8000);
  assert.equal(target(rig, 0), 0x8000);
  rig.store(rig.contextAddress(DEVICE), 0);
  rig.invalidate();
  rig.kernel.run();
  assert.equal(target(rig, 0), 0x8000, 'the context is still cached');
  rig.command(3, 2 | (OTHER << 8));
  rig.kernel.run();
  assert.equal(target(rig, 0), 0x8000, 'another device');
  rig.command(3, 2 | (DEVICE << 8));
  rig.kernel.run();
  assert.equal(rig.translate(DEVICE, 0).fault, true);
  assert.deepEqual(rig.causes, [Cause.DdtEntryNotValid]);
});

test('IODIR.INVAL_DDT without a device drops every context', () => {
  const { rig, root } = pagedRig();
  rig.map(root, 0, 0x8000);
  assert.equal(target(rig, 0), 0x8000);
  rig.store(rig.contextAddress(DEVICE), 0);
  rig.command(3);
  rig.kernel.run();
  assert.equal(rig.translate(DEVICE, 0).fault, true);
});

test('devices of one address space share its translations', () => {
  const { rig, root } = pagedRig();
  rig.setContext(OTHER, { root });
  rig.map(root, 0, 0x8000);
  target(rig, 0);
  const walks = rig.iommu.counters[IommuCounter.misses];
  assert.equal(target(rig, 0, OTHER), 0x8000);
  assert.equal(rig.iommu.counters[IommuCounter.misses], walks);
});

const SIZES = [2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39] as const;
const MOVED = 2 ** 42;

/** What may be cached: every leaf inserted and not dropped since. */
class Leaves {
  readonly #keys = new Set<string>();
  insert(pscid: number, level: number, page: number): void {
    this.#keys.add(`${pscid}:${level}:${page}`);
  }
  has(pscid: number, address: number): boolean {
    return this.#around(pscid, address).some((key) => this.#keys.has(key));
  }
  dropAddress(pscid: number, address: number): void {
    for (const key of this.#around(pscid, address)) this.#keys.delete(key);
  }
  dropSpace(pscid: number): void {
    for (const key of this.#keys) if (key.startsWith(`${pscid}:`)) this.#keys.delete(key);
  }
  #around(pscid: number, address: number): string[] {
    return SIZES.map((size, level) => `${pscid}:${level}:${Math.floor(address / size)}`);
  }
}

test('Iotlb answers only with what was inserted and not dropped', () => {
  const step = fc.record({
    kind: fc.constantFrom('insert', 'dropAddress', 'dropSpace', 'find', 'find', 'find'),
    pscid: fc.nat({ max: 3 }),
    level: fc.nat({ max: 3 }),
    page: fc.nat({ max: 40 }),
  });
  const apply = (tlb: Iotlb, leaves: Leaves, { kind, pscid, level, page }: Step): void => {
    const address = page * (SIZES[level] ?? 0) + (page % 7);
    if (kind === 'insert') {
      tlb.insert(pscid, level, address, address + MOVED, true, 0);
      leaves.insert(pscid, level, page);
      assert.ok(tlb.find(pscid, address, true) >= 0);
    } else if (kind === 'dropSpace') {
      tlb.dropSpace(pscid);
      leaves.dropSpace(pscid);
    } else if (kind === 'dropAddress') {
      tlb.dropAddress(pscid, address);
      leaves.dropAddress(pscid, address);
    }
    const slot = tlb.find(pscid, address, true);
    if (slot < 0) return;
    assert.ok(leaves.has(pscid, address));
    assert.equal(tlb.translate(slot, address), address + MOVED);
  };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const tlb = new Iotlb(16);
      const leaves = new Leaves();
      for (const each of steps) apply(tlb, leaves, each);
    }),
  );
});

interface Step {
  readonly kind: string;
  readonly pscid: number;
  readonly level: number;
  readonly page: number;
}

test('an address space is dropped whatever size its only page has, alone in the cache', () => {
  for (const [level, size] of SIZES.entries()) {
    const tlb = new Iotlb(16);
    tlb.insert(2, level, 5 * size, 7 * size, true, 0);
    tlb.dropSpace(1);
    assert.ok(tlb.find(2, 5 * size, true) >= 0, `level ${level} of another space`);
    tlb.dropSpace(2);
    assert.equal(tlb.find(2, 5 * size, true), -1, `level ${level}`);
  }
});
