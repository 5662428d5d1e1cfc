/**
 * The register page: reset values, what writes keep, access sizes, options.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { Iommu } from '#emu/iommu/iommu.ts';
import { DdtMode, Reg } from '#emu/iommu/spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import { IommuRig, RW } from '#test/support/iommu-rig.ts';

test('capabilities: version 1.0, Sv39 and Sv48, message interrupts, the address width', () => {
  assert.equal(new IommuRig().read(Reg.capabilities, 8), 0x34_0000_0610);
  assert.equal(new IommuRig({ addressBits: 40 }).read(Reg.capabilities + 4), 40);
});

test('everything else resets to 0: off, empty, not pending', () => {
  const rig = new IommuRig();
  for (let offset = 8; offset < 4096; offset += 4) assert.equal(rig.read(offset), 0);
});

test('what is not implemented reads 0 and ignores writes', () => {
  const rig = new IommuRig();
  for (const offset of [0, 4, 8, 12, 32, 52, 56, 64, 68, 80, 88, 96, 104, 600, 624, 764, 1016]) {
    const before = rig.read(offset);
    rig.write(offset, 0xffff_ffff);
    assert.equal(rig.read(offset), before, `offset ${offset}`);
  }
});

test('accesses that are not 4 or 8 aligned bytes read 0 and write nothing', () => {
  const rig = new IommuRig();
  rig.write(Reg.cqt, 1);
  const view = new DataView(new ArrayBuffer(16));
  for (const [offset, size] of [
    [Reg.cqt, 1],
    [Reg.cqt, 2],
    [Reg.cqt + 2, 4],
    [Reg.cqt, 8],
    [Reg.cqb, 16],
  ] as const) {
    view.setBigUint64(0, ~0n);
    rig.iommu.mmioWrite(offset, size, view, 0);
    rig.iommu.mmioRead(offset, size, view, 0);
    for (let i = 0; i < size; i++) assert.equal(view.getUint8(i), 0);
  }
  assert.equal(rig.read(Reg.cqt), 1);
});

test('icvec sizes itself to the vectors there are', () => {
  const rig = new IommuRig();
  rig.write64(Reg.icvec, 2 ** 52 - 1);
  assert.equal(rig.read(Reg.icvec, 8), 0x77);
  rig.write(Reg.msiCfgTbl + 7 * 16, 0xffff_ffff);
  rig.write(Reg.msiCfgTbl + 7 * 16 + 4, 0xffff_ffff);
  assert.equal(rig.read(Reg.msiCfgTbl + 7 * 16, 8), 2 ** 52 - 4);
  rig.write(Reg.msiCfgTbl + 8 * 16, 0xffff_ffff);
  assert.equal(rig.read(Reg.msiCfgTbl + 8 * 16), 0);
});

test('queue bases keep size and page number, clear the index, and stay while the queue is on', () => {
  const rig = new IommuRig();
  for (const [base, index, csr] of [
    [Reg.cqb, Reg.cqt, Reg.cqcsr],
    [Reg.fqb, Reg.fqh, Reg.fqcsr],
  ] as const) {
    rig.write(base, 0xffff_fc04);
    rig.write(base + 4, 0xffff_ffff);
    assert.equal(rig.read(base), 0xffff_fc04);
    assert.equal(rig.read(base + 4), 2 ** 18 - 1);
    rig.write(index, 0xffff_ffff);
    assert.equal(rig.read(index), 31);
    rig.write(base + 4, 0);
    assert.equal(rig.read(index), 0);
    rig.write(base, 0x400);
    rig.write(index, 1);
    rig.write(csr, 1);
    rig.write64(base, 0x800);
    assert.deepEqual([rig.read(base), rig.read(index)], [0x400, 1]);
  }
});

test('ddtp keeps its value for a mode that does not exist or another depth', () => {
  const rig = new IommuRig();
  rig.startDirectory();
  const before = rig.read(Reg.ddtp, 8);
  for (const value of [5, 15, DdtMode.OneLevel, 0x1000 + DdtMode.ThreeLevel]) {
    rig.write64(Reg.ddtp, value);
    assert.equal(rig.read(Reg.ddtp, 8), before);
  }
  rig.write(Reg.ddtp + 4, 3);
  assert.equal(rig.read(Reg.ddtp, 8), before);
  rig.write(Reg.ddtp, DdtMode.Bare);
  assert.equal(rig.translate(1, 0x77).address, 0x77);
});

test('ddtp can be written in halves, high half first', () => {
  const rig = new IommuRig({}, { memoryBytes: 2 ** 44 });
  rig.ddt = 2 ** 43;
  rig.write(Reg.ddtp + 4, 2 ** 9);
  rig.write(Reg.ddtp, DdtMode.TwoLevel);
  rig.map(rig.setContext(0x108), 0, 0x8000, RW);
  assert.equal(rig.translate(0x108, 0).address, 0x8000);
});

test('a change of mode leaves nothing in the caches', () => {
  const rig = new IommuRig();
  rig.startDirectory();
  rig.map(rig.setContext(0x108), 0, 0x8000, RW);
  assert.equal(rig.translate(0x108, 0).fault, false);
  const ddtp = rig.read(Reg.ddtp);
  rig.write(Reg.ddtp, ddtp - DdtMode.TwoLevel);
  assert.equal(rig.translate(0x108, 0).fault, true);
});

test('options out of range are refused by name', () => {
  for (const [options, name] of [
    [{ iotlbEntries: 48 }, 'iotlbEntries'],
    [{ contextEntries: 0 }, 'contextEntries'],
    [{ addressBits: 53 }, 'addressBits'],
    [{ hitPs: -1 }, 'hitPs'],
    [{ memoryPs: 0.5 }, 'memoryPs'],
    [{ walkers: 0 }, 'walkers'],
    [{ commandPs: 2 ** 31 }, 'commandPs'],
  ] as const) {
    assert.throws(
      () => new Iommu(new Kernel(), new SparseMemory(4096, 'host'), options),
      (error) =>
        error instanceof EmuError && error.code === 'USAGE' && error.message.includes(name),
    );
  }
});
