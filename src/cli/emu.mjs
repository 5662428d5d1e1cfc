#!/usr/bin/env node
/**
 * The `emu` command. In a checkout it runs the sources (a build is never used there); in the npm package, the compiled
 * files. Plain JavaScript, since it is what makes TypeScript loadable.
 * @module
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const SOURCE_CONDITION = '--conditions=emu-source';
const sourceMain = new URL('./main.ts', import.meta.url);
const compiledMain = new URL('../../dist/src/cli/main.js', import.meta.url);

/** Starts this file again with the condition that selects sources, and ends as the second process does. */
function restartWithSources() {
  const script = fileURLToPath(import.meta.url);
  const args = [...process.execArgv, SOURCE_CONDITION, script, ...process.argv.slice(2)];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  // The child decides what a signal means; from a terminal it gets SIGINT twice, which does no harm.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`emu: cannot start ${process.execPath}: ${error.message}\n`);
    process.exitCode = 3;
  });
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
  });
}

/** Makes TypeScript scenarios loadable and hands over to the command line proper. */
async function start(main) {
  const { register } = await import('tsx/esm/api');
  // A scenario's meaning must not depend on the tsconfig of the folder that `emu` was called in.
  register({ tsconfig: false });
  const { installScenarioLoader } = await import('./scenario-loader.mjs');
  installScenarioLoader();
  const { main: run } = await import(main.href);
  await run(process.argv.slice(2));
}

if (!existsSync(sourceMain)) await start(compiledMain);
else if (process.execArgv.includes(SOURCE_CONDITION)) await start(sourceMain);
else restartWithSources();
