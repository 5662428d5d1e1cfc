/** Requests and completions cover their range once and respect every limit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { completionBytes, requestBytes } from '#emu/pcie/tlp/splitting.ts';

const powers = (lowest: number, highest: number) =>
  fc.integer({ min: lowest, max: highest }).map((n) => 2 ** n);
const range = fc.record({
  address: fc.integer({ min: 0, max: 2 ** 40 }),
  size: fc.integer({ min: 1, max: 40_000 }),
});

test('requests: in order, once, within the limit, never across 4 KiB, and none shorter than needed', () => {
  fc.assert(
    fc.property(range, powers(7, 12), ({ address, size }, limit) => {
      let done = 0;
      while (done < size) {
        const bytes = requestBytes(address + done, size - done, limit);
        const start = address + done;
        const words = Math.ceil((bytes + (start % 4)) / 4);
        assert.ok(bytes > 0 && 4 * words <= limit, 'more than the limit');
        assert.equal(Math.floor(start / 4096), Math.floor((start + bytes - 1) / 4096));
        done += bytes;
        const full = 4 * words === limit || (address + done) % 4096 === 0 || done === size;
        assert.ok(full, 'a request that could have been longer');
      }
      assert.equal(done, size);
    }),
  );
});

test('completions: in order, once, within MPS, cut only at the read completion boundary', () => {
  fc.assert(
    fc.property(range, powers(7, 12), powers(6, 7), ({ address, size }, mps, rcb) => {
      let done = 0;
      while (done < size) {
        const bytes = completionBytes(address + done, size - done, mps, rcb);
        assert.ok(bytes > 0 && bytes <= mps);
        done += bytes;
        assert.ok(done === size || (address + done) % rcb === 0);
      }
      assert.equal(done, size);
    }),
  );
});
