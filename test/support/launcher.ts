/**
 * Runs the `emu` command as a process of its own, as a user does.
 * @module
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import type { Outcome } from '#test/support/recording-terminal.ts';
import { repositoryRoot } from '#test/support/source-files.ts';

export interface LaunchOptions {
  readonly cwd?: string;
  /** The launcher; default this repository's. */
  readonly launcher?: string;
  /** The Node that runs it; default this one. */
  readonly node?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with what has come on stderr so far. */
  readonly onStderr?: (text: string, interrupt: () => void) => void;
}

export const ownLauncher: string = join(repositoryRoot, 'src/cli/emu.mjs');

/** Starts `emu` and waits for its end. A signal that ends it counts as code -1. */
export function launch(args: readonly string[], options: LaunchOptions = {}): Promise<Outcome> {
  const { node = process.execPath, launcher = ownLauncher, cwd = repositoryRoot } = options;
  // What the test runner set for itself is not for its grandchildren.
  const { NODE_OPTIONS: _options, NODE_TEST_CONTEXT: _context, ...inherited } = process.env;
  const env = { ...inherited, NO_COLOR: '1', ...options.env };
  const child = spawn(node, [launcher, ...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    options.onStderr?.(stderr, () => child.kill('SIGINT'));
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? -1, stdout, stderr }));
  });
}
