/**
 * Byte sizes in text.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { exactByteSize, parseByteSize, roundByteSize } from '#emu/scenario/byte-size.ts';

const parsed: readonly (readonly [text: string, bytes: number | null])[] = [
  ['0', 0],
  ['4096', 4096],
  ['512B', 512],
  ['4k', 4096],
  ['4K', 4096],
  ['4KiB', 4096],
  ['4kB', 4000],
  ['64MiB', 64 * 2 ** 20],
  ['64 mib', 64 * 2 ** 20],
  ['1.5GiB', 1.5 * 2 ** 30],
  ['2TB', 2e12],
  ['1P', 2 ** 50],
  ['', null],
  ['-1', null],
  ['1.5', null],
  ['1e6', null],
  ['0x10', null],
  ['4XB', null],
  ['MiB', null],
  ['9007199254740993', null],
  ['100PiB', null],
];
for (const [text, bytes] of parsed) {
  test(`'${text}' is ${bytes} bytes`, () => assert.equal(parseByteSize(text), bytes));
}

test('the exact spelling of any size parses to it', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => {
      assert.equal(parseByteSize(exactByteSize(bytes)), bytes);
    }),
  );
});

test('sizes for people', () => {
  assert.equal(exactByteSize(64 * 2 ** 20), '64MiB');
  assert.equal(roundByteSize(0), '0 B');
  assert.equal(roundByteSize(1023), '1023 B');
  assert.equal(roundByteSize(64 * 2 ** 20), '64 MiB');
  assert.equal(roundByteSize(1500), '1.46 KiB');
  assert.equal(roundByteSize(27.34e9, 'decimal'), '27.3 GB');
});
