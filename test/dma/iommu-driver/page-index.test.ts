/**
 * The index of free blocks behaves as a Map does.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PageIndex } from '#emu/dma/iommu-driver/page-index.ts';

/** Few enough that operations meet: some beyond 32 bits, some that share their low bits. */
const page = fc.oneof(
  fc.integer({ min: 0, max: 40 }),
  fc.integer({ min: 0, max: 40 }).map((n) => n * 2 ** 30),
);

test('any sequence of operations gives what a Map gives', () => {
  const operation = fc.tuple(fc.constantFrom('set', 'delete'), page, fc.nat(1000));
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 400 }), (operations) => {
      const index = new PageIndex();
      const model = new Map<number, number>();
      for (const [name, key, value] of operations) {
        if (name === 'set') index.set(key, value);
        else index.delete(key);
        if (name === 'set') model.set(key, value);
        else model.delete(key);
        assert.equal(index.count, model.size);
      }
      for (let n = 0; n <= 40; n++) {
        for (const key of [n, n * 2 ** 30]) assert.equal(index.get(key), model.get(key) ?? -1);
      }
    }),
  );
});
