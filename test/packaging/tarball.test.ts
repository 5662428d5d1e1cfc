/**
 * The npm package as a user installs it: compiled, typed, and the one framework of a scenario beside it.
 * @module
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { type TestContext, test } from 'node:test';
import { launch } from '#test/support/launcher.ts';
import { npm, skipUnreachable } from '#test/support/npm.ts';
import { resultOf } from '#test/support/result-shape.ts';
import { repositoryRoot } from '#test/support/source-files.ts';
import { temporaryFolder } from '#test/support/temporary-folder.ts';

/** A folder with the packed package installed, or null when it cannot be. */
function installed(context: TestContext): string | null {
  const folder = temporaryFolder(context);
  const packed = npm(repositoryRoot, 'pack', '--pack-destination', folder);
  assert.ok(packed.ok, packed.output);
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  assert.ok(tarball);
  writeFileSync(join(folder, 'package.json'), '{"name":"user","private":true}');
  const outcome = npm(folder, 'install', '--prefer-offline', `./${tarball}`);
  return skipUnreachable(context, outcome) ? null : folder;
}

test('the package runs scenarios beside it with its own framework', async (context) => {
  const folder = installed(context);
  if (folder === null) return;
  const home = join(folder, 'node_modules/pcie-emu');
  const launcher = join(home, 'src/cli/emu.mjs');
  const options = { cwd: folder, launcher };

  assert.ok(!existsSync(join(home, 'src/index.ts')), 'sources are in the package');
  assert.ok(existsSync(join(home, 'dist/src/index.d.ts')));
  const map = JSON.parse(readFileSync(join(home, 'dist/src/index.js.map'), 'utf8'));
  assert.ok(map.sourcesContent?.length > 0, 'source maps hold no sources');

  for (const name of ['instance.ts', 'helper.ts']) {
    copyFileSync(join(repositoryRoot, 'test/fixtures/instance', name), join(folder, name));
  }
  const { code, stdout, stderr } = await launch(['run', 'instance.ts', '--json'], options);
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(resultOf(stdout).metrics.frameworks?.value, 1);

  const bin = spawnSync(join(folder, 'node_modules/.bin/emu'), ['list'], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.match(bin.stdout, /^hello-edu +/m);
  assert.match(bin.stdout, /^p2p-nvme +/m);

  const hello = join(home, 'scenarios/hello-edu.ts');
  const fromPackage = await launch(['run', hello, '--json'], options);
  const fromSource = await launch(['run', 'scenarios/hello-edu.ts', '--json']);
  assert.equal(fromPackage.code, 0, fromPackage.stderr);
  assert.equal(resultOf(fromPackage.stdout).traceHash, resultOf(fromSource.stdout).traceHash);

  // An installed package beside the scenario does not compete with the checkout that runs it.
  const { code: mixed, stderr: said } = await launch(['run', 'instance.ts'], { cwd: folder });
  assert.deepEqual([mixed, said], [0, '']);

  copyFileSync(join(repositoryRoot, 'test/fixtures/scenarios/small.ts'), join(folder, 'small.ts'));
  const thrown = await launch(['run', 'small.ts', '--set', 'trouble=throw'], options);
  assert.equal(thrown.code, 3);
  assert.match(thrown.stderr, /^running\nemu: small\.ts:\d+:\d+: .*TypeError: two lines\n$/);

  checkTypes(folder);
});

/** A user's type check sees the package's declarations. */
function checkTypes(folder: string): void {
  const compilerOptions = {
    ...{ module: 'NodeNext', target: 'ES2023', strict: true, noEmit: true },
    ...{ allowImportingTsExtensions: true, types: [] },
  };
  writeFileSync(join(folder, 'package.json'), '{"name":"user","private":true,"type":"module"}');
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, files: ['instance.ts'] }),
  );
  const compiler = join(repositoryRoot, 'node_modules/typescript/bin/tsc');
  const { status, stdout } = spawnSync(process.execPath, [compiler, '-p', folder], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stdout);
}
