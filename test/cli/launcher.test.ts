/**
 * The `emu` command as a process: where scenarios may lie, how it ends, and that there is one framework.
 * @module
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { launch } from '#test/support/launcher.ts';
import { resultOf } from '#test/support/result-shape.ts';
import { repositoryRoot } from '#test/support/source-files.ts';
import { temporaryFolder } from '#test/support/temporary-folder.ts';

const SMALL = 'test/fixtures/scenarios/small.ts';
const INSTANCE = join(repositoryRoot, 'test/fixtures/instance');

const places: readonly (readonly [place: string, manifest: string | null])[] = [
  ['outside any package', null],
  ['in a commonjs folder', '{"type":"commonjs"}'],
  ['in a module folder', '{"type":"module"}'],
];
for (const [place, manifest] of places) {
  test(`a scenario ${place} runs, with one instance of the framework`, async (context) => {
    const folder = temporaryFolder(context);
    if (manifest !== null) writeFileSync(join(folder, 'package.json'), manifest);
    for (const name of ['instance.ts', 'helper.ts']) {
      copyFileSync(join(INSTANCE, name), join(folder, name));
    }
    const { code, stdout, stderr } = await launch(['run', 'instance.ts', '--json'], {
      cwd: folder,
    });
    assert.deepEqual([code, stderr], [0, '']);
    const { metrics, ok } = resultOf(stdout);
    assert.ok(ok);
    assert.equal(metrics.frameworks?.value, 1);
  });
}

test('a folder of the same name as the package is not taken for it', async (context) => {
  const folder = temporaryFolder(context);
  const decoy = join(folder, 'node_modules/pcie-emu');
  mkdirSync(decoy, { recursive: true });
  writeFileSync(join(decoy, 'package.json'), '{"name":"pcie-emu","main":"index.js"}');
  writeFileSync(join(decoy, 'index.js'), 'throw new Error("the wrong one");');
  for (const name of ['instance.ts', 'helper.ts']) {
    copyFileSync(join(INSTANCE, name), join(folder, name));
  }
  const { code, stderr } = await launch(['run', 'instance.ts', '--json'], { cwd: folder });
  assert.deepEqual([code, stderr], [0, '']);
});

test('a tsconfig of the working folder changes nothing', async (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(join(folder, 'tsconfig.json'), '{ this is no JSON');
  for (const name of ['instance.ts', 'helper.ts']) {
    copyFileSync(join(INSTANCE, name), join(folder, name));
  }
  const { code, stderr } = await launch(['run', 'instance.ts', '--json'], { cwd: folder });
  assert.deepEqual([code, stderr], [0, '']);
});

const endings: readonly (readonly [trouble: string, code: number, line: RegExp])[] = [
  ['check', 1, /^running\n$/],
  ['usage', 2, /^running\nemu: size: expected less, got more\n$/],
  ['rejected', 3, /^running\nemu: \S+small\.ts:\d+:\d+: [^\n]*nobody looks\n$/],
  ['never', 3, /^running\nemu: \S+small\.ts: STALLED: [^\n]+never happen\n$/],
];
for (const [trouble, expected, stderrShape] of endings) {
  test(`trouble '${trouble}' ends the process with ${expected}`, async () => {
    const { code, stderr, stdout } = await launch([
      'run',
      SMALL,
      '--json',
      '--set',
      `trouble=${trouble}`,
    ]);
    assert.equal(code, expected);
    assert.match(stderr, stderrShape);
    assert.equal(resultOf(stdout).ok, false);
  });
}

test('EMU_DEBUG shows the stack', async () => {
  const { stderr } = await launch(['run', SMALL, '--set', 'trouble=throw'], {
    env: { EMU_DEBUG: '1' },
  });
  assert.match(stderr, /\n {4}at /);
});

test('an interrupt ends with 130 and still prints the object', async () => {
  const { code, stdout, stderr } = await launch(['run', SMALL, '--json', '--set', 'trouble=wait'], {
    onStderr: (text, interrupt) => {
      if (text === 'running\n') interrupt();
    },
  });
  assert.equal(code, 130);
  assert.match(stderr, /\nemu: interrupted\n$/);
  assert.equal(resultOf(stdout).error?.code, 'INTERRUPTED');
});

test('what an observer throws ends the command, but not inside the simulation', async () => {
  const { code, stdout, stderr } = await launch([
    'run',
    'test/fixtures/scenarios/observed.ts',
    '--json',
  ]);
  assert.equal(code, 3);
  assert.match(stderr, /observed\.ts:\d+:\d+: .*RangeError: clumsy observer\n$/);
  assert.deepEqual(
    resultOf(stdout).checks.map(({ ok }) => ok),
    [true],
  );
});
