/**
 * The kernel as its users see it: order, clock, limits, errors with their place, re-entrancy.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { type EventArg, Kernel, type Target } from '#emu/sim/kernel.ts';

/** A target that notes what reaches it and when. */
class Recorder implements Target {
  readonly path = 'recorder';
  readonly seen: [timePs: number, op: number, arg: EventArg][] = [];
  readonly #kernel: Kernel;
  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }
  handle(op: number, arg: EventArg): void {
    this.seen.push([this.#kernel.now, op, arg]);
  }
}

const target = (handle: (op: number, arg: EventArg) => void): Target => ({ path: 'a.b', handle });
const code = (expected: string) => (error: unknown) =>
  error instanceof EmuError && error.code === expected;

test('hands out events in time order, first in first out among equals, lower priority first', () => {
  const kernel = new Kernel();
  const recorder = new Recorder(kernel);
  const late = { name: 'late' };
  kernel.schedule(20, recorder, 1, late);
  kernel.schedule(10, recorder, 2, null);
  kernel.schedule(10, recorder, -3, 7);
  kernel.scheduleAt(10, recorder, 4, null, -1);
  kernel.scheduleAt(10, recorder, 5, null, 1);
  kernel.scheduleFar(2 ** 40, recorder, 6, null);
  assert.equal(kernel.queued, 6);
  kernel.run();
  assert.deepEqual(recorder.seen, [
    [10, 4, null],
    [10, 2, null],
    [10, -3, 7],
    [10, 5, null],
    [20, 1, late],
    [2 ** 40, 6, null],
  ]);
  assert.equal(kernel.events, 6);
  assert.equal(kernel.queued, 0);
});

test('a slot that had a priority is reused without it', () => {
  const kernel = new Kernel();
  const recorder = new Recorder(kernel);
  kernel.scheduleAt(1, recorder, 0, null, 5);
  kernel.run();
  kernel.schedule(8, recorder, 1, null);
  kernel.schedule(8, recorder, 2, null);
  kernel.run();
  assert.deepEqual(
    recorder.seen.map(([, op]) => op),
    [0, 1, 2],
  );
});

test('runUntil includes its last time, sets the clock, and lets earlier events be added after it', () => {
  const kernel = new Kernel();
  const recorder = new Recorder(kernel);
  kernel.schedule(100, recorder, 1, null);
  kernel.schedule(101, recorder, 2, null);
  kernel.runUntil(100);
  assert.deepEqual(recorder.seen, [[100, 1, null]]);
  kernel.runUntil(100);
  kernel.schedule(0, recorder, 3, null);
  kernel.run();
  assert.deepEqual(recorder.seen.slice(1), [
    [100, 3, null],
    [101, 2, null],
  ]);
  kernel.runUntil(5000);
  assert.equal(kernel.now, 5000);
});

test('runSlice stops after its events and tells whether any are left', () => {
  const kernel = new Kernel();
  const recorder = new Recorder(kernel);
  for (let i = 0; i < 5; i++) kernel.schedule(i, recorder, i, null);
  assert.equal(kernel.runSlice(3), true);
  assert.equal(recorder.seen.length, 3);
  assert.equal(kernel.now, 2);
  assert.equal(kernel.runSlice(3), false);
  assert.equal(recorder.seen.length, 5);
});

test('any number of events fits: the pool grows', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 6000 }), (delays) => {
      const kernel = new Kernel();
      const recorder = new Recorder(kernel);
      for (const [order, delay] of delays.entries()) kernel.schedule(delay, recorder, order, null);
      kernel.run();
      const sorted = [...delays.entries()].sort(([i, a], [j, b]) => a - b || i - j);
      assert.deepEqual(
        recorder.seen.map(([time, op]) => [op, time]),
        sorted,
      );
    }),
    { numRuns: 10 },
  );
});

test('a handler may schedule at its own time, and its events follow those already there', () => {
  const kernel = new Kernel();
  const recorder = new Recorder(kernel);
  kernel.schedule(
    5,
    target(() => kernel.schedule(0, recorder, 2, null)),
    0,
    null,
  );
  kernel.schedule(5, recorder, 1, null);
  kernel.run();
  assert.deepEqual(recorder.seen, [
    [5, 1, null],
    [5, 2, null],
  ]);
});

test('delays and times that are no integers, or lie in the past, are refused', () => {
  const kernel = new Kernel();
  const recorder = new Recorder(kernel);
  kernel.runUntil(50);
  for (const bad of [-1, 0.5, 2 ** 31, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => kernel.schedule(bad, recorder, 0, null), code('INVARIANT'), `${bad}`);
  }
  for (const bad of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    assert.throws(() => kernel.scheduleFar(bad, recorder, 0, null), code('INVARIANT'), `${bad}`);
  }
  assert.throws(() => kernel.scheduleAt(49, recorder, 0, null), code('INVARIANT'));
  assert.throws(() => kernel.scheduleAt(60, recorder, 0, null, 128), code('INVARIANT'));
  assert.throws(() => kernel.runUntil(49), code('INVARIANT'));
  assert.throws(() => kernel.runUntil(50.5), code('INVARIANT'));
  kernel.schedule(2 ** 31 - 1, recorder, 0, null);
  assert.equal(kernel.queued, 1);
});

test('what a handler throws gets time, path and opcode', () => {
  const kernel = new Kernel();
  const cause = new TypeError('oops');
  const fail = target((op) => {
    if (op === 1) throw cause;
    throw new EmuError('CHECKER', 'caught', { range: 3 });
  });
  kernel.schedule(10, fail, 1, null);
  kernel.schedule(20, fail, 2, null);
  assert.throws(
    () => kernel.run(),
    (error: unknown) => {
      assert.ok(error instanceof EmuError);
      assert.equal(error.code, 'INVARIANT');
      assert.equal(error.message, 'oops');
      assert.equal(error.cause, cause);
      assert.deepEqual(error.detail, { timePs: 10, path: 'a.b', op: 1 });
      return true;
    },
  );
  assert.throws(
    () => kernel.run(),
    (error: unknown) => {
      assert.ok(error instanceof EmuError);
      assert.equal(error.code, 'CHECKER');
      assert.deepEqual(error.detail, { timePs: 20, path: 'a.b', op: 2, range: 3 });
      return true;
    },
  );
  kernel.run();
  assert.equal(kernel.events, 2);
});

test('something thrown that is no Error becomes one', () => {
  const kernel = new Kernel();
  kernel.schedule(
    1,
    target(() => {
      throw 'text';
    }),
    0,
    null,
  );
  assert.throws(() => kernel.run(), { message: 'text', code: 'INVARIANT' });
});

for (const [name, again] of [
  ['run', (kernel: Kernel) => kernel.run()],
  ['runUntil', (kernel: Kernel) => kernel.runUntil(kernel.now)],
  ['runSlice', (kernel: Kernel) => kernel.runSlice(1)],
] as const) {
  test(`${name} inside an event is refused`, () => {
    const kernel = new Kernel();
    kernel.schedule(
      1,
      target(() => again(kernel)),
      0,
      null,
    );
    assert.throws(() => kernel.run(), { code: 'INVARIANT', message: /inside an event/ });
    kernel.run();
  });
}

test('random streams depend on the seed and the path alone', () => {
  const draw = (seed: number, path: string): number => new Kernel({ seed }).random(path).u32();
  assert.equal(draw(1, 'a'), draw(1, 'a'));
  assert.notEqual(draw(1, 'a'), draw(2, 'a'));
  assert.notEqual(draw(1, 'a'), draw(1, 'b'));
  assert.equal(new Kernel().seed, 0);
});
