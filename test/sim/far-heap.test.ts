/**
 * The heap behind the wheel against sorting.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FarHeap } from '#emu/sim/far-heap.ts';

test('pops by time, priority and arrival, whatever was popped before', () => {
  const push = fc.tuple(fc.nat(20), fc.integer({ min: -3, max: 3 }));
  const step = fc.option(push, { freq: 3 });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 900, size: 'max' }), (steps) => {
      const heap = new FarHeap();
      const model: [time: number, priority: number, slot: number][] = [];
      const pop = (): void => {
        model.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
        assert.equal(heap.firstSlot, model[0]?.[2] ?? -1);
        assert.equal(heap.firstTime, model[0]?.[0] ?? Number.POSITIVE_INFINITY);
        assert.equal(heap.pop(), model.shift()?.[2] ?? -1);
      };
      for (const [slot, pushed] of steps.entries()) {
        if (pushed) {
          heap.push(slot, ...pushed);
          model.push([...pushed, slot]);
        } else pop();
        assert.equal(heap.count, model.length);
      }
      for (let left = model.length; left >= 0; left--) pop();
    }),
    { numRuns: 20 },
  );
});
