/**
 * `npm test`: installs what is missing, then runs the test files that it finds. Needs nothing but Node and npm.
 * Arguments choose folders or files below test/ (default: all but those that have a command of their own).
 * @module
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Slow, or in need of the machine for themselves: `npm test -- packaging` and `npm test -- bench`; `.ci/run` does both. */
const ON_REQUEST = ['bench', 'packaging'];
const root = fileURLToPath(new URL('..', import.meta.url));

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) process.stderr.write(`${command}: ${error.message}\n`);
  return status ?? 1;
}

function testFiles(path) {
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const child = join(path, entry.name);
      if (entry.isDirectory()) return entry.name === 'fixtures' ? [] : testFiles(child);
      return entry.name.endsWith('.test.ts') ? [child] : [];
    });
}

function chosenFiles(names) {
  const folder = join(root, 'test');
  if (names.length > 0) return names.flatMap((name) => testFiles(join(folder, name)));
  const slow = ON_REQUEST.map((name) => join(folder, name));
  return testFiles(folder).filter((file) => !slow.some((path) => file.startsWith(path)));
}

if (!existsSync(join(root, 'node_modules', 'tsx'))) {
  const npm = process.env.npm_execpath;
  const status = npm ? run(process.execPath, [npm, 'ci']) : run('npm', ['ci']);
  if (status !== 0) process.exit(status);
}
const options = ['--import', 'tsx', '--conditions=emu-source', '--test'];
const reporter = ['--test-reporter=spec', '--test-concurrency=2'];
process.exit(
  run(process.execPath, [...options, ...reporter, ...chosenFiles(process.argv.slice(2))]),
);
