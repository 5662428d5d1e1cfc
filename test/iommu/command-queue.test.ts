/**
 * The command queue through its registers: order, fences, errors, going on after an error.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { us } from '#emu/base/units.ts';
import { Cqcsr, Reg } from '#emu/iommu/spec.ts';
import { Access } from '#emu/iommu/table-memory.ts';
import { IommuRig, pagedRig } from '#test/support/iommu-rig.ts';

const FENCE = 2;
const AV = 1 << 10;
const PR_PW = 3 << 12;

function startedRig(): IommuRig {
  const rig = new IommuRig();
  rig.startQueues();
  return rig;
}

test('commands run in order, one after the other, each in its own time', () => {
  const rig = new IommuRig({ commandPs: 1000 });
  rig.startQueues();
  const [first, second] = [rig.page(), rig.page()];
  rig.command(FENCE | AV, 0x1111_2222, first / 4);
  rig.command(FENCE | AV, 0x3333_4444, second / 4);
  rig.kernel.runUntil(1000);
  assert.equal(rig.read(Reg.cqh), 1);
  assert.deepEqual([rig.memory.getU32(first), rig.memory.getU32(second)], [0x1111_2222, 0]);
  rig.kernel.run();
  assert.equal(rig.read(Reg.cqh), 2);
  assert.equal(rig.memory.getU32(second), 0x3333_4444);
  assert.equal(rig.iommu.commands, 2);
});

test('a fence without an address writes nothing', () => {
  const rig = startedRig();
  rig.command(FENCE, 0xdead, rig.page() / 4);
  rig.kernel.run();
  assert.equal(rig.read(Reg.cqh), 1);
});

test('the queue wraps', () => {
  const rig = new IommuRig();
  rig.startQueues({ commandLog2: 2 });
  const status = rig.page();
  for (let i = 0; i < 10; i++) {
    const at = rig.commandQueue + 16 * (i % 4);
    rig.store(at, FENCE | AV, i + 1);
    rig.store(at + 8, status / 4);
    rig.write(Reg.cqt, (i + 1) % 4);
    rig.kernel.run();
    assert.equal(rig.memory.getU32(status), i + 1);
  }
  assert.equal(rig.read(Reg.cqh), 2);
});

test('nothing runs while the queue is off', () => {
  const rig = startedRig();
  rig.write(Reg.cqcsr, 0);
  rig.command(FENCE);
  rig.kernel.run();
  assert.equal(rig.read(Reg.cqh), 0);
  assert.equal(rig.iommu.commands, 0);
});

const ILLEGAL: readonly (readonly [name: string, words: readonly number[]])[] = [
  ['opcode 0', [0]],
  ['an undefined opcode', [5]],
  ['a custom opcode', [64]],
  ['an undefined func3 of IOTINVAL', [0x101]],
  ['an undefined func3 of IOFENCE', [0x082]],
  ['IODIR.INVAL_PDT, which needs process directories', [0x083, 2]],
  ['ATS.INVAL', [4]],
  ['ATS.PRGR', [0x084]],
  ['IOTINVAL.VMA bit 11', [0x801]],
  ['IOTINVAL.VMA with NL', [1, 4]],
  ['IOTINVAL.VMA bit 35', [1, 8]],
  ['IOTINVAL.VMA bit 63', [1, 2 ** 31]],
  ['IOTINVAL.VMA with S', [1, 0, 0x200]],
  ['IOTINVAL.VMA word 1 bit 0', [1, 0, 1]],
  ['IOTINVAL.VMA word 1 bit 62', [1, 0, 0, 2 ** 30]],
  ['IOTINVAL.GVMA with PSCV', [0x081, 1]],
  ['IOFENCE.C with WSI', [FENCE | (1 << 11)]],
  ['IOFENCE.C bit 14', [FENCE | (1 << 14)]],
  ['IOFENCE.C word 1 bit 63', [FENCE, 0, 0, 2 ** 31]],
  ['IODIR.INVAL_DDT with a PID', [3 | (1 << 12)]],
  ['IODIR.INVAL_DDT bit 10', [3 | (1 << 10)]],
  ['IODIR.INVAL_DDT bit 32', [3, 1]],
  ['IODIR.INVAL_DDT bit 39', [3, 0x80]],
  ['IODIR.INVAL_DDT with a word 1', [3, 0, 1]],
];

for (const [name, [lo0 = 0, hi0 = 0, lo1 = 0, hi1 = 0]] of ILLEGAL) {
  test(`${name} is illegal and stops the queue there`, () => {
    const rig = startedRig();
    rig.command(FENCE);
    rig.command(lo0, hi0, lo1, hi1);
    rig.command(FENCE);
    rig.kernel.run();
    assert.equal(rig.read(Reg.cqh), 1);
    assert.equal(rig.read(Reg.cqcsr) & 0xff00, Cqcsr.cmd_ill.mask);
  });
}

test('a cleared error lets the queue go on at the same command', () => {
  const rig = startedRig();
  rig.command(0);
  rig.kernel.run();
  assert.equal(rig.read(Reg.cqh), 0);
  rig.store(rig.commandQueue, FENCE);
  rig.write(Reg.cqcsr, Cqcsr.cqen.mask | Cqcsr.cmd_ill.mask);
  rig.kernel.run();
  assert.equal(rig.read(Reg.cqh), 1);
  assert.equal(rig.read(Reg.cqcsr), Cqcsr.cqen.mask | Cqcsr.cqon.mask);
});

test('commands and fence data in bad memory are memory faults', () => {
  for (const [bad, access] of [
    ['command', Access.Fault],
    ['command', Access.Poison],
    ['data', Access.Fault],
  ] as const) {
    const rig = startedRig();
    const status = rig.page();
    const at = bad === 'command' ? rig.commandQueue + 8 : status;
    rig.iommu.accessCheck = (address) => (address === at ? access : Access.Ok);
    rig.command(FENCE | AV, 1, status / 4);
    rig.kernel.run();
    assert.equal(rig.read(Reg.cqcsr) & 0xff00, Cqcsr.cqmf.mask);
    assert.equal(rig.read(Reg.cqh), 0);
    rig.iommu.accessCheck = null;
    rig.write(Reg.cqcsr, Cqcsr.cqen.mask | Cqcsr.cqmf.mask);
    rig.kernel.run();
    assert.deepEqual([rig.read(Reg.cqh), rig.memory.getU32(status)], [1, 1]);
  }
});

test('fence data beyond memory and a queue beyond memory are memory faults', () => {
  const rig = startedRig();
  rig.command(FENCE | AV, 1, 0, 2 ** 29);
  rig.kernel.run();
  assert.equal(rig.read(Reg.cqcsr) & 0xff00, Cqcsr.cqmf.mask);
  const far = new IommuRig();
  far.write64(Reg.cqb, 2 ** 50 / 4);
  far.write(Reg.cqcsr, 1);
  far.write(Reg.cqt, 1);
  far.kernel.run();
  assert.equal(far.read(Reg.cqcsr) & 0xff00, Cqcsr.cqmf.mask);
});

test('enabling the queue again starts at 0 without errors', () => {
  const rig = startedRig();
  rig.command(FENCE);
  rig.command(0);
  rig.kernel.run();
  rig.write(Reg.cqcsr, 0);
  assert.equal(rig.read(Reg.cqcsr) & Cqcsr.cqon.mask, 0);
  rig.write(Reg.cqt, 0);
  rig.write(Reg.cqcsr, 1);
  assert.deepEqual([rig.read(Reg.cqh), rig.read(Reg.cqcsr)], [0, 1 | Cqcsr.cqon.mask]);
});

test('a fence with PR or PW waits for requests that were translated before it, not for later ones', () => {
  const { rig } = pagedRig();
  let drainedAt = us(5);
  rig.iommu.drainedAt = () => drainedAt;
  rig.command(FENCE);
  rig.command(FENCE | PR_PW);
  rig.kernel.runUntil(us(1));
  assert.equal(rig.read(Reg.cqh), 1);
  drainedAt = us(50);
  rig.kernel.runUntil(us(5));
  assert.equal(rig.read(Reg.cqh), 2);
});
