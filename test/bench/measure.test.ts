/**
 * The arithmetic of the bench harness.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measure, median, perSecond } from '#emu/cli/bench/measure.ts';

test('medians of odd and even numbers of values', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 3, 2]), 2);
});

test('rates are the inverse of costs', () => assert.equal(perSecond(25), 4e7));

test('a measurement counts operations and scavenges', async () => {
  const kept: Uint8Array[] = [];
  const idle = await measure(() => 1000);
  const garbage = await measure(() => {
    for (let i = 0; i < 200_000; i++) kept[i & 15] = new Uint8Array(64);
    return 200_000;
  });
  assert.equal(idle.operations, 9000);
  assert.equal(idle.scavenges, 0);
  assert.ok(garbage.scavenges > 0);
  assert.ok(garbage.nsPerOperation > 1);
});
