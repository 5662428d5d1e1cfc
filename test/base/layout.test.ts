/**
 * Layout fields and bit ranges: round trips at any offset, and values that do not fit.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Bits, TOO_LARGE, U8, U16, U32, U64 } from '#emu/base/layout.ts';
import { ADDR_LIMIT } from '#emu/base/units.ts';

for (const [Field, bytes] of [
  [U8, 1],
  [U16, 2],
  [U32, 4],
  [U64, 8],
] as const) {
  test(`${Field.name} is little-endian and touches its own bytes only`, () => {
    const limit = Math.min(2 ** (8 * bytes), ADDR_LIMIT);
    const value = fc.integer({ min: 0, max: limit - 1 });
    fc.assert(
      fc.property(value, fc.nat(7), fc.nat(8), (stored, at, base) => {
        const raw = new Uint8Array(32).fill(0xee);
        const view = new DataView(raw.buffer);
        const field = new Field(at);
        field.set(view, base, stored);
        assert.equal(field.get(view, base), stored);
        const expected = new Uint8Array(32).fill(0xee);
        for (let i = 0; i < bytes; i++) {
          expected[base + at + i] = Number((BigInt(stored) >> BigInt(8 * i)) & 0xffn);
        }
        assert.deepEqual(raw, expected);
      }),
    );
  });
}

test('a stored 64-bit value of 2^52 or more reads as TOO_LARGE', () => {
  const field = new U64(0);
  const view = new DataView(new ArrayBuffer(8));
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (stored) => {
      view.setBigUint64(0, stored, true);
      assert.equal(field.get(view, 0), stored < 2n ** 52n ? Number(stored) : TOO_LARGE);
    }),
  );
  for (const edge of [2n ** 52n - 1n, 2n ** 52n]) {
    view.setBigUint64(0, edge, true);
    assert.equal(field.get(view, 0), edge < 2n ** 52n ? Number(edge) : TOO_LARGE);
  }
});

test('a value that no 64-bit field holds is refused', () => {
  const view = new DataView(new ArrayBuffer(8));
  for (const bad of [-1, ADDR_LIMIT]) {
    assert.throws(() => new U64(0).set(view, 0, bad), RangeError);
  }
});

test('bit ranges agree with the bits written out', () => {
  const range = fc.tuple(fc.nat(31), fc.nat(31)).map(([a, b]) => [Math.max(a, b), Math.min(a, b)]);
  const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  fc.assert(
    fc.property(range, u32, u32, ([hi = 0, lo = 0], register, value) => {
      const bits = new Bits(hi, lo);
      const max = (1n << BigInt(hi - lo + 1)) - 1n;
      const mask = max << BigInt(lo);
      const field = (BigInt(value) & max) << BigInt(lo);
      assert.equal(BigInt(bits.max), max);
      assert.equal(BigInt(bits.mask), mask);
      assert.equal(BigInt(bits.get(register) >>> 0), (BigInt(register) & mask) >> BigInt(lo));
      assert.equal(BigInt(bits.of(value)), field);
      const put = bits.put(register, value);
      assert.equal(BigInt(put), (BigInt(register) & ~mask) | field);
      assert.equal(bits.get(put) >>> 0, (value & bits.max) >>> 0);
    }),
  );
  assert.equal(new Bits(4).mask, 0x10);
});

test('a field of all 32 bits reads as an unsigned number', () => {
  assert.equal(new Bits(31, 0).get(0xffff_ffff), 0xffff_ffff);
});
