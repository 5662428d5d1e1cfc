/**
 * Reads what `emu --json` prints.
 * @module
 */
import assert from 'node:assert/strict';
import type { ScenarioResult } from '#emu/scenario/result.ts';

/** The result on a stdout that must be one line of JSON and nothing else. */
export function resultOf(stdout: string): ScenarioResult {
  assert.match(stdout, /^\{.*\}\n$/);
  return JSON.parse(stdout);
}
