/**
 * `emu list`: the scenarios of a folder, a line each.
 * @module
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { usage } from '#emu/base/errors.ts';
import { colors as pc } from './colors.ts';
import { ExitCode } from './exit-code.ts';
import { describeFailure } from './failure.ts';
import { isScenarioFileName, loadScenario, locateScenario, scenarioName } from './load-scenario.ts';
import { packageRoot } from './package-root.ts';
import type { Terminal } from './terminal.ts';

interface Listed {
  readonly name: string;
  readonly file: string;
  /** Null for a file that is no scenario. */
  readonly summary: string | null;
  readonly problem?: string;
}

/** Lists `folder`; files that are no scenarios are told of on stderr. @throws USAGE for no folder */
export async function listCommand(
  folder: string | undefined,
  json: boolean,
  terminal: Terminal,
): Promise<ExitCode> {
  const directory = folder === undefined ? defaultFolder() : existingFolder(folder);
  const names = readdirSync(directory).filter(isScenarioFileName).sort();
  const listed: Listed[] = [];
  for (const name of names) listed.push(await describe(join(directory, name)));
  for (const { problem } of listed) if (problem !== undefined) terminal.err(`emu: ${problem}\n`);
  const scenarios = listed.filter((entry) => entry.summary !== null);
  if (json) terminal.out(`${JSON.stringify({ schema: 1, scenarios })}\n`);
  else terminal.out(table(scenarios));
  return ExitCode.Passed;
}

async function describe(path: string): Promise<Listed> {
  const name = scenarioName(path);
  try {
    const { scenario } = await loadScenario(locateScenario(path));
    return { name, file: path, summary: scenario.summary };
  } catch (thrown) {
    return { name, file: path, summary: null, problem: describeFailure(thrown).error.message };
  }
}

function table(scenarios: readonly Listed[]): string {
  const width = Math.max(0, ...scenarios.map(({ name }) => name.length));
  return scenarios
    .map(({ name, summary }) => `${pc.bold(name.padEnd(width))}  ${summary}\n`)
    .join('');
}

function existingFolder(folder: string): string {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found?.isDirectory()) return resolve(folder);
  throw usage(`list: expected a folder, got '${folder}'${found ? '' : ', which does not exist'}`);
}

/** `./scenarios`, or the package's own where there is none. */
function defaultFolder(): string {
  if (existsSync('scenarios') && statSync('scenarios').isDirectory()) return resolve('scenarios');
  return fileURLToPath(new URL('scenarios', packageRoot));
}
