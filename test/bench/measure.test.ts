/**
 * The arithmetic of the bench harness.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cheapest } from '#emu/cli/bench/cheapest.ts';
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

test('rows are measured in turns, and each by its cheapest', () => {
  const order: string[] = [];
  // What disturbs a row in one turn only does not count.
  const row = (name: string, loops: number) => () => {
    order.push(name);
    const disturbed = order.length % 4 === 0 ? 20 : 1;
    let sum = 0;
    for (let i = 0; i < loops * disturbed; i++) sum += Math.sqrt(i);
    return sum > 0 ? 1000 : 0;
  };
  const [short, long] = cheapest([row('short', 200_000), row('long', 2_000_000)], 6);
  assert.equal(order.slice(0, 4).join(' '), 'short long short long');
  assert.equal(order.length % 2, 0);
  assert.ok(order.length >= 12, `${order.length} turns`);
  assert.ok(long! > 4 * short! && long! < 25 * short!, `${short} and ${long} ns`);
});
