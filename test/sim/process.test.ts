/**
 * Processes: delays, waiting, results, errors and who gets them.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import { delay, type Process, wait } from '#emu/sim/process.ts';

test('starts at once, lets time pass, and completes with its result', () => {
  const kernel = new Kernel();
  const times: number[] = [];
  function* bringUp(): Process<string> {
    times.push(kernel.now);
    yield* delay(1500);
    times.push(kernel.now);
    yield* delay(2 ** 33);
    times.push(kernel.now);
    return 'ready';
  }
  const result = kernel.spawn('bring-up', bringUp());
  assert.deepEqual(times, [0]);
  assert.deepEqual(kernel.outstanding(), ['bring-up']);
  kernel.run();
  assert.deepEqual(times, [0, 1500, 1500 + 2 ** 33]);
  assert.equal(result.value, 'ready');
});

test('waits for pendings: open, complete, and of other processes', () => {
  const kernel = new Kernel();
  const register = kernel.pending<number>('register');
  function* reader(): Process<number> {
    const first = yield* wait(register);
    const again = yield* wait(register);
    return first + again;
  }
  function* outer(): Process<number> {
    const inner = kernel.spawn('inner', reader());
    return (yield* wait(inner)) * 10;
  }
  const result = kernel.spawn('outer', outer());
  kernel.schedule(70, { path: 'root', handle: () => register.complete(4) }, 0, null);
  kernel.run();
  assert.equal(result.value, 80);
  assert.equal(kernel.now, 70);
});

test('waiting for what is done takes no event', () => {
  const kernel = new Kernel();
  const done = kernel.pending<number>('done');
  done.complete(1);
  assert.equal(kernel.spawn('reader', wait(done)).value, 1);
  assert.equal(kernel.queued, 0);
});

test('a process goes on in an event of its own, after the one that completed what it waits for', () => {
  const kernel = new Kernel();
  const pending = kernel.pending<null>('signal');
  const order: string[] = [];
  kernel.spawn(
    'waiter',
    (function* (): Process<void> {
      yield* wait(pending);
      order.push('process');
    })(),
  );
  const model = {
    path: 'model',
    handle: () => {
      pending.complete(null);
      order.push('model');
    },
  };
  kernel.schedule(1, model, 0, null);
  kernel.run();
  assert.deepEqual(order, ['model', 'process']);
});

test('an error in a process fails its pending, located, and reaches who waits for it', () => {
  const kernel = new Kernel();
  const cause = new RangeError('no such register');
  function* failing(): Process<never> {
    yield* delay(30);
    throw cause;
  }
  function* parent(): Process<string> {
    try {
      yield* wait(kernel.spawn('child', failing()));
      return 'no error';
    } catch (error) {
      assert.ok(error instanceof EmuError);
      assert.equal(error.code, 'INVARIANT');
      assert.equal(error.cause, cause);
      assert.deepEqual(error.detail, { timePs: 30, path: 'child' });
      return 'caught';
    }
  }
  const result = kernel.spawn('parent', parent());
  kernel.run();
  assert.equal(result.value, 'caught');
});

test('an error that no one waits for surfaces from the kernel', () => {
  const kernel = new Kernel();
  kernel.spawn(
    'lonely',
    (function* (): Process<void> {
      yield* delay(5);
      throw new EmuError('USAGE', 'bad option', { option: 'x' });
    })(),
  );
  assert.throws(() => kernel.run(), {
    code: 'USAGE',
    detail: { pending: 'lonely', timePs: 5, path: 'lonely', option: 'x' },
  });
});

test('an error before the first wait fails the pending, not the spawn', () => {
  const kernel = new Kernel();
  // biome-ignore lint/correctness/useYield: it fails before its first one.
  function* early(): Process<void> {
    throw new Error('early');
  }
  const result = kernel.spawn('early', early());
  assert.equal(result.error?.message, 'early');
  assert.throws(() => result.value, { message: 'early' });
  kernel.run();
});

test('a delay that is none fails the process', () => {
  const kernel = new Kernel();
  const result = kernel.spawn('odd', delay(-1));
  assert.throws(() => result.value, { code: 'INVARIANT', message: /odd: time -1/ });
});
