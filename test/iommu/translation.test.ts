/**
 * Translation through tables written by hand: modes, directory depths, page sizes, rights, and every cause.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Cause, DdtMode, Reg } from '#emu/iommu/spec.ts';
import { Access } from '#emu/iommu/table-memory.ts';
import { IommuRig, PAGE, pagedRig, RO, RW } from '#test/support/iommu-rig.ts';

const DEVICE = 0x108;
const IOVA = 0x7f_1234_5000;
const TARGET = 0x9_8765_4000;
const NO_FAULT = 0;

/** The cause of one access, or 0. */
const causeOf = (rig: IommuRig, address: number, write = false, device = DEVICE): number => {
  const before = rig.causes.length;
  const { fault } = rig.translate(device, address, write);
  assert.equal(fault, rig.causes.length > before);
  return rig.causes[before] ?? NO_FAULT;
};

const addressOf = (rig: IommuRig, address: number, write = false): number => {
  const { fault, address: target } = rig.translate(DEVICE, address, write);
  return fault ? -1 : target;
};

test('Off refuses everything, Bare passes everything', () => {
  const rig = new IommuRig();
  assert.equal(causeOf(rig, 0x1234), Cause.AllInboundDisallowed);
  rig.write(Reg.ddtp, DdtMode.Bare);
  assert.equal(addressOf(rig, 0x1234, true), 0x1234);
});

for (const [name, mode, device] of [
  ['1LVL', DdtMode.OneLevel, 0x7f],
  ['2LVL', DdtMode.TwoLevel, 0xffff],
  ['3LVL', DdtMode.ThreeLevel, 0xff_ffff],
] as const) {
  test(`${name} finds the context of its last device and refuses wider ids`, () => {
    const rig = new IommuRig();
    rig.startDirectory(mode);
    rig.map(rig.setContext(device), IOVA, TARGET);
    assert.equal(rig.translate(device, IOVA + 5).address, TARGET + 5);
    assert.equal(causeOf(rig, IOVA, false, device + 1), Cause.TransactionTypeDisallowed);
  });
}

test('the offset within a page of any size is kept', () => {
  for (const [level, size] of [
    [0, 2 ** 12],
    [1, 2 ** 21],
    [2, 2 ** 30],
    [3, 2 ** 39],
  ] as const) {
    const { rig, root } = pagedRig();
    rig.map(root, 2 ** 40, 2 ** 41, RW, level);
    for (const offset of [0, 1, size / 2 + 3, size - 1]) {
      assert.equal(addressOf(rig, 2 ** 40 + offset), 2 ** 41 + offset);
    }
    assert.equal(causeOf(rig, 2 ** 40 + size), Cause.ReadPageFault);
  }
});

test('Sv39 has three levels', () => {
  const rig = new IommuRig();
  rig.startDirectory();
  const root = rig.setContext(DEVICE, { mode: 8 });
  rig.map(root, 2 ** 37, TARGET, RW, 0, 2);
  assert.equal(addressOf(rig, 2 ** 37 + 8), TARGET + 8);
  rig.map(root, 2 ** 38, TARGET, RW, 0, 2);
  assert.equal(causeOf(rig, 2 ** 38), Cause.ReadPageFault);
});

test('a context without a first stage passes addresses', () => {
  const rig = new IommuRig();
  rig.startDirectory();
  rig.setContext(DEVICE, { mode: 0, root: 0 });
  assert.equal(addressOf(rig, IOVA, true), IOVA);
  assert.equal(addressOf(rig, IOVA + 1), IOVA + 1);
});

test('a NAPOT page maps 64 KiB by sixteen equal entries', () => {
  const { rig, root } = pagedRig();
  for (let page = 0; page < 0x1_0000; page += PAGE) {
    rig.storeEntry(rig.entryAddress(root, IOVA - 0x5000 + page), 0x4_0000 + 0x8000, RW, 2 ** 31);
  }
  assert.equal(addressOf(rig, IOVA - 0x5000), 0x4_0000);
  assert.equal(addressOf(rig, IOVA + 0xa123), 0x4_f123);
  rig.storeEntry(rig.entryAddress(root, IOVA + 0xf000), 0x4_1000, RW, 2 ** 31);
  assert.equal(causeOf(rig, IOVA + 0xf000), Cause.ReadPageFault);
});

test('rights: reads, writes, user pages, accessed and dirty bits', () => {
  const table: [flags: number, read: number, write: number][] = [
    [RW, NO_FAULT, NO_FAULT],
    [RO, NO_FAULT, Cause.WritePageFault],
    // Writable but not dirty: hardware updates are not advertised.
    [RW & ~0x80, NO_FAULT, Cause.WritePageFault],
    // Not accessed.
    [RW & ~0x40, Cause.ReadPageFault, Cause.WritePageFault],
    // Not a user page.
    [RW & ~0x10, Cause.ReadPageFault, Cause.WritePageFault],
    // Executable only.
    [0x59, Cause.ReadPageFault, Cause.WritePageFault],
    // Write without read is reserved, and so is write and execute without read.
    [RW & ~0x02, Cause.ReadPageFault, Cause.WritePageFault],
    [(RW & ~0x02) | 0x08, Cause.ReadPageFault, Cause.WritePageFault],
    // Not valid.
    [RW & ~0x01, Cause.ReadPageFault, Cause.WritePageFault],
  ];
  for (const [flags, read, write] of table) {
    for (const readFirst of [true, false]) {
      const { rig, root } = pagedRig();
      rig.map(root, IOVA, TARGET, flags);
      if (readFirst) assert.equal(causeOf(rig, IOVA), read, `read ${flags.toString(16)}`);
      assert.equal(causeOf(rig, IOVA, true), write, `write ${flags.toString(16)}`);
      assert.equal(causeOf(rig, IOVA), read, `read ${flags.toString(16)}`);
    }
  }
});

test('reserved bits of entries are page faults', () => {
  for (const hiBits of [1 << 22, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30]) {
    for (const level of [0, 1]) {
      const { rig, root } = pagedRig();
      rig.storeEntry(rig.entryAddress(root, 0, level), 2 ** 30, RW, hiBits);
      assert.equal(causeOf(rig, 0), Cause.ReadPageFault);
    }
  }
  const { rig, root } = pagedRig();
  rig.storeEntry(rig.entryAddress(root, 0, 1), 2 ** 30, RW, 2 ** 31);
  assert.equal(causeOf(rig, 0), Cause.ReadPageFault, 'NAPOT above the last level');
  rig.storeEntry(rig.entryAddress(root, 0, 1), 2 ** 30 + PAGE, RW);
  assert.equal(causeOf(rig, 0), Cause.ReadPageFault, 'misaligned large page');
});

test('pointers may not have U, A or D, and may not end the walk', () => {
  for (const flags of [0x11, 0x41, 0x81]) {
    const { rig, root } = pagedRig();
    rig.map(root, 0, TARGET);
    const pointer = rig.entryAddress(root, 0, 1);
    rig.store(pointer, rig.memory.getU32(pointer) | flags, rig.memory.getU32(pointer + 4));
    assert.equal(causeOf(rig, 0), Cause.ReadPageFault);
  }
  const { rig, root } = pagedRig();
  rig.map(root, 0, TARGET, 0x01);
  assert.equal(causeOf(rig, 0), Cause.ReadPageFault);
});

test('addresses that are not canonical are page faults', () => {
  const { rig, root } = pagedRig();
  rig.map(root, 2 ** 47 - PAGE, TARGET);
  rig.map(root, 2 ** 47, TARGET);
  assert.equal(addressOf(rig, 2 ** 47 - 1), TARGET + PAGE - 1);
  assert.equal(causeOf(rig, 2 ** 47), Cause.ReadPageFault);
  assert.equal(causeOf(rig, 2 ** 51, true), Cause.WritePageFault);
});

test('directory: not valid, misconfigured, out of memory', () => {
  const rig = new IommuRig();
  rig.startDirectory();
  assert.equal(causeOf(rig, IOVA), Cause.DdtEntryNotValid, 'no page of contexts');
  rig.setContext(DEVICE, { tc: 0 });
  assert.equal(causeOf(rig, IOVA), Cause.DdtEntryNotValid, 'no context');
  const node = rig.ddt + 8 * (DEVICE >> 7);
  const pointer = rig.memory.getU32(node);
  rig.store(node, pointer | 0x200);
  assert.equal(causeOf(rig, IOVA), Cause.DdtEntryMisconfigured, 'reserved bits 9:1');
  rig.store(node, pointer, 2 ** 22);
  assert.equal(causeOf(rig, IOVA), Cause.DdtEntryMisconfigured, 'reserved bits 63:54');
  rig.store(node, pointer, 2 ** 21);
  assert.equal(causeOf(rig, IOVA), Cause.DdtEntryLoadFault, 'beyond memory');
});

test('a context that asks for what is not advertised, or sets reserved bits, is misconfigured', () => {
  const bad = [
    // EN_ATS, EN_PRI, T2GPA, PDTV, PRPR, GADE, SADE, DPE, SBE, SXL, reserved.
    ...[1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 23].map((bit) => ({ tc: 1 | (1 << bit) })),
    { tcHi: 1 },
    { iohgatpHi: 8 << 28 },
    { ta: 1 },
    { taHi: 1 },
    ...[1, 7, 10, 15].map((mode) => ({ mode })),
    { fscHi: 1 << 12 },
  ];
  for (const words of bad) {
    const rig = new IommuRig();
    rig.startDirectory();
    rig.setContext(DEVICE, words);
    assert.equal(causeOf(rig, IOVA), Cause.DdtEntryMisconfigured, JSON.stringify(words));
  }
  const rig = new IommuRig();
  rig.startDirectory();
  // DTF and the custom bits are no misconfiguration.
  rig.map(rig.setContext(DEVICE, { tc: 0xff00_0011 }), IOVA, TARGET);
  assert.equal(addressOf(rig, IOVA), TARGET);
});

test('tables and pages beyond memory are access faults', () => {
  const { rig, root } = pagedRig();
  rig.setContext(0x109, { root: 2 ** 40 });
  assert.equal(causeOf(rig, IOVA, false, 0x109), Cause.ReadAccessFault);
  assert.equal(causeOf(rig, IOVA, true, 0x109), Cause.WriteAccessFault);
  rig.storeEntry(rig.entryAddress(root, 0, 2), 2 ** 55, 1);
  assert.equal(causeOf(rig, 0, true), Cause.WriteAccessFault);
  rig.map(root, 2 ** 30, 2 ** 52 - PAGE);
  assert.equal(addressOf(rig, 2 ** 30 + 1), 2 ** 52 - PAGE + 1);
  rig.map(root, 2 ** 31, 2 ** 52);
  assert.equal(causeOf(rig, 2 ** 31), Cause.ReadAccessFault);
});

test('poisoned and refused structures have causes of their own', () => {
  const { rig, root } = pagedRig();
  rig.map(root, IOVA, TARGET);
  const context = rig.contextAddress(DEVICE);
  const entry = rig.entryAddress(root, IOVA);
  const expected: [address: number, access: Access, cause: number][] = [
    [context, Access.Poison, Cause.DdtCorruption],
    [context + 24, Access.Poison, Cause.DdtCorruption],
    [context + 8, Access.Fault, Cause.DdtEntryLoadFault],
    [entry, Access.Poison, Cause.PageTableCorruption],
    [entry, Access.Fault, Cause.ReadAccessFault],
  ];
  for (const [bad, access, cause] of expected) {
    rig.iommu.accessCheck = (address) => (address === bad ? access : Access.Ok);
    assert.equal(causeOf(rig, IOVA), cause);
  }
  rig.iommu.accessCheck = null;
  assert.equal(addressOf(rig, IOVA), TARGET);
});

test('no content of tables makes a translation throw', () => {
  const word = fc.nat({ max: 0xffff_ffff });
  fc.assert(
    fc.property(
      fc.array(word, { minLength: 64, maxLength: 64 }),
      word,
      fc.boolean(),
      (words, at, write) => {
        const { rig, root } = pagedRig();
        for (const [i, value] of words.entries()) {
          // Random entries where the walk for low addresses looks, and a random context beside the good one.
          const table = i < 32 ? root : rig.contextAddress(0x109);
          rig.memory.setU32(table + 4 * (i % 32), value);
        }
        rig.translate(DEVICE, at, write);
        rig.translate(0x109, at, write);
      },
    ),
    { numRuns: 200 },
  );
});
