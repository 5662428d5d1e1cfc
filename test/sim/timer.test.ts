/**
 * Timers: arm, disarm, rearm both ways, and nothing left behind that fires.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Kernel } from '#emu/sim/kernel.ts';
import { Timer } from '#emu/sim/timer.ts';

function build(): { kernel: Kernel; timer: Timer; fired: number[] } {
  const kernel = new Kernel();
  const fired: number[] = [];
  return { kernel, timer: new Timer(kernel, 'nvme0.timer', () => fired.push(kernel.now)), fired };
}

test('fires once, after its delay', () => {
  const { kernel, timer, fired } = build();
  assert.equal(timer.armed, false);
  timer.arm(500);
  assert.equal(timer.armed, true);
  kernel.run();
  assert.deepEqual(fired, [500]);
  assert.equal(timer.armed, false);
});

test('does not fire once disarmed, and can be armed again', () => {
  const { kernel, timer, fired } = build();
  timer.disarm();
  timer.arm(500);
  timer.disarm();
  assert.equal(timer.armed, false);
  kernel.runUntil(400);
  timer.arm(300);
  kernel.run();
  assert.deepEqual(fired, [700]);
});

test('moves when armed again, to earlier and to later', () => {
  const { kernel, timer, fired } = build();
  timer.arm(500);
  timer.arm(200);
  kernel.runUntil(100);
  timer.arm(900);
  kernel.run();
  assert.deepEqual(fired, [1000]);
});

test('may arm itself when it fires', () => {
  const kernel = new Kernel();
  const fired: number[] = [];
  const timer: Timer = new Timer(kernel, 'beat', () => {
    fired.push(kernel.now);
    if (fired.length < 3) timer.arm(10);
  });
  timer.arm(10);
  kernel.run();
  assert.deepEqual(fired, [10, 20, 30]);
});

test('rearming to later times takes one queue entry, not one each', () => {
  const { kernel, timer } = build();
  for (let i = 0; i < 1000; i++) timer.arm(50_000 + i);
  assert.equal(kernel.queued, 1);
});

test('a queue entry left behind does not come back', () => {
  const { kernel, timer, fired } = build();
  timer.arm(500);
  timer.arm(200);
  kernel.runUntil(300);
  timer.arm(5000);
  kernel.runUntil(600);
  assert.equal(kernel.queued, 1);
  kernel.run();
  assert.deepEqual(fired, [200, 5300]);
});

test('a delay that is none is refused', () => {
  const { timer } = build();
  for (const bad of [-1, 0.5, Number.NaN]) {
    assert.throws(() => timer.arm(bad), { code: 'INVARIANT', message: /nvme0\.timer/ });
  }
  assert.equal(timer.armed, false);
});

test('behaves as a single due time does', () => {
  const action = fc.record({
    wait: fc.integer({ min: 0, max: 30 }),
    arm: fc.option(fc.integer({ min: 0, max: 60 })),
  });
  fc.assert(
    fc.property(fc.array(action), (actions) => {
      const { kernel, timer, fired } = build();
      const expected: number[] = [];
      let due = Number.POSITIVE_INFINITY;
      const passTo = (time: number): void => {
        if (due <= time) expected.push(due);
        if (due <= time) due = Number.POSITIVE_INFINITY;
      };
      for (const { wait, arm } of actions) {
        kernel.runUntil(kernel.now + wait);
        passTo(kernel.now);
        if (arm === null) timer.disarm();
        else timer.arm(arm);
        due = arm === null ? Number.POSITIVE_INFINITY : kernel.now + arm;
        assert.equal(timer.armed, arm !== null);
      }
      kernel.run();
      passTo(Number.MAX_VALUE);
      assert.deepEqual(fired, expected);
    }),
  );
});

test('a cancelled timer keeps no run going, and time does not move for it', () => {
  const kernel = new Kernel();
  let fired = 0;
  const timer = new Timer(kernel, 'idle', () => fired++);
  const other = new Timer(kernel, 'other', () => fired++);
  timer.arm(5e9);
  other.arm(100);
  timer.disarm();
  kernel.run();
  assert.equal(kernel.now, 100);
  assert.equal(fired, 1);
  // Armed again before its old entry has come: it counts again, for the new time.
  timer.arm(9e9);
  kernel.run();
  assert.equal(kernel.now, 100 + 9e9);
  assert.equal(fired, 2);
  timer.arm(1e6);
  timer.arm(10);
  kernel.run();
  assert.equal(kernel.now, 110 + 9e9, 'the later of two entries is stale');
});
