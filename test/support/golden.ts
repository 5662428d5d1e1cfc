/**
 * Golden reports: a run's result without what depends on the clock, compared with a committed file.
 * `UPDATE_GOLDEN=1 npm test -- scenarios` writes them anew.
 * @module
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import type { ScenarioResult } from '#emu/scenario/result.ts';
import { repositoryRoot } from '#test/support/source-files.ts';

/** Asserts that `result` is what test/golden/<name>.json holds. */
export function matchesGolden(name: string, result: ScenarioResult): void {
  const { wall: _wall, ...found } = result;
  const file = join(repositoryRoot, 'test/golden', `${name}.json`);
  if (process.env.UPDATE_GOLDEN) writeFileSync(file, `${JSON.stringify(found, null, 1)}\n`);
  assert.deepEqual(found, JSON.parse(readFileSync(file, 'utf8')));
}
