/**
 * Guesses at mistyped names.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { editDistance, nearestName } from '#emu/base/nearest-name.ts';

const NAMES = ['input', 'route', 'blockSize', 'queueDepth', 'gen', 'width'];

test('near names are guessed, far ones are not', () => {
  assert.equal(nearestName('blokSize', NAMES), 'blockSize');
  assert.equal(nearestName('blocksize', NAMES), 'blockSize');
  assert.equal(nearestName('widht', NAMES), 'width');
  assert.equal(nearestName('queuedepht', NAMES), 'queueDepth');
  assert.equal(nearestName('temperature', NAMES), null);
  assert.equal(nearestName('x', []), null);
});

test('edit distances', () => {
  assert.equal(editDistance('', 'abc'), 3);
  assert.equal(editDistance('kitten', 'sitting'), 3);
  assert.equal(editDistance('ab', 'ba'), 1);
});

test('a distance is symmetric, and zero only for equal texts', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), (a, b) => {
      assert.equal(editDistance(a, b), editDistance(b, a));
      assert.equal(editDistance(a, b) === 0, a === b);
    }),
  );
});
