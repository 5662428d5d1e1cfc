/**
 * Doorbell writes that hosts must not make: they change nothing and are told by an asynchronous
 * event. [NVMEPCI] 3.1.2, [NVME] 5.2
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdminOpcode, AsyncEvent, IoOpcode, Status } from '#devices/nvme/spec.ts';
import { LogPage } from '#devices/nvme/spec-logs.ts';
import { RawDrive } from './raw-drive.ts';

const AER = { opcode: AdminOpcode.AsyncEventRequest } as const;
const FLUSH = { opcode: IoOpcode.Flush, nsid: 1 } as const;
const ERROR_EVENT = (info: number): number =>
  AsyncEvent.Type.of(0) | AsyncEvent.Info.of(info) | AsyncEvent.LogPage.of(LogPage.Error);
const UNKNOWN = ERROR_EVENT(0);
const BAD_VALUE = ERROR_EVENT(1);
/** Doorbell of queue 1, which has 8 entries. */
const TAIL = 0x1008;

const cases: readonly (readonly [what: string, event: number, act: (drive: RawDrive) => void])[] = [
  ['of a queue that does not exist', UNKNOWN, (drive) => drive.ringTail(2, 1)],
  ['of a completion queue that does not exist', UNKNOWN, (drive) => drive.ringHead(3, 1)],
  ['beyond every queue', UNKNOWN, (drive) => drive.write({ offset: 0x1028 }, 1)],
  ['of one byte', UNKNOWN, (drive) => drive.writeBytes(TAIL, 1, 1)],
  ['of two bytes', UNKNOWN, (drive) => drive.writeBytes(TAIL, 2, 1)],
  ['of eight bytes', UNKNOWN, (drive) => drive.writeBytes(TAIL, 8, 1, 0)],
  ['with a tail as large as the queue', BAD_VALUE, (drive) => drive.ringTail(1, 8)],
  ['with upper bits set', BAD_VALUE, (drive) => drive.ringTail(1, 0x0001_0001)],
  ['with every bit set', BAD_VALUE, (drive) => drive.ringTail(1, 0xffff_ffff)],
  ['with a head as large as the queue', BAD_VALUE, (drive) => drive.ringHead(1, 8)],
  ['with a head beyond what was posted', BAD_VALUE, (drive) => drive.ringHead(1, 1)],
];

for (const [what, event, act] of cases) {
  test(`a doorbell ${what} is ignored and reported`, () => {
    const drive = new RawDrive().start();
    const queue = drive.ioQueue(1, 8);
    drive.push(drive.admin, AER);
    drive.ring(drive.admin);
    act(drive);
    const [completion] = drive.take(drive.admin);
    assert.equal(completion?.dw0, event);
    assert.equal(completion?.code, 0);
    assert.equal(drive.csts, 1);
    assert.equal(drive.command(queue, FLUSH).code, 0, 'the queue works on');
    drive.dispose();
  });
}

test('a tail that submits more than the free entries is refused', () => {
  const drive = new RawDrive().start();
  const queue = drive.queue(1, 256);
  const full = drive.queue(1, 2);
  drive.createCq(full);
  drive.createSq(queue);
  for (let i = 0; i < 256; i++) drive.push(queue, FLUSH);
  // One completes and 128 more are taken: 71 entries stay in the queue, 184 are free.
  drive.ringTail(1, 200);
  drive.push(drive.admin, AER);
  drive.ring(drive.admin);
  drive.ringTail(1, 200);
  assert.equal(drive.take(drive.admin).length, 0, 'the same value again changes nothing');
  drive.ringTail(1, (200 + 185) % 256);
  assert.equal(drive.take(drive.admin)[0]?.dw0, BAD_VALUE);
  drive.ringTail(1, (200 + 184) % 256);
  let count = 0;
  for (; drive.peek(full).length > 0; count++) drive.ringHead(1, full.head);
  assert.equal(count, 200 + 184);
  drive.dispose();
});

test('doorbells before the controller is ready do nothing', () => {
  const drive = new RawDrive();
  drive.ringTail(0, 1);
  drive.ringHead(1, 0xffff);
  drive.writeBytes(0x1001, 1, 1);
  drive.start();
  drive.push(drive.admin, AER);
  drive.ring(drive.admin);
  assert.deepEqual(drive.take(drive.admin), []);
  drive.dispose();
});

test('a second error waits until the log page is read, and is not reported twice', () => {
  const drive = new RawDrive().start();
  for (let i = 0; i < 3; i++) drive.push(drive.admin, AER);
  drive.ring(drive.admin);
  drive.ringTail(2, 1);
  drive.ringTail(2, 1);
  assert.equal(drive.take(drive.admin).length, 1);
  const page = drive.pages();
  const read = (rae: number): number =>
    drive.status({
      ...{ opcode: AdminOpcode.GetLogPage, nsid: 0xffff_ffff, prp1: page },
      cdw10: (LogPage.Error | (rae << 15) | (15 << 16)) >>> 0,
    });
  assert.equal(read(1), 0, 'retains the event');
  drive.ringTail(2, 1);
  assert.equal(drive.take(drive.admin).length, 0);
  assert.equal(read(0), 0);
  drive.ringTail(2, 1);
  assert.equal(drive.take(drive.admin).length, 1);
  drive.dispose();
});

test('an event without a request waits for one; a reset forgets requests, events and masks', () => {
  const drive = new RawDrive().start();
  drive.ringTail(2, 1);
  drive.push(drive.admin, AER);
  drive.push(drive.admin, AER);
  drive.ring(drive.admin);
  assert.deepEqual(
    drive.take(drive.admin).map(({ dw0 }) => dw0),
    [UNKNOWN],
  );
  drive.write({ offset: 0x14 }, 0);
  drive.admin = drive.queue(0, 16);
  drive.start();
  drive.ringTail(2, 1);
  assert.deepEqual(drive.take(drive.admin), [], 'the old request is gone');
  drive.push(drive.admin, AER);
  drive.ring(drive.admin);
  assert.deepEqual(
    drive.take(drive.admin).map(({ dw0 }) => dw0),
    [UNKNOWN],
  );
  drive.dispose();
});

test('requests are held, limited in number, and can be aborted', () => {
  const drive = new RawDrive().start();
  const cids = Array.from({ length: 5 }, () => drive.push(drive.admin, AER));
  drive.ring(drive.admin);
  const over = drive.take(drive.admin);
  assert.deepEqual(
    over.map(({ cid, code }) => [cid, code]),
    [[cids[4], Status.AsyncEventLimitExceeded]],
  );
  const abort = (cid: number | undefined, sqid = 0): number =>
    drive.push(drive.admin, {
      opcode: AdminOpcode.Abort,
      cdw10: (((cid ?? 0) << 16) | sqid) >>> 0,
    });
  const done = abort(cids[1]);
  drive.ring(drive.admin);
  assert.deepEqual(
    drive.take(drive.admin).map(({ cid, code, dw0 }) => [cid, code, dw0]),
    [
      [cids[1], Status.AbortRequested, 0],
      [done, 0, 0],
    ],
  );
  const none = [abort(cids[1]), abort(0x1234), abort(cids[0], 1)];
  drive.ring(drive.admin);
  assert.deepEqual(
    drive.take(drive.admin).map(({ cid, code, dw0 }) => [cid, code, dw0]),
    none.map((cid) => [cid, 0, 1]),
    'not aborted',
  );
  drive.dispose();
});
