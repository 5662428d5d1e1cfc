/**
 * Delay lines against a plain list of due times, with cancellation and pushes from inside a delivery.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DelayLine } from '#emu/sim/delay-line.ts';
import { type EventArg, Kernel, type Target } from '#emu/sim/kernel.ts';

const OP = 6;

class Sink implements Target {
  readonly path = 'port0';
  readonly seen: [timePs: number, arg: EventArg][] = [];
  onArrival: (arg: EventArg) => void = () => {};
  readonly #kernel: Kernel;
  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }
  handle(op: number, arg: EventArg): void {
    assert.equal(op, OP);
    this.seen.push([this.#kernel.now, arg]);
    this.onArrival(arg);
  }
}

function build(delayPs = 100): { kernel: Kernel; sink: Sink; line: DelayLine } {
  const kernel = new Kernel();
  const sink = new Sink(kernel);
  return { kernel, sink, line: new DelayLine(kernel, delayPs, sink, OP) };
}

test('delivers each argument after the delay, in order, from one queue entry', () => {
  const { kernel, sink, line } = build();
  for (let i = 0; i < 100; i++) {
    kernel.runUntil(i);
    line.push(i);
  }
  assert.equal(kernel.queued, 1);
  assert.equal(line.count, 100);
  kernel.run();
  assert.deepEqual(
    sink.seen,
    Array.from({ length: 100 }, (_, i) => [i + 100, i]),
  );
  assert.equal(line.count, 0);
});

test('a push from inside a delivery waits its own delay behind those on the line', () => {
  const { kernel, sink, line } = build();
  sink.onArrival = (arg) => {
    if (arg === 1) line.push(3);
  };
  line.push(1);
  kernel.runUntil(40);
  line.push(2);
  kernel.run();
  assert.deepEqual(sink.seen, [
    [100, 1],
    [140, 2],
    [200, 3],
  ]);
});

test('a delivery may cancel one that is due at the same time', () => {
  const { kernel, sink, line } = build();
  line.push(1);
  const second = line.push(2);
  line.push(3);
  sink.onArrival = (arg) => {
    if (arg === 1) line.cancel(second);
  };
  kernel.run();
  assert.deepEqual(
    sink.seen.map(([, arg]) => arg),
    [1, 3],
  );
});

test('one cancelled in the middle takes no event', () => {
  const { kernel, sink, line } = build();
  line.push(1);
  const second = line.push(2);
  line.push(3);
  line.cancel(second);
  kernel.run();
  assert.deepEqual(
    sink.seen.map(([, arg]) => arg),
    [1, 3],
  );
  assert.equal(kernel.events, 2);
});

test('cancelled arguments cost neither events nor room', () => {
  const { kernel, sink, line } = build(50_000);
  for (let i = 0; i < 10_000; i++) {
    kernel.runUntil(kernel.now + 10);
    line.cancel(line.push(i));
    assert.equal(line.count, 0);
  }
  kernel.run();
  assert.deepEqual(sink.seen, []);
  assert.ok(kernel.events <= 4, `${kernel.events} events`);
});

test('cancelling twice, after delivery, or a ticket never given does nothing', () => {
  const { kernel, sink, line } = build();
  const first = line.push(1);
  kernel.run();
  line.cancel(first);
  line.cancel(first + 1);
  const second = line.push(2);
  line.push(3);
  line.cancel(second);
  line.cancel(second);
  kernel.run();
  assert.deepEqual(
    sink.seen.map(([, arg]) => arg),
    [1, 3],
  );
});

test('a delay that is none is refused', () => {
  for (const bad of [-1, 0.5, Number.NaN]) {
    assert.throws(() => build(bad), { code: 'INVARIANT', message: /port0/ });
  }
});

test('behaves as a list of due times does', () => {
  const action = fc.record({
    wait: fc.integer({ min: 0, max: 40 }),
    push: fc.integer({ min: 0, max: 40 }),
    cancel: fc.array(fc.nat(), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(fc.array(action), (actions) => {
      const { kernel, sink, line } = build();
      const live = new Map<number, number>();
      const tickets: number[] = [];
      const expected: [number, number][] = [];
      const passTo = (time: number): void => {
        for (const [id, due] of live) {
          if (due > time) break;
          expected.push([due, id]);
          live.delete(id);
        }
      };
      for (const { wait, push, cancel } of actions) {
        kernel.runUntil(kernel.now + wait);
        passTo(kernel.now);
        for (let i = 0; i < push; i++) {
          live.set(tickets.length, kernel.now + 100);
          tickets.push(line.push(tickets.length));
        }
        for (const pick of tickets.length > 0 ? cancel : []) {
          line.cancel(tickets[pick % tickets.length] ?? -1);
          live.delete(pick % tickets.length);
        }
      }
      kernel.run();
      passTo(Number.MAX_VALUE);
      assert.deepEqual(sink.seen, expected);
    }),
  );
});

test('a line of cancelled arguments keeps no run going', () => {
  const kernel = new Kernel();
  const seen: unknown[] = [];
  const target: Target = { path: 'line', handle: (_op, arg) => seen.push(arg) };
  const line = new DelayLine(kernel, 50e9, target, 1);
  const ticket = line.push(1);
  line.cancel(ticket);
  kernel.run();
  assert.equal(kernel.now, 0);
  line.push(2);
  kernel.run();
  assert.equal(kernel.now, 50e9);
  assert.deepEqual(seen, [2]);
});
