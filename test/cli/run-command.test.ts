/**
 * `emu run`: results, exit codes and the one line that bad input gets.
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runEmu } from '#test/support/recording-terminal.ts';
import { resultOf } from '#test/support/result-shape.ts';
import { temporaryFolder } from '#test/support/temporary-folder.ts';

const SMALL = 'test/fixtures/scenarios/small.ts';
const run = (...args: readonly string[]) => runEmu('run', SMALL, ...args);

test('a passing run prints one object with --json', async () => {
  const { code, stdout, stderr } = await run('--json', '--seed', '7', '--set', 'size=4096');
  const result = resultOf(stdout);
  assert.equal(code, 0);
  assert.equal(stderr, 'running\n');
  assert.deepEqual(
    { ...result, sim: 0, wall: 0, metrics: 0, traceHash: 0 },
    {
      schema: 1,
      scenario: 'small',
      seed: 7,
      fidelity: 'timed',
      params: { size: 4096, trouble: 'no', input: null },
      ok: true,
      checks: [{ name: 'size', ok: true, detail: '4096' }],
      metrics: 0,
      tables: { sizes: [{ what: 'size', bytes: 4096 }] },
      sim: 0,
      wall: 0,
      traceHash: 0,
    },
  );
  assert.match(result.traceHash, /^[0-9a-f]{16}$/);
  assert.ok(result.sim.events > 0);
  assert.ok(Number.isInteger(result.wall.ms));
});

test('the seed decides what a run draws', async () => {
  const draw = async (seed: string) =>
    resultOf((await run('--json', '--seed', seed)).stdout).metrics.draw?.value;
  assert.equal(await draw('5'), await draw('5'));
  assert.notEqual(await draw('5'), await draw('6'));
});

test('--set may be given several times, the last one of a key counts', async () => {
  const sets = ['--set', 'size=1', '--set', 'trouble=check', '--set', 'size=4KiB'];
  const { params } = resultOf((await run('--json', ...sets)).stdout);
  assert.deepEqual([params.size, params.trouble], [4096, 'check']);
});

test('functional fidelity reports no TLPs', async () => {
  const { sim, fidelity } = resultOf((await run('--json', '--fidelity', 'functional')).stdout);
  assert.deepEqual([fidelity, sim.tlps, sim.hops], ['functional', null, null]);
});

test('people get tables, metrics and checks', async () => {
  const { code, stdout } = await run();
  assert.equal(code, 0);
  for (const text of ['sizes', '4 KiB', 'draw', '✓', 'passed: 1 check', 'trace ']) {
    assert.ok(stdout.includes(text), `'${text}' is missing from:\n${stdout}`);
  }
});

test('a failed check ends with 1', async () => {
  const { code, stdout } = await run('--set', 'trouble=check');
  assert.equal(code, 1);
  assert.match(stdout, /✗ wrong.*expected 2, got 1/);
  assert.match(stdout, /FAILED: 1 of 2 checks/);
});

test('what never completed is named', async () => {
  const { code, stdout, stderr } = await run('--json', '--set', 'trouble=leak');
  assert.equal(code, 0);
  assert.match(stderr, /emu: never completed: machine: forgotten\n$/);
  assert.deepEqual(resultOf(stdout).sim.leaks, ['machine: forgotten']);
});

const thrown: readonly (readonly [trouble: string, code: number, line: RegExp])[] = [
  ['throw', 3, /^emu: test\/fixtures\/scenarios\/small\.ts:\d+:\d+: .*TypeError: two lines$/],
  ['usage', 2, /^emu: size: expected less, got more$/],
  ['stall', 3, /^emu: \S+\/small\.ts:\d+:\d+: STALLED: answer can never complete/],
  ['device', 3, /^emu: \S+\/small\.ts:\d+:\d+: INVARIANT: .*broken model \(in .* ns\)$/],
];
for (const [trouble, expected, line] of thrown) {
  test(`trouble '${trouble}' ends with ${expected}, one line and an object`, async () => {
    const { code, stdout, stderr } = await run('--json', '--set', `trouble=${trouble}`);
    const result = resultOf(stdout);
    const lines = stderr.trimEnd().split('\n');
    assert.equal(code, expected);
    assert.deepEqual(lines.slice(0, -1), ['running']);
    assert.match(lines.at(-1) ?? '', line);
    assert.equal(result.ok, false);
    assert.equal(result.checks.length, 1);
    assert.ok(result.error && result.error.message.length > 0);
  });
}

const refused: readonly (readonly [args: readonly string[], line: RegExp])[] = [
  [['run'], /expected a scenario file/],
  [['run', 'none.ts'], /none\.ts: no such file/],
  [['run', 'test'], /test: expected a scenario file, got a folder/],
  [['run', 'package.json'], /package\.json: expected a scenario file that ends in \.ts/],
  [['run', 'src/index.ts'], /src\/index\.ts: no scenario: .*got none/],
  [['run', SMALL, '--set', 'sise=1'], /sise: no such parameter, did you mean 'size'\?/],
  [['run', SMALL, '--set', 'size'], /--set size: expected key=value/],
  [['run', SMALL, '--set', 'size=0'], /size: expected a size from 1B .*, got '0'/],
  [['run', SMALL, '--set', 'input=none'], /input: expected .* 'none', which does not exist/],
  [['run', SMALL, '--set', 'input=test'], /input: expected .* 'test', which is a folder/],
  [['run', SMALL, '--set', 'input=/dev/null'], /input: .* which is not a regular file/],
  [['run', SMALL, '--set'], /Not enough arguments following: set/],
  [['run', SMALL, '--seed', '-1'], /--seed: expected a whole number from 0 .*, got '-1'/],
  [['run', SMALL, '--seed', '4294967296'], /--seed: .*got '4294967296'/],
  [['run', SMALL, '--seed', 'x'], /--seed: .*got 'x'/],
  [['run', SMALL, '--fidelity', 'fast'], /--fidelity: expected timed or functional, got 'fast'/],
  [['run', SMALL, '--sede', '1'], /Unknown argument: sede/],
  [['run', SMALL, '--seed', '1', '--seed', '2'], /--seed: expected one value, got 1, 2/],
  [['run', SMALL, 'more'], /Unknown .*: more/],
];
for (const [args, line] of refused) {
  test(`emu ${args.join(' ')} is refused`, async () => {
    const plain = await runEmu(...args);
    assert.equal(plain.code, 2);
    assert.equal(plain.stdout, '');
    assert.match(plain.stderr, /^emu: [^\n]+\n$/);
    assert.match(plain.stderr, line);
    const json = await runEmu(...args, '--json');
    const result = resultOf(json.stdout);
    assert.equal(json.code, 2);
    assert.deepEqual([result.ok, result.error?.code, result.schema], [false, 'USAGE', 1]);
  });
}

const broken: readonly (readonly [what: string, text: string, code: number, line: RegExp])[] = [
  ['a syntax error', 'const x = ;\n', 2, /broken\.ts:1:10: syntax error: /],
  ['no default export', 'export const x = 1;\n', 2, /broken\.ts: no scenario: .*got none/],
  ['another default export', 'export default {};\n', 2, /broken\.ts: no scenario: .*type object/],
  ['a missing import', "import './none.ts';\n", 2, /broken\.ts: .*none\.ts/],
  ['a throw of its own', "throw new Error('early');\n", 3, /broken\.ts:1:\d+: .*Error: early/],
];
for (const [what, text, expected, line] of broken) {
  test(`a file with ${what} is told of in one line`, async (context) => {
    const folder = temporaryFolder(context);
    const file = join(folder, 'broken.ts');
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(file, text);
    const { code, stderr } = await runEmu('run', file);
    assert.equal(code, expected, stderr);
    assert.match(stderr, /^emu: [^\n]+\n$/);
    assert.match(stderr, line);
  });
}

test('--help after a file shows its parameters', async () => {
  const { code, stdout } = await run('--help');
  assert.equal(code, 0);
  assert.match(stdout, /small: a machine with an empty port/);
  assert.match(stdout, /size +bytes to speak of; a size from 1B .*default 4KiB/);
});

test('emu list names scenarios and tells of files that are none', async (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(join(folder, 'bad.ts'), 'export const x = 1;\n');
  mkdirSync(join(folder, 'sub.ts'));
  writeFileSync(join(folder, 'notes.md'), '');
  const bad = await runEmu('list', folder);
  assert.deepEqual([bad.code, bad.stdout], [0, '']);
  assert.match(bad.stderr, /bad\.ts: no scenario/);
  const good = await runEmu('list', 'test/fixtures/scenarios');
  assert.match(good.stdout, /^small +a machine with an empty port$/m);
  assert.equal((await runEmu('list', 'none')).code, 2);
});

test('emu alone, --help and --version', async () => {
  assert.match((await runEmu()).stderr, /expected a command: run, list, p2p, bench or conform/);
  assert.match((await runEmu('--help')).stdout, /emu run \[file\]/);
  assert.match((await runEmu('run', '--help')).stdout, /--fidelity/);
  assert.match((await runEmu('--version')).stdout, /^\d+\.\d+\.\d+\n$/);
  assert.match((await runEmu('bnech')).stderr, /^emu: Unknown command: bnech\n$/);
});
