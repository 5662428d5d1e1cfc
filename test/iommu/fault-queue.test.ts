/**
 * Fault records, overflow, memory faults, DTF, and interrupts as messages.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cause, Cqcsr, Fqcsr, Reg } from '#emu/iommu/spec.ts';
import { Access } from '#emu/iommu/table-memory.ts';
import { IommuRig, pagedRig } from '#test/support/iommu-rig.ts';

const DEVICE = 0x108;
const READ = 2;
const WRITE = 3;
const VECTOR = Reg.msiCfgTbl;

/** A rig whose queues interrupt: commands by vector 1, faults by vector 2. */
function interruptingRig(options: { messages?: boolean } = {}): IommuRig {
  const rig = new IommuRig({}, options);
  rig.startQueues({ interrupts: true, faultLog2: 2 });
  rig.startDirectory();
  rig.write(Reg.icvec, 0x21);
  for (const vector of [1, 2]) {
    rig.write64(VECTOR + 16 * vector, 0x2800_0000 + 4 * vector);
    rig.write(VECTOR + 16 * vector + 8, 0x100 + vector);
  }
  return rig;
}

test('a record tells cause, transaction, device and full address', () => {
  const { rig } = pagedRig();
  rig.translate(DEVICE, 0x7f_1234_5678);
  rig.translate(DEVICE, 0x123, true);
  rig.translate(0xfffe, 2 ** 51 + 1);
  assert.deepEqual(rig.faults(), [
    { cause: Cause.ReadPageFault, ttyp: READ, deviceId: DEVICE, address: 0x7f_1234_5678 },
    { cause: Cause.WritePageFault, ttyp: WRITE, deviceId: DEVICE, address: 0x123 },
    { cause: Cause.DdtEntryNotValid, ttyp: READ, deviceId: 0xfffe, address: 2 ** 51 + 1 },
  ]);
  for (const [at, words] of [
    [8, [0, 0]],
    [24, [0, 0]],
  ] as const) {
    const read = [0, 4].map((more) => rig.memory.getU32(rig.faultQueue + at + more));
    assert.deepEqual(read, words);
  }
});

test('a full queue overflows once and records again when it is told to', () => {
  const rig = new IommuRig();
  rig.startQueues({ faultLog2: 2 });
  rig.startDirectory();
  for (let i = 0; i < 3; i++) rig.translate(DEVICE, i);
  assert.equal(rig.read(Reg.fqcsr) & Fqcsr.fqof.mask, 0);
  rig.translate(DEVICE, 3);
  assert.deepEqual([rig.read(Reg.fqt), rig.read(Reg.fqcsr) & 0x300], [3, Fqcsr.fqof.mask]);
  rig.write(Reg.fqh, 3);
  rig.translate(DEVICE, 4);
  assert.equal(rig.read(Reg.fqt), 3, 'nothing is recorded before the bit is cleared');
  rig.write(Reg.fqcsr, Fqcsr.fqen.mask | Fqcsr.fqof.mask);
  rig.translate(DEVICE, 5);
  assert.equal(rig.read(Reg.fqt), 0);
  assert.equal(rig.memory.getU64(rig.faultQueue + 3 * 32 + 16), 5);
  assert.equal(rig.causes.length, 6, 'the probe sees them all');
});

test('a record that cannot be written is a memory fault', () => {
  const { rig } = pagedRig();
  rig.iommu.accessCheck = (address, _size, isWrite) =>
    isWrite && address === rig.faultQueue + 20 ? Access.Fault : Access.Ok;
  rig.translate(DEVICE, 0);
  assert.deepEqual([rig.read(Reg.fqt), rig.read(Reg.fqcsr) & 0x300], [0, Fqcsr.fqmf.mask]);
});

test('nothing is recorded while the queue is off, and enabling it empties it', () => {
  const { rig } = pagedRig();
  rig.translate(DEVICE, 0);
  rig.write(Reg.fqcsr, 0);
  rig.translate(DEVICE, 0);
  assert.equal(rig.read(Reg.fqt), 1);
  rig.write(Reg.fqcsr, Fqcsr.fqen.mask);
  assert.deepEqual([rig.read(Reg.fqt), rig.read(Reg.fqcsr)], [0, 1 | Fqcsr.fqon.mask]);
});

test('DTF keeps page faults out of the queue, not directory faults', () => {
  const { rig } = pagedRig();
  rig.setContext(0x109, { tc: 0x11 });
  rig.setContext(0x10a, { tc: 0x11, mode: 15 });
  assert.equal(rig.translate(0x109, 0).fault, true);
  assert.equal(rig.translate(0x109, 0).fault, true, 'with the context cached');
  assert.equal(rig.translate(0x10a, 0).fault, true);
  assert.deepEqual(
    rig.faults().map((fault) => fault.cause),
    [Cause.DdtEntryMisconfigured],
  );
});

test('a fault interrupts once, until software has cleared the bit', () => {
  const rig = interruptingRig();
  rig.translate(DEVICE, 0);
  rig.translate(DEVICE, 0);
  assert.deepEqual(rig.messages, [{ address: 0x2800_0008, data: 0x102 }]);
  assert.equal(rig.read(Reg.ipsr), 2);
  rig.write(Reg.ipsr, 2);
  assert.equal(rig.read(Reg.ipsr), 0, 'a new record is an event, not a state');
  rig.translate(DEVICE, 0);
  assert.equal(rig.messages.length, 2);
});

test('a queue error interrupts again as long as it is not cleared', () => {
  const rig = interruptingRig();
  for (let i = 0; i < 4; i++) rig.translate(DEVICE, 0);
  rig.write(Reg.ipsr, 2);
  assert.equal(rig.read(Reg.ipsr), 2);
  assert.equal(rig.messages.length, 2);
  rig.write(Reg.fqcsr, 3 | Fqcsr.fqof.mask);
  rig.write(Reg.ipsr, 2);
  assert.equal(rig.read(Reg.ipsr), 0);
});

test('an illegal command interrupts by its own vector', () => {
  const rig = interruptingRig();
  rig.command(0);
  rig.kernel.run();
  assert.deepEqual(rig.messages, [{ address: 0x2800_0004, data: 0x101 }]);
  assert.equal(rig.read(Reg.ipsr), 1);
  rig.write(Reg.cqcsr, 3 | Cqcsr.cmd_ill.mask);
  rig.write(Reg.ipsr, 1);
  assert.equal(rig.read(Reg.ipsr) & 1, 0);
});

test('enabling the interrupt late reports an error that is there', () => {
  const rig = interruptingRig();
  rig.write(Reg.cqcsr, 1);
  rig.command(0);
  rig.kernel.run();
  assert.deepEqual(rig.messages, []);
  rig.write(Reg.cqcsr, 3);
  assert.equal(rig.messages.length, 1);
});

test('a masked vector sends when it is unmasked', () => {
  const rig = interruptingRig();
  rig.write(VECTOR + 32 + 12, 1);
  rig.translate(DEVICE, 0);
  assert.deepEqual(rig.messages, []);
  rig.write(VECTOR + 32 + 12, 0);
  assert.equal(rig.messages.length, 1);
  rig.write(VECTOR + 32 + 12, 1);
  rig.write(VECTOR + 32 + 12, 0);
  assert.equal(rig.messages.length, 1);
});

test('without a sink, messages are written to memory, and a fault there is cause 273', () => {
  const rig = interruptingRig({ messages: false });
  rig.translate(DEVICE, 0x5000);
  assert.equal(rig.memory.getU32(0x2800_0008), 0x102);
  rig.write(Reg.ipsr, 2);
  rig.write64(VECTOR + 32, 2 ** 40);
  rig.translate(DEVICE, 0x6000);
  assert.deepEqual(
    rig.faults().map((fault) => [fault.cause, fault.ttyp, fault.deviceId, fault.address]),
    [
      [Cause.DdtEntryNotValid, READ, DEVICE, 0x5000],
      [Cause.DdtEntryNotValid, READ, DEVICE, 0x6000],
      [Cause.MsiWriteFault, 0, 0, 2 ** 40],
    ],
  );
});
