/**
 * Assertions on errors that are the user's.
 * @module
 */
import assert from 'node:assert/strict';
import { EmuError, type EmuErrorCode } from '#emu/base/errors.ts';

/** Asserts that `attempt` throws an EmuError of `code` whose message matches. */
export function throwsCode(code: EmuErrorCode, message: RegExp, attempt: () => unknown): void {
  assert.throws(attempt, (error) => {
    assert.ok(error instanceof EmuError, `expected an EmuError, got ${error}`);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}
