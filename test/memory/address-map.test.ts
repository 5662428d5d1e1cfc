/**
 * Address maps against a linear search.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AddressMap, type AddressRange } from '#emu/memory/address-map.ts';

const range = fc.record({
  base: fc.nat(60).map((n) => 2 ** 45 + n),
  sizeBytes: fc.integer({ min: 1, max: 12 }),
  remove: fc.boolean(),
});

test('adds, removes and finds as a linear search does', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 30 }), (steps) => {
      const map = new AddressMap<number>();
      let model: AddressRange<number>[] = [];
      for (const [value, { base, sizeBytes, remove }] of steps.entries()) {
        const overlaps = model
          .filter((each) => each.base < base + sizeBytes && base < each.base + each.sizeBytes)
          .sort((a, b) => a.base - b.base);
        assert.deepEqual(map.overlapping(base, sizeBytes), overlaps[0]);
        const known = model.some((each) => each.base === base);
        if (remove && known) {
          map.remove(base);
          model = model.filter((each) => each.base !== base);
        } else if (remove) assert.throws(() => map.remove(base), { code: 'ADDR_RANGE' });
        else if (overlaps.length > 0) {
          assert.throws(() => map.add(base, sizeBytes, value), { code: 'ADDR_RANGE' });
        } else {
          map.add(base, sizeBytes, value);
          model.push({ base, sizeBytes, value });
        }
        for (let at = 2 ** 45 - 2; at < 2 ** 45 + 75; at++) {
          const entry = model.find((each) => at >= each.base && at < each.base + each.sizeBytes);
          assert.deepEqual(map.entryAt(at), entry);
          assert.equal(map.find(at), entry?.value);
        }
      }
      model.sort((a, b) => a.base - b.base);
      assert.deepEqual(map.entries(), model);
    }),
  );
});

test('ranges may be large, adjacent, and reach 2^52', () => {
  const map = new AddressMap<string>();
  map.add(2 ** 51, 2 ** 51, 'upper');
  map.add(0, 2 ** 51, 'lower');
  assert.equal(map.find(2 ** 51 - 1), 'lower');
  assert.equal(map.find(2 ** 51), 'upper');
  assert.equal(map.find(2 ** 52 - 1), 'upper');
  assert.equal(map.find(2 ** 52), undefined);
  map.remove(2 ** 51);
  assert.equal(map.find(2 ** 51), undefined);
});

test('an overlap names both ranges, and an empty range is refused', () => {
  const map = new AddressMap<string>();
  map.add(0x1000, 0x1000, 'a');
  assert.throws(() => map.add(0x1fff, 2, 'b'), {
    code: 'ADDR_RANGE',
    message: '0x1fff..0x2000 overlaps 0x1000..0x1fff',
  });
  assert.throws(() => map.add(0x5000, 0, 'b'), { code: 'ADDR_RANGE' });
  assert.throws(() => map.add(-1, 1, 'b'), { code: 'ADDR_RANGE' });
});
