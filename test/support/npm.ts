/**
 * npm as a process, for tests that install packages. Where the registry cannot be reached they are skipped,
 * and say so.
 * @module
 */
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import type { TestContext } from 'node:test';

export interface NpmOutcome {
  readonly ok: boolean;
  readonly output: string;
}

const UNREACHABLE = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|E403|E404/;

/** Runs npm in a folder. */
export function npm(cwd: string, ...args: readonly string[]): NpmOutcome {
  const { NODE_OPTIONS: _options, NODE_TEST_CONTEXT: _context, ...env } = process.env;
  const script = env.npm_execpath;
  const [command, first] = script ? [process.execPath, [script]] : ['npm', []];
  const { status, stdout, stderr } = spawnSync(command, [...first, ...args], {
    cwd,
    env,
    encoding: 'utf8',
  });
  return { ok: status === 0, output: `${stdout}${stderr}` };
}

/** Skips the test, loudly, when npm could not reach its registry; anything else is a failure. */
export function skipUnreachable(context: TestContext, { ok, output }: NpmOutcome): boolean {
  if (ok) return false;
  if (!UNREACHABLE.test(output)) throw new Error(`npm failed:\n${output}`);
  process.stderr.write(`SKIPPED: ${context.name}: the npm registry cannot be reached\n`);
  context.skip('the npm registry cannot be reached');
  return true;
}
