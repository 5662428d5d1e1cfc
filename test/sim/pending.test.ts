/**
 * Pendings without an event loop: completion, failure, callbacks, and failures that nobody takes.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { Kernel, type Target } from '#emu/sim/kernel.ts';

const broken = (): EmuError => new EmuError('CHECKER', 'broken');
const at = (kernel: Kernel, delayPs: number, action: () => void): void => {
  const target: Target = { path: 'test', handle: action };
  kernel.schedule(delayPs, target, 0, null);
};

test('completes once, with its value, and calls back synchronously in order', () => {
  const kernel = new Kernel();
  const pending = kernel.pending<number>('read');
  const seen: string[] = [];
  pending.onDone((value) => seen.push(`first ${value}`));
  pending.onDone(
    (value) => seen.push(`second ${value}`),
    () => seen.push('failed'),
  );
  assert.equal(pending.done, false);
  assert.throws(() => pending.value, { code: 'INVARIANT', message: /read is not done/ });
  pending.complete(7);
  pending.onDone((value) => seen.push(`late ${value}`));
  assert.deepEqual(seen, ['first 7', 'second 7', 'late 7']);
  assert.equal(pending.done, true);
  assert.equal(pending.value, 7);
  assert.equal(pending.error, null);
});

test('completing or failing a second time is refused', () => {
  const kernel = new Kernel();
  const pending = kernel.pending<number>('read');
  pending.complete(1);
  const twice = { code: 'INVARIANT', message: /read completed twice/ };
  assert.throws(() => pending.complete(2), twice);
  assert.throws(() => pending.fail(broken()), twice);
  assert.equal(pending.value, 1);
  const failed = kernel.pending('write');
  failed.onDone(
    () => {},
    () => {},
  );
  failed.fail(broken());
  assert.throws(() => failed.complete(1), { code: 'INVARIANT' });
});

test('a failure reaches the callbacks that take failures, and value throws it', () => {
  const kernel = new Kernel();
  const pending = kernel.pending<number>('read');
  const seen: unknown[] = [];
  const error = broken();
  pending.onDone(
    () => seen.push('done'),
    (reason) => seen.push(reason),
  );
  pending.fail(error);
  pending.onDone(
    () => seen.push('done'),
    (reason) => seen.push(reason),
  );
  assert.deepEqual(seen, [error, error]);
  assert.equal(pending.error, error);
  assert.throws(() => pending.value, { message: 'broken' });
  kernel.run();
});

test('outstanding names what is open, in order of creation', () => {
  const kernel = new Kernel();
  const first = kernel.pending('first');
  kernel.pending('second');
  kernel.pending('second');
  assert.deepEqual(kernel.outstanding(), ['first', 'second', 'second']);
  first.complete(null);
  assert.deepEqual(kernel.outstanding(), ['second', 'second']);
});

test('a failure that nobody takes stops the run where it happens and surfaces from it', () => {
  const kernel = new Kernel();
  const pending = kernel.pending('write');
  pending.onDone(() => {});
  at(kernel, 10, () => pending.fail(broken()));
  at(kernel, 11, () => {});
  assert.throws(() => kernel.run(), { code: 'CHECKER', detail: { pending: 'write' } });
  assert.equal(kernel.now, 10);
  kernel.run();
  assert.equal(kernel.now, 11);
});

test('a failure outside the kernel surfaces from the next run, unless it is taken before', () => {
  const kernel = new Kernel();
  const pending = kernel.pending('write');
  pending.fail(broken());
  assert.deepEqual(kernel.outstanding(), ['write (broken)']);
  assert.throws(() => kernel.runSlice(1), { message: 'broken' });
  kernel.run();
  const taken = kernel.pending('read');
  taken.fail(broken());
  assert.throws(() => taken.value, { message: 'broken' });
  assert.deepEqual(kernel.outstanding(), []);
  kernel.run();
});

test('a failure that is taken in its own event does not end the run', () => {
  const kernel = new Kernel();
  const pending = kernel.pending('write');
  let events = 0;
  at(kernel, 10, () => {
    pending.fail(broken());
    pending.onDone(
      () => {},
      () => events++,
    );
  });
  at(kernel, 20, () => events++);
  at(kernel, 30, () => events++);
  kernel.runUntil(20);
  assert.equal(events, 2);
  assert.equal(kernel.now, 20);
});

test('a slice ends with a failure that nobody took, and the next one throws it', () => {
  const kernel = new Kernel();
  const pending = kernel.pending('write');
  at(kernel, 10, () => pending.fail(broken()));
  assert.equal(kernel.runSlice(100), true);
  assert.throws(() => kernel.runSlice(100), { message: 'broken' });
});

test('open pendings are told in order of creation, whichever is done first', () => {
  const kernel = new Kernel();
  const [first, middle, last] = ['first', 'middle', 'last'].map((name) =>
    kernel.pending<void>(name),
  );
  middle!.complete();
  assert.deepEqual(kernel.outstanding(), ['first', 'last']);
  last!.complete();
  const next = kernel.pending<void>('next');
  assert.deepEqual(kernel.outstanding(), ['first', 'next']);
  first!.complete();
  assert.deepEqual(kernel.outstanding(), ['next']);
  next.complete();
  assert.deepEqual(kernel.outstanding(), []);
});
