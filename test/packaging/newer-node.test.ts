/**
 * The same runs on a newer Node: results must not depend on the engine.
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { type TestContext, test } from 'node:test';
import { launch } from '#test/support/launcher.ts';
import { npm, skipUnreachable } from '#test/support/npm.ts';
import { resultOf } from '#test/support/result-shape.ts';
import { repositoryRoot } from '#test/support/source-files.ts';

const VERSIONS = ['22', '26'];
const RUNS: readonly (readonly string[])[] = [
  ['scenarios/hello-edu.ts'],
  ['scenarios/hello-edu.ts', '--fidelity', 'functional'],
  ['scenarios/p2p-nvme.ts', '--set', 'size=1000000'],
  ['scenarios/p2p-nvme.ts', '--set', 'size=1000000', '--fidelity', 'functional'],
];

/** Path of a Node of that version, from the package of this platform's binaries; null when it cannot be had. */
function newerNode(context: TestContext, version: string): string | null {
  const folder = join(tmpdir(), `pcie-emu-node-${version}`);
  const name = `node-${process.platform}-${process.arch}`;
  const binary = join(folder, 'node_modules', name, 'bin/node');
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  const outcome = npm(folder, 'install', '--no-save', '--prefix', folder, `${name}@${version}`);
  return skipUnreachable(context, outcome) ? null : binary;
}

/** Result of a run without what depends on the clock. */
async function resultOn(node: string, args: readonly string[]) {
  const outcome = await launch(['run', ...args, '--json'], { node });
  assert.deepEqual([outcome.code, outcome.stderr], [0, '']);
  return { ...resultOf(outcome.stdout), wall: null };
}

for (const version of VERSIONS) {
  test(`Node ${version} gives the same results`, async (context) => {
    const node = newerNode(context, version);
    if (node === null) return;
    for (const args of RUNS) {
      assert.deepEqual(await resultOn(node, args), await resultOn(process.execPath, args));
    }
    const cwd = join(repositoryRoot, 'test/fixtures/instance');
    const { code, stderr } = await launch(['run', 'instance.ts'], { node, cwd });
    assert.deepEqual([code, stderr], [0, '']);
  });
}
