/**
 * Runs a scenario that has to pass, without leaks, and takes its tables apart.
 * @module
 */
import assert from 'node:assert/strict';
import type { ScenarioResult } from '#emu/scenario/result.ts';
import { runEmu } from '#test/support/recording-terminal.ts';
import { resultOf } from '#test/support/result-shape.ts';

export const FIDELITIES = ['timed', 'functional'] as const;

/** Result of `scenarios/<name>.ts` with `key=value` texts. */
export async function passing(
  name: string,
  fidelity: string,
  ...sets: readonly string[]
): Promise<ScenarioResult> {
  const args = sets.flatMap((set) => ['--set', set]);
  const run = ['run', `scenarios/${name}.ts`, '--json', '--fidelity', fidelity, ...args];
  const { code, stdout, stderr } = await runEmu(...run);
  assert.deepEqual([code, stderr], [0, ''], stdout.slice(0, 4000));
  const result = resultOf(stdout);
  assert.deepEqual(result.sim.leaks, []);
  return result;
}

export const column = (result: ScenarioResult, table: string, name: string): unknown[] =>
  (result.tables[table] ?? []).map((row) => row[name]);

/** What it says, in one line, to parameters that do not fit. */
export async function refused(name: string, set: string): Promise<string> {
  const { code, stdout, stderr } = await runEmu('run', `scenarios/${name}.ts`, '--set', set);
  assert.deepEqual([code, stdout], [2, ''], stderr);
  return stderr;
}
