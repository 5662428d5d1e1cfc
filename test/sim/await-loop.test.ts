/**
 * Awaited pendings: when simulated time moves, where slices end, stalls, and errors on the way.
 * @module
 */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { installEventLoop } from '#emu/sim/event-loop.ts';
import { Kernel, type Target } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';

let turns = 0;
beforeEach(() => {
  turns = 0;
  installEventLoop((run) =>
    setImmediate(() => {
      turns++;
      run();
    }),
  );
});

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const at = (kernel: Kernel, delayPs: number, action: () => void): void => {
  const target: Target = { path: 'test', handle: action };
  kernel.schedule(delayPs, target, 0, null);
};
function completeAt<T>(kernel: Kernel, delayPs: number, value: T): Pending<T> {
  const pending = kernel.pending<T>(`in ${delayPs}`);
  at(kernel, delayPs, () => pending.complete(value));
  return pending;
}
/** Events that go on for ever, one a nanosecond. */
function tick(kernel: Kernel): void {
  const clock: Target = {
    path: 'clock',
    handle: () => kernel.schedule(1000, clock, -1, null),
  };
  kernel.schedule(1000, clock, -1, null);
}

test('simulated time moves while a pending is awaited, and only then', async () => {
  const kernel = new Kernel();
  tick(kernel);
  const pending = completeAt(kernel, 5000, 'value');
  await nextTurn();
  await nextTurn();
  assert.equal(kernel.now, 0);
  assert.equal(await pending, 'value');
  assert.equal(kernel.now, 5000);
  await nextTurn();
  await nextTurn();
  assert.equal(kernel.now, 5000);
  assert.equal(await pending, 'value');
  assert.equal(kernel.now, 5000);
});

test('the slice ends where an awaited pending completes, however deep the promises on it are', async () => {
  const kernel = new Kernel();
  tick(kernel);
  const deep = async (depth: number): Promise<number> =>
    depth === 0 ? await completeAt(kernel, 3000, 1) : (await deep(depth - 1)) + 1;
  const slow = completeAt(kernel, 9_000_000, 'slow');
  const times: number[] = [];
  const fast = (async () => {
    for (let i = 0; i < 5; i++) {
      await deep(20);
      times.push(kernel.now);
    }
  })();
  await Promise.all([slow, fast]);
  assert.deepEqual(times, [3000, 6000, 9000, 12_000, 15_000]);
  assert.equal(kernel.now, 9_000_000);
});

test('a completion that nobody awaits does not end the slice', async () => {
  const kernel = new Kernel();
  for (let i = 1; i < 100; i++) completeAt(kernel, i, i);
  await completeAt(kernel, 1000, 'last');
  assert.equal(turns, 1);
});

test('slices are long: a turn for 4096 events or more', async () => {
  const kernel = new Kernel();
  tick(kernel);
  await completeAt(kernel, 50_000_000, 0);
  assert.ok(turns >= 2 && turns <= 1 + 50_000 / 4096, `${turns} turns`);
});

test('all who await get the outcome, then and catch included', async () => {
  const kernel = new Kernel();
  const pending = completeAt(kernel, 10, 2);
  const doubled = pending.then((value) => value * 2);
  assert.deepEqual(await Promise.all([pending, doubled, pending]), [2, 4, 2]);
  const failing = kernel.pending('write');
  at(kernel, 10, () => failing.fail(new EmuError('CHECKER', 'broken')));
  const caught = failing.then(null, (error: unknown) => `caught ${String(error)}`);
  await assert.rejects(async () => await failing, { code: 'CHECKER' });
  assert.equal(await caught, 'caught EmuError: broken');
  await assert.rejects(async () => await failing, { code: 'CHECKER' });
});

test('a pending completed outside of the kernel is told at once', async () => {
  const kernel = new Kernel();
  tick(kernel);
  const pending = kernel.pending<number>('manual');
  const awaited = pending.then((value) => value);
  pending.complete(4);
  assert.equal(await awaited, 4);
  assert.equal(turns, 0);
  await nextTurn();
  assert.equal(turns, 1);
  assert.equal(kernel.now, 0);
});

test('an explicit run serves those who await, and does not stop for them', async () => {
  const kernel = new Kernel();
  const first = completeAt(kernel, 10, 'a').then((value) => value);
  completeAt(kernel, 20, 'b');
  kernel.run();
  assert.equal(kernel.now, 20);
  assert.equal(await first, 'a');
});

test('an explicit slice stops for those who await', async () => {
  const kernel = new Kernel();
  const first = completeAt(kernel, 10, 'a').then((value) => value);
  completeAt(kernel, 20, 'b');
  assert.equal(kernel.runSlice(100), true);
  assert.equal(kernel.now, 10);
  assert.equal(await first, 'a');
});

test('with nothing left to run, every awaited pending rejects, and names the others', async () => {
  const kernel = new Kernel();
  const one = kernel.pending('one');
  const two = kernel.pending('two');
  kernel.pending('three');
  kernel.pending('one');
  completeAt(kernel, 100, 0);
  const [first, second] = await Promise.allSettled([one, two]);
  assert.equal(kernel.now, 100);
  assert.equal(first.status, 'rejected');
  assert.equal(second.status, 'rejected');
  const error: unknown = first.reason;
  assert.ok(error instanceof EmuError);
  assert.equal(error.code, 'STALLED');
  assert.match(error.message, /^one can never complete.*also outstanding: two, three, one$/);
  assert.deepEqual(error.detail, { pending: 'one', outstanding: 'two, three, one' });
  assert.match(String(second.reason), /two can never complete/);
});

test('a long list of outstanding pendings is cut', async () => {
  const kernel = new Kernel();
  for (let i = 0; i < 30; i++) kernel.pending(`p${i}`);
  const lone = kernel.pending('lone');
  await assert.rejects(async () => await lone, /p19 and 10 more$/);
});

test('a stalled pending stays open: a later event may still complete it', async () => {
  const kernel = new Kernel();
  const pending = kernel.pending<string>('late');
  await assert.rejects(async () => await pending, { code: 'STALLED' });
  assert.equal(pending.done, false);
  assert.deepEqual(kernel.outstanding(), ['late']);
  at(kernel, 10, () => pending.complete('after all'));
  assert.equal(await pending, 'after all');
});

test('a stalled pending that fails later is a failure that nobody took', async () => {
  const kernel = new Kernel();
  const pending = kernel.pending<string>('late');
  await assert.rejects(async () => await pending, { code: 'STALLED' });
  at(kernel, 10, () => pending.fail(new EmuError('CHECKER', 'broken')));
  assert.throws(() => kernel.run(), { code: 'CHECKER' });
});

test('whoever was served gets a turn before the rest counts as stalled', async () => {
  const kernel = new Kernel();
  const blocked = kernel.pending<string>('blocked');
  const helper = (async () => {
    await completeAt(kernel, 10, 0);
    at(kernel, 5, () => blocked.complete('helped'));
  })();
  assert.deepEqual(await Promise.all([blocked, helper]), ['helped', undefined]);
});

test('an error in an event rejects everybody who awaits, with its place', async () => {
  const kernel = new Kernel();
  const pending = completeAt(kernel, 20, 0);
  const other = kernel.pending('other');
  at(kernel, 10, () => {
    throw new Error('bug');
  });
  const [first, second] = await Promise.allSettled([pending, other]);
  assert.equal(first.status, 'rejected');
  assert.equal(second.status, 'rejected');
  const error: unknown = first.reason;
  assert.ok(error instanceof EmuError);
  assert.deepEqual(error.detail, { timePs: 10, path: 'test', op: 0 });
  assert.equal(pending.done, false);
});

test('an error in the event that completed an awaited pending is not lost', async () => {
  const kernel = new Kernel();
  const pending = kernel.pending('read');
  at(kernel, 10, () => {
    pending.complete(1);
    throw new Error('bug');
  });
  await assert.rejects(async () => await pending, { code: 'INVARIANT', message: 'bug' });
});

test('a failure that nobody took rejects those who await something else', async () => {
  const kernel = new Kernel();
  const lost = kernel.pending('lost');
  at(kernel, 10, () => lost.fail(new EmuError('CHECKER', 'broken')));
  const pending = completeAt(kernel, 20, 0);
  await assert.rejects(async () => await pending, { code: 'CHECKER', detail: { pending: 'lost' } });
  assert.equal(kernel.now, 10);
});

test('a failure that nobody took goes before the stall it causes', async () => {
  const kernel = new Kernel();
  const lost = kernel.pending('lost');
  const other = kernel.pending('other');
  at(kernel, 10, () => lost.fail(new EmuError('CHECKER', 'broken')));
  await assert.rejects(async () => await other, { code: 'CHECKER' });
});

test('two failures of one event can be awaited one after the other', async () => {
  const kernel = new Kernel();
  const first = kernel.pending('first');
  const second = kernel.pending('second');
  at(kernel, 10, () => {
    second.fail(new EmuError('CHECKER', 'two'));
    first.fail(new EmuError('CHECKER', 'one'));
  });
  await assert.rejects(async () => await first, { message: 'one' });
  await assert.rejects(async () => await second, { message: 'two' });
  assert.deepEqual(kernel.outstanding(), []);
});
