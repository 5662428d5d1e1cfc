/**
 * A set of bytes against an array of booleans.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteSet } from '#emu/dma/checker/byte-set.ts';

const SIZE = 40;
const span = fc
  .tuple(fc.nat({ max: SIZE - 1 }), fc.integer({ min: 1, max: SIZE }))
  .map(([start, size]) => [start, Math.min(SIZE, start + size)] as const);

test('adding, removing and asking agree with a plain array', () => {
  const change = fc.tuple(span, fc.boolean());
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), span, (changes, [start, end]) => {
      const set = new ByteSet();
      const plain = new Array<boolean>(SIZE).fill(false);
      for (const [[from, to], isAdded] of changes) {
        if (isAdded) set.add(from, to);
        else set.remove(from, to);
        plain.fill(isAdded, from, to);
      }
      const asked = plain.slice(start, end);
      assert.equal(set.sizeBytes, plain.filter(Boolean).length);
      assert.equal(set.covers(start, end), asked.every(Boolean));
      assert.equal(set.overlaps(start, end), asked.some(Boolean));
      const outside = new Array<boolean>(SIZE).fill(false);
      let last = -1;
      set.eachGap(start, end, (from, to) => {
        assert.ok(from > last && to > from, 'gaps are in order and apart');
        last = to;
        outside.fill(true, from, to);
      });
      assert.deepEqual(
        outside,
        plain.map((isIn, i) => !isIn && i >= start && i < end),
      );
    }),
    { numRuns: 1000 },
  );
});
