/**
 * The error class and its two shorthands.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError, invariant, usage } from '#emu/base/errors.ts';

test('an error carries code, detail and cause', () => {
  const cause = new Error('inner');
  const error = new EmuError('ADDR_RANGE', 'too far', { address: 5 }, { cause });
  assert.ok(error instanceof Error);
  assert.equal(error.name, 'EmuError');
  assert.equal(error.code, 'ADDR_RANGE');
  assert.deepEqual(error.detail, { address: 5 });
  assert.equal(error.cause, cause);
  assert.deepEqual(new EmuError('SCENARIO', 'x').detail, {});
});

test('usage makes, and invariant throws, the errors of their codes', () => {
  assert.equal(usage('width: expected 1, got 3', { width: 3 }).code, 'USAGE');
  assert.doesNotThrow(() => invariant(true, 'fine'));
  assert.throws(() => invariant(false, 'broken', { tag: 7 }), {
    code: 'INVARIANT',
    message: 'broken',
    detail: { tag: 7 },
  });
});
