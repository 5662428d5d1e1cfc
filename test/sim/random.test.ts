/**
 * Random streams: fixed values for every engine, ranges, evenness, independence of names.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Random } from '#emu/sim/random.ts';

const draw = (random: Random, count: number): number[] =>
  Array.from({ length: count }, () => random.u32());

test('draws the same numbers on every engine, for ever', () => {
  assert.deepEqual(
    draw(new Random(1, 'rc0.port1.nvme0'), 4),
    [3099656999, 3242535210, 3059621172, 119342618],
  );
});

test('streams differ by seed and by name', () => {
  const streams = [
    new Random(0, 'a'),
    new Random(1, 'a'),
    new Random(0, 'b'),
    new Random(0, 'a.b'),
    new Random(10, '/a'),
    new Random(0, ''),
  ].map((random) => draw(random, 4).join());
  assert.equal(new Set(streams).size, streams.length);
});

test('u32 reaches all 32 bits about evenly', () => {
  const random = new Random(7, 'bits');
  const ones = new Float64Array(32);
  for (const value of draw(random, 8192)) {
    assert.ok(value >= 0 && value < 2 ** 32 && Number.isInteger(value));
    for (let bit = 0; bit < 32; bit++) ones[bit]! += (value >>> bit) & 1;
  }
  for (const count of ones) assert.ok(Math.abs(count - 4096) < 300, `${count} of 8192`);
});

test('below stays below, for limits to 2^52', () => {
  const limit = fc.oneof(
    fc.integer({ min: 1, max: 100 }),
    fc.integer({ min: 1, max: 2 ** 32 }),
    fc.integer({ min: 2 ** 32 - 2, max: 2 ** 52 }),
  );
  fc.assert(
    fc.property(limit, fc.integer(), (max, seed) => {
      const value = new Random(seed, 'x').below(max);
      assert.ok(Number.isInteger(value) && value >= 0 && value < max);
    }),
  );
});

test('below is even, wide limits included', () => {
  const random = new Random(3, 'dice');
  const count = new Float64Array(6);
  for (let i = 0; i < 6000; i++) count[random.below(6)]!++;
  for (const each of count) assert.ok(Math.abs(each - 1000) < 150, `${each} of 6000`);
  for (const limit of [3 * 2 ** 30, 2 ** 40, 3 * 2 ** 50, 2 ** 52]) {
    let lower = 0;
    for (let i = 0; i < 1000; i++) if (random.below(limit) < limit / 2) lower++;
    assert.ok(Math.abs(lower - 500) < 80, `${lower} of 1000 below half of ${limit}`);
  }
});

test('below refuses limits that are none', () => {
  const random = new Random(0, 'x');
  for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 52 + 2]) {
    assert.throws(() => random.below(bad), { code: 'INVARIANT' });
  }
});

test('fill writes every byte of the view and none beside it', () => {
  fc.assert(
    fc.property(fc.nat(40), fc.nat(9), (size, offset) => {
      const buffer = new Uint8Array(64);
      new Random(1, 'f').fill(buffer.subarray(offset, offset + size));
      const words = draw(new Random(1, 'f'), 10);
      const expected = new Uint8Array(64);
      for (let i = 0; i < size; i++) {
        expected[offset + i] = (words[i >> 2] ?? 0) >>> (8 * (i & 3));
      }
      assert.deepEqual(buffer, expected);
    }),
  );
});
