/**
 * What a newcomer does right after a clone: the README's two commands, with nothing installed.
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { npm, skipUnreachable } from '#test/support/npm.ts';
import { resultOf } from '#test/support/result-shape.ts';
import { repositoryRoot } from '#test/support/source-files.ts';
import { temporaryFolder } from '#test/support/temporary-folder.ts';

/** The files of this repository as a clone would have them. */
function checkout(context: TestContext): string {
  const folder = temporaryFolder(context);
  const { stdout } = spawnSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
    {
      cwd: repositoryRoot,
      encoding: 'utf8',
    },
  );
  const files = stdout.split('\0').filter((name) => name !== '');
  assert.ok(files.includes('package.json'), 'git lists no files');
  for (const name of files) {
    if (!existsSync(join(repositoryRoot, name))) continue;
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    cpSync(join(repositoryRoot, name), join(folder, name));
  }
  return folder;
}

test('npm test installs what it misses', (context) => {
  const outcome = npm(checkout(context), 'test', '--', 'layers.test.ts');
  if (skipUnreachable(context, outcome)) return;
  assert.match(outcome.output, /fail 0/);
});

test('npm install && npx emu run scenarios/p2p-nvme.ts', (context) => {
  const folder = checkout(context);
  if (skipUnreachable(context, npm(folder, 'install', '--prefer-offline'))) return;
  const args = ['emu', 'run', 'scenarios/p2p-nvme.ts', '--json', '--set', 'size=1MiB'];
  const { status, stdout, stderr } = spawnSync('npx', args, { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  assert.equal(resultOf(stdout).ok, true);
});
