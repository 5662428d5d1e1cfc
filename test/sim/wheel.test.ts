/**
 * The wheel against a plain sorted list: order, ties, far events, limits, and pushes after a stopped run.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Wheel, type WheelShape } from '#emu/sim/wheel.ts';

const HORIZON = 256 * 8192;

interface Queued {
  readonly slot: number;
  readonly time: number;
  readonly priority: number;
  readonly order: number;
}

/** What the wheel must do, as plainly as possible. */
class SortedList {
  readonly #queued: Queued[] = [];
  #pushed = 0;

  push(slot: number, time: number, priority: number): void {
    this.#queued.push({ slot, time, priority, order: this.#pushed++ });
    this.#queued.sort((a, b) => a.time - b.time || a.priority - b.priority || a.order - b.order);
  }

  get count(): number {
    return this.#queued.length;
  }

  peek(): number {
    return this.#queued[0]?.slot ?? -1;
  }

  popUntil(limit: number): Queued | undefined {
    const first = this.#queued[0];
    return first && first.time <= limit ? this.#queued.shift() : undefined;
  }
}

type Step =
  | { readonly kind: 'push'; readonly delta: number; readonly priority: number }
  | { readonly kind: 'pop'; readonly count: number }
  | { readonly kind: 'until'; readonly delta: number };

/** Delays from ties to far beyond the horizon, its very edge included. */
const delta = fc.oneof(
  fc.integer({ min: 0, max: 3 }),
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 0, max: 3 * 256 }).map((n) => n * 256),
  fc.integer({ min: HORIZON - 600, max: HORIZON + 600 }),
  fc.integer({ min: 0, max: 3 * HORIZON }),
  fc.integer({ min: 0, max: 20 }).map((n) => n * HORIZON),
  fc.maxSafeInteger().map((n) => Math.abs(n) % 2 ** 45),
);
const priority = fc.oneof(
  { weight: 5, arbitrary: fc.constant(0) },
  fc.integer({ min: -128, max: 127 }),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('push' as const), delta, priority }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('pop' as const),
      count: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('until' as const), delta }) },
);

/** A wheel and its model side by side; time never goes back, as under a kernel. */
class Pair {
  readonly #wheel: Wheel;
  readonly #model = new SortedList();
  #now = 0;
  #slots = 0;

  constructor(shape: WheelShape) {
    this.#wheel = new Wheel({ capacity: 2, ...shape });
  }

  apply(step: Step): void {
    if (step.kind === 'push') this.#push(step.delta, step.priority);
    else if (step.kind === 'until') this.#until(this.#now + step.delta);
    else for (let i = 0; i < step.count; i++) this.#pop(Number.POSITIVE_INFINITY);
  }

  drain(): void {
    while (this.#model.count > 0) this.#pop(Number.POSITIVE_INFINITY);
    this.#pop(Number.POSITIVE_INFINITY);
  }

  #push(delta: number, priority: number): void {
    const slot = this.#slots++;
    if (slot === this.#wheel.times.length) this.#wheel.grow(2 * slot);
    this.#wheel.times[slot] = this.#now + delta;
    this.#wheel.priorities[slot] = priority;
    this.#wheel.push(slot);
    this.#model.push(slot, this.#now + delta, priority);
    assert.equal(this.#wheel.count, this.#model.count);
  }

  #until(limit: number): void {
    while (this.#pop(limit));
    this.#now = limit;
  }

  #pop(limit: number): boolean {
    this.#wheel.setLimit(limit);
    assert.equal(this.#wheel.peek(), this.#model.peek());
    const expected = this.#model.popUntil(limit);
    const slot = this.#wheel.popUntil();
    assert.equal(slot, expected?.slot ?? -1);
    if (!expected) return false;
    this.#now = expected.time;
    assert.equal(this.#wheel.times[slot], expected.time);
    return true;
  }
}

const shapes: readonly WheelShape[] = [
  {},
  { bucketPs: 1, buckets: 1024 },
  { bucketPs: 1024, buckets: 32768 },
];

for (const shape of shapes) {
  test(`pops in the order of a sorted list, wheel ${JSON.stringify(shape)}`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const pair = new Pair(shape);
        for (const each of steps) pair.apply(each);
        pair.drain();
      }),
      { numRuns: 200 },
    );
  });
}

test('goes on from every place of the wheel to the nearer event, round its end', () => {
  for (let word = 0; word < 256; word++) {
    const wheel = new Wheel();
    const place = (words: number): number => (word + words) * 32 * 256 + 256;
    for (const [slot, time] of [place(0), place(250), place(40)].entries()) {
      wheel.times[slot] = time;
      if (slot > 0) continue;
      wheel.push(0);
      assert.equal(wheel.popUntil(), 0);
    }
    wheel.push(1);
    wheel.push(2);
    assert.equal(wheel.popUntil(), 2, `word ${word}`);
    assert.equal(wheel.popUntil(), 1, `word ${word}`);
  }
});

test('keeps lists, far events and priorities when it grows', () => {
  const wheel = new Wheel({ capacity: 4 });
  const push = (slot: number, time: number, priority: number): void => {
    wheel.times[slot] = time;
    wheel.priorities[slot] = priority;
    wheel.push(slot);
  };
  push(3, 900, 2);
  push(1, 901, 2);
  push(2, 5 * HORIZON, 0);
  push(0, 901, 3);
  wheel.grow(6);
  push(5, 901, 1);
  push(4, 900, 1);
  const popped = Array.from({ length: 7 }, () => wheel.popUntil());
  assert.deepEqual(popped, [4, 3, 5, 1, 0, 2, -1]);
});

test('a stopped run leaves room before the next event', () => {
  const wheel = new Wheel();
  wheel.times[0] = 10 * HORIZON;
  wheel.push(0);
  wheel.setLimit(4 * HORIZON);
  assert.equal(wheel.popUntil(), -1);
  wheel.times[1] = 4 * HORIZON + 1;
  wheel.push(1);
  wheel.setLimit(Number.POSITIVE_INFINITY);
  assert.deepEqual([wheel.popUntil(), wheel.popUntil(), wheel.popUntil()], [1, 0, -1]);
});
