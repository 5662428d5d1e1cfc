/**
 * Queues: creation and deletion checks, wrap-around and phase, full queues, interrupts. [NVME] 3.3.1, 5.4 to 5.7
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdminOpcode, Cc, IoOpcode, Property, Status } from '#devices/nvme/spec.ts';
import { CapabilityId, MsiX, MsiXControl } from '#emu/pcie/config/config-registers.ts';
import { CC, EN, NOWHERE, RawDrive } from './raw-drive.ts';

const FLUSH = { opcode: IoOpcode.Flush, nsid: 1 } as const;
const GET_QUEUES = { opcode: AdminOpcode.GetFeatures, cdw10: 7 } as const;

const cqChecks: readonly (readonly [
  what: string,
  code: number,
  change: Parameters<RawDrive['createCq']>[1],
])[] = [
  ['identifier 0', Status.InvalidQueueIdentifier, { cdw10: 0x000f_0000 }],
  ['an identifier above those allocated', Status.InvalidQueueIdentifier, { cdw10: 0x000f_0005 }],
  ['identifier FFFFh', Status.InvalidQueueIdentifier, { cdw10: 0x000f_ffff }],
  ['one entry', Status.InvalidQueueSize, { cdw10: 1 }],
  ['more entries than MQES', Status.InvalidQueueSize, { cdw10: 0x0400_0001 }],
  ['memory that is not contiguous', Status.InvalidField, { flags11: 2 }],
  ['an offset in PRP1', Status.PrpOffsetInvalid, { prp1: 0x8000_0010 }],
  ['a vector beyond the table', Status.InvalidInterruptVector, { vector: 5 }],
  ['vector FFFFh', Status.InvalidInterruptVector, { vector: 0xffff }],
];

for (const [what, code, change] of cqChecks) {
  test(`Create I/O Completion Queue refuses ${what}`, () => {
    const drive = new RawDrive().start();
    assert.equal(drive.createCq(drive.queue(1, 16), change), code);
    assert.equal(drive.createCq(drive.queue(1, 16)), 0, 'and takes the right one');
    assert.equal(drive.createCq(drive.queue(1, 16)), Status.InvalidQueueIdentifier, 'once');
    drive.dispose();
  });
}

const sqChecks: readonly (readonly [
  what: string,
  code: number,
  change: Parameters<RawDrive['createSq']>[1],
])[] = [
  ['identifier 0', Status.InvalidQueueIdentifier, { cdw10: 0x000f_0000 }],
  ['an identifier above those allocated', Status.InvalidQueueIdentifier, { cdw10: 0x000f_0005 }],
  ['identifier FFFFh', Status.InvalidQueueIdentifier, { cdw10: 0x000f_ffff }],
  ['one entry', Status.InvalidQueueSize, { cdw10: 1 }],
  ['more entries than MQES', Status.InvalidQueueSize, { cdw10: 0x0400_0001 }],
  ['memory that is not contiguous', Status.InvalidField, { cdw11: 0x0001_0000 }],
  ['an offset in PRP1', Status.PrpOffsetInvalid, { prp1: 0x8000_0040 }],
  ['the admin completion queue', Status.InvalidQueueIdentifier, { cqid: 0 }],
  ['a completion queue above those allocated', Status.InvalidQueueIdentifier, { cqid: 5 }],
  ['a completion queue that does not exist', Status.CompletionQueueInvalid, { cqid: 2 }],
];

for (const [what, code, change] of sqChecks) {
  test(`Create I/O Submission Queue refuses ${what}`, () => {
    const drive = new RawDrive().start();
    const queue = drive.queue(1, 16);
    drive.createCq(queue);
    assert.equal(drive.createSq(queue, change), code);
    assert.equal(drive.createSq(queue), 0, 'and takes the right one');
    assert.equal(drive.createSq(queue), Status.InvalidQueueIdentifier, 'once');
    drive.dispose();
  });
}

test('status code 00h of the command-specific type is an error in the completion too', () => {
  const drive = new RawDrive().start();
  const queue = drive.queue(1, 16);
  const cdw10 = 0x000f_0001;
  const { code, dnr } = drive.command(drive.admin, {
    ...{ opcode: AdminOpcode.CreateSq, cdw10, cdw11: 0x0001_0001, prp1: queue.sq },
  });
  assert.deepEqual({ code, dnr }, { code: 0x100, dnr: 1 });
  drive.dispose();
});

test('entry sizes of CC are checked when queues are created', () => {
  const drive = new RawDrive().start(Cc.IOCQES.put(Cc.IOSQES.put(CC, 0), 0));
  assert.equal(drive.createCq(drive.queue(1, 16)), Status.InvalidQueueSize);
  drive.write(Property.Cc, Cc.IOCQES.put(EN, 4));
  const queue = drive.queue(1, 16);
  assert.equal(drive.createCq(queue), 0);
  assert.equal(drive.createSq(queue), Status.InvalidQueueSize);
  drive.write(Property.Cc, CC | EN);
  assert.equal(drive.createSq(queue), 0);
  drive.dispose();
});

test('without MSI-X only vector 0 can be used; MSI-X enabled later serves the admin queue', () => {
  const drive = new RawDrive();
  drive.setAdminQueues();
  drive.write(Property.Cc, CC | EN);
  assert.equal(drive.createCq(drive.queue(1, 16)), Status.InvalidInterruptVector);
  assert.deepEqual(drive.interrupts, []);
  drive.enableMsix();
  assert.equal(drive.createCq(drive.queue(1, 16)), 0);
  assert.deepEqual(drive.interrupts, [1]);
  drive.dispose();
});

test('deletion: order, identifiers, twice', () => {
  const drive = new RawDrive().start();
  drive.ioQueue();
  assert.equal(drive.deleteCq(1), Status.InvalidQueueDeletion, 'while a submission queue uses it');
  assert.equal(drive.deleteSq(1), 0);
  assert.equal(drive.deleteSq(1), Status.InvalidQueueIdentifier, 'twice');
  assert.equal(drive.deleteCq(1), 0);
  assert.equal(drive.deleteCq(1), Status.InvalidQueueIdentifier, 'twice');
  assert.equal(drive.deleteSq(0), Status.InvalidQueueIdentifier);
  assert.equal(drive.deleteCq(0), Status.InvalidQueueIdentifier);
  assert.equal(drive.deleteSq(0xffff), Status.InvalidQueueIdentifier);
  const again = drive.ioQueue();
  assert.equal(drive.command(again, FLUSH).code, 0, 'a queue made again works');
  drive.dispose();
});

test('several submission queues may share a completion queue', () => {
  const drive = new RawDrive().start();
  const shared = drive.ioQueue(1, 16);
  const second = drive.queue(2, 4);
  assert.equal(drive.createSq(second, { cqid: 1 }), 0);
  drive.push(second, FLUSH);
  drive.ring(second);
  const [completion] = drive.take(shared);
  assert.deepEqual([completion?.sqid, completion?.sqhd], [2, 1]);
  assert.equal(drive.deleteSq(1), 0);
  assert.equal(drive.deleteCq(1), Status.InvalidQueueDeletion);
  assert.equal(drive.deleteSq(2), 0);
  assert.equal(drive.deleteCq(1), 0);
  drive.dispose();
});

for (const fidelity of ['timed', 'functional'] as const) {
  test(`the phase tag turns over with a small queue, and SQHD follows (${fidelity})`, () => {
    const drive = new RawDrive({ fidelity }).start();
    const queue = drive.ioQueue(1, 4);
    for (let i = 0; i < 13; i++) {
      const { phase, sqhd, code } = drive.command(queue, FLUSH);
      assert.deepEqual([phase, sqhd, code], [1 - (Math.floor(i / 4) & 1), (i + 1) % 4, 0]);
    }
    drive.dispose();
  });
}

test('a full completion queue holds completions back and loses none', () => {
  const drive = new RawDrive().start();
  const queue = drive.queue(1, 64);
  const small = drive.queue(1, 3);
  drive.createCq(small);
  drive.createSq(queue);
  const cids = Array.from({ length: 40 }, () => drive.push(queue, FLUSH));
  drive.ring(queue);
  const seen: number[] = [];
  for (let i = 0; i < 40 && seen.length < 40; i++) {
    const taken = drive.peek(small);
    assert.ok(taken.length >= 1 && taken.length <= 2, 'never more than fit');
    seen.push(...taken.map(({ cid }) => cid));
    drive.ringHead(1, small.head);
  }
  assert.deepEqual(seen, cids);
  assert.deepEqual(drive.peek(small), []);
  drive.dispose();
});

test('commands beyond what a drive takes at once wait in the queue, behind a full completion queue', () => {
  const drive = new RawDrive().start();
  const queue = drive.queue(1, 512);
  const small = drive.queue(1, 2);
  drive.createCq(small);
  drive.createSq(queue);
  for (let i = 0; i < 500; i++) drive.push(queue, FLUSH);
  drive.ring(queue);
  const heads = new Set<number>();
  let count = 0;
  for (; ; count++) {
    const [taken] = drive.peek(small);
    if (!taken) break;
    heads.add(taken.sqhd);
    drive.ringHead(1, small.head);
  }
  assert.equal(count, 500);
  assert.ok(Math.min(...heads) < 200, 'SQHD tells of fetched commands only');
  assert.ok(heads.has(500));
  drive.dispose();
});

test('deleting a submission queue behind a full completion queue ends, and frees what it held', () => {
  const drive = new RawDrive().start();
  const queue = drive.queue(1, 64);
  const small = drive.queue(1, 2);
  drive.createCq(small);
  drive.createSq(queue);
  for (let i = 0; i < 10; i++) drive.push(queue, FLUSH);
  drive.ring(queue);
  assert.equal(drive.deleteSq(1), 0);
  assert.equal(drive.peek(small).length, 1, 'what fitted');
  drive.ringHead(1, small.head);
  assert.deepEqual(drive.peek(small), [], 'the rest ends without an entry');
  assert.equal(drive.deleteCq(1), 0);
  drive.dispose();
});

for (const delay of [0, 0.2e6, 0.5e6, 1e6, 3e6, 9e6, 12e6]) {
  test(`deleting a queue ${delay / 1e6} us into its I/O: each command ends at most once`, () => {
    const drive = new RawDrive({ fidelity: 'timed', timing: 'optane' }).start();
    const queue = drive.ioQueue(1, 64);
    const data = drive.pages(2);
    const read = { opcode: IoOpcode.Read, nsid: 1, prp1: data, cdw12: 7 };
    const cids = new Set(Array.from({ length: 20 }, () => drive.push(queue, read)));
    drive.postTail(queue);
    drive.wait(delay);
    const deletion = drive.push(drive.admin, { opcode: AdminOpcode.DeleteSq, cdw10: 1 });
    drive.postTail(drive.admin);
    let done: readonly { cid: number; code: number }[] = [];
    while (done.length === 0) {
      drive.wait(10_000);
      done = drive.peek(drive.admin);
    }
    assert.deepEqual(
      done.map(({ cid, code }) => [cid, code]),
      [[deletion, 0]],
    );
    for (const { cid, code } of drive.peek(queue)) {
      assert.ok(cids.delete(cid), 'once');
      assert.equal(code, 0);
    }
    drive.memory.fill(data, 8192, 0xee);
    drive.run();
    assert.deepEqual(drive.peek(queue), [], 'nothing after the deletion completed');
    assert.deepEqual(new Set(drive.bytes(data, 8192)), new Set([0xee]));
    drive.ringHead(0, drive.admin.head);
    assert.equal(drive.deleteCq(1), 0);
    assert.equal(drive.command(drive.ioQueue(1, 8), FLUSH).code, 0);
    drive.dispose();
  });
}

test('a deleted queue fetches no more', () => {
  const drive = new RawDrive({ fidelity: 'timed', timing: 'optane' }).start();
  const queue = drive.ioQueue(1, 256);
  const read = { opcode: IoOpcode.Read, nsid: 1, prp1: drive.pages(), cdw12: 7 };
  for (let i = 0; i < 250; i++) drive.push(queue, read);
  drive.postTail(queue);
  assert.equal(drive.deleteSq(1), 0);
  const { length } = drive.peek(queue);
  assert.ok(length >= 8 && length <= 200, `${length} of 250 commands executed`);
  drive.dispose();
});

for (const start of [1, 3, 5, 7]) {
  test(`a batch of commands across the end of the queue, from entry ${start}`, () => {
    const drive = new RawDrive().start();
    const queue = drive.ioQueue(1, 8);
    for (let i = 0; i < start; i++) drive.command(queue, FLUSH);
    const cids = Array.from({ length: 7 }, () => drive.push(queue, FLUSH));
    drive.ring(queue);
    const taken = drive.take(queue);
    assert.deepEqual(
      taken.map(({ cid, code }) => [cid, code]),
      cids.map((cid) => [cid, 0]),
    );
    drive.dispose();
  });
}

test('number of queues: before any exists, and not 65,536', () => {
  const set = (cdw11: number) => ({ opcode: AdminOpcode.SetFeatures, cdw10: 7, cdw11 });
  const drive = new RawDrive().start();
  assert.equal(drive.command(drive.admin, GET_QUEUES).dw0, 0x0003_0003);
  assert.equal(drive.status(set(0x0000_ffff)), Status.InvalidField);
  assert.equal(drive.status(set(0xffff_0000)), Status.InvalidField);
  assert.equal(
    drive.command(drive.admin, set(0x0009_0009)).dw0,
    0x0003_0003,
    'more than there are',
  );
  assert.equal(drive.command(drive.admin, set(0x0001_0000)).dw0, 0x0001_0001, 'pairs');
  assert.equal(drive.command(drive.admin, GET_QUEUES).dw0, 0x0001_0001);
  assert.equal(drive.createCq(drive.queue(3, 4)), Status.InvalidQueueIdentifier, 'not allocated');
  assert.equal(drive.createCq(drive.queue(2, 4)), 0);
  assert.equal(drive.status(set(0x0001_0001)), Status.CommandSequenceError);
  assert.equal(drive.deleteCq(2), 0);
  assert.equal(drive.status(set(0x0001_0001)), Status.CommandSequenceError, 'until a reset');
  drive.dispose();
});

test('an interrupt for each completion, on the vector of its queue; none with IEN = 0', () => {
  const drive = new RawDrive().start();
  const loud = drive.ioQueue(1, 8);
  const silent = drive.queue(2, 8);
  drive.createCq(silent, { flags11: 1 });
  drive.createSq(silent);
  const before = [...drive.interrupts];
  drive.command(loud, FLUSH);
  drive.command(loud, FLUSH);
  drive.command(silent, FLUSH);
  assert.deepEqual([drive.interrupts[0], drive.interrupts[1]], [before[0], 2]);
  assert.equal(drive.interrupts[2], undefined);
  drive.dispose();
});

test('a masked vector pends and fires when unmasked; so does the function mask', () => {
  const drive = new RawDrive().start();
  const queue = drive.ioQueue(1, 8);
  const control = drive.pci.capability(CapabilityId.MsiX) + MsiX.Control;
  const table = drive.process(drive.pci.configRead32(control + 2)) & ~7;
  const pba = drive.process(drive.pci.configRead32(control + 6)) & ~7;
  const vectorControl = { offset: table + 16 + 12 };
  drive.write(vectorControl, 1);
  drive.command(queue, FLUSH);
  assert.equal(drive.interrupts[1], undefined);
  assert.equal(drive.read({ offset: pba }), 0b10);
  drive.write(vectorControl, 0);
  assert.equal(drive.interrupts[1], 1);
  assert.equal(drive.read({ offset: pba }), 0);
  drive.process(drive.pci.configWrite16(control, 0x8000 | MsiXControl.FunctionMask.mask));
  drive.command(queue, FLUSH);
  assert.equal(drive.interrupts[1], 1);
  drive.process(drive.pci.configWrite16(control, 0x8000));
  assert.equal(drive.interrupts[1], 2);
  drive.dispose();
});

test('I/O queue memory where nothing answers is fatal at the first fetch, lost at a completion', () => {
  const drive = new RawDrive().start();
  const queue = drive.queue(1, 8);
  drive.createCq(queue);
  drive.createSq(queue, { prp1: NOWHERE });
  drive.ringTail(1, 1);
  assert.equal(drive.csts, 3);
  drive.dispose();
});
