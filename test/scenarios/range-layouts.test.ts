/**
 * The range-layouts scenario: the known sizes for 1 GiB, equal runs without times, and what it refuses.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScenarioResult, TableRow } from '#emu/scenario/result.ts';
import { matchesGolden } from '#test/support/golden.ts';
import { runEmu } from '#test/support/recording-terminal.ts';
import { resultOf } from '#test/support/result-shape.ts';

const SCENARIO = 'scenarios/range-layouts.ts';
const [KIB, MIB] = [2 ** 10, 2 ** 20];

/** Runs the scenario with `key=value` texts; it must pass. */
async function passing(sets: readonly string[], fidelity = 'functional'): Promise<ScenarioResult> {
  const args = sets.flatMap((set) => ['--set', set]);
  const all = ['run', SCENARIO, '--json', ...args, '--fidelity', fidelity];
  const { code, stdout, stderr } = await runEmu(...all);
  assert.equal(code, 0, stderr || stdout);
  return resultOf(stdout);
}

const rowsOf = (result: ScenarioResult): readonly TableRow[] => result.tables.layouts ?? [];

for (const fidelity of ['timed', 'functional']) {
  test(`16 MiB, ${fidelity}`, async () => {
    const result = await passing(['size=16MiB', 'time=false'], fidelity);
    assert.deepEqual(result.sim.leaks, []);
    matchesGolden(`range-layouts.${fidelity}`, result);
  });
}

test('1 GiB takes what is known of each kind of list', async () => {
  const result = await passing(['time=false']);
  const find = (name: string): TableRow | undefined =>
    rowsOf(result).find(({ list }) => list === name);
  const known: readonly (readonly [name: string, ranges: number, metadata: number])[] = [
    ['pages4k.sg32', 262_144, 8 * MIB],
    ['pages4k.sg24', 262_144, 6 * MIB],
    ['pages4k.packed16', 262_144, 4 * MIB],
    ['pages4k.wide16', 262_144, 4 * MIB],
    ['pages4k.compact8', 262_144, 2 * MIB],
    ['pages2m.sg32', 512, 16 * KIB],
    ['pages2m.packed16', 512, 8 * KIB],
    ['pages2m.compact8', 512, 4 * KIB],
    ['contiguous.sg32', 1, 32],
    ['contiguous.packed16', 1, 16],
    ['contiguous.compact8', 1, 16],
  ];
  for (const [name, ranges, metadata] of known) {
    const row = find(name);
    assert.deepEqual([row?.ranges, row?.metadata], [ranges, metadata], name);
  }
  // The identity takes nothing more, one range of I/O virtual addresses 16 bytes.
  const pages = find('pages4k.packed16');
  assert.deepEqual(
    [pages?.directRanges, pages?.directMetadata, pages?.iommuRanges, pages?.iommuMetadata],
    [262_144, 0, 1, 16],
  );
});

test('host times are measured only when asked for, and change nothing else', async () => {
  const isTime = (name: string): boolean => name.endsWith('HostTime');
  const without = await passing(['size=4MiB', 'time=false']);
  const measured = await passing(['size=4MiB', 'rounds=1']);
  assert.equal(measured.traceHash, without.traceHash);
  for (const [name, { value, unit }] of Object.entries(measured.metrics)) {
    const other = without.metrics[name];
    if (isTime(name)) assert.deepEqual([unit, other?.value], ['ns', null], name);
    else assert.deepEqual(other, { value, unit }, name);
  }
  const appended = rowsOf(measured).map((row) => row.appendHostTime);
  assert.ok(appended.every((time) => typeof time === 'number' && time > 0));
});

test('another seed gives other fragments and the same pages', async () => {
  const sets = ['run', SCENARIO, '--json', '--set', 'size=4MiB', '--set', 'time=false', '--seed'];
  const [one, two] = await Promise.all(['1', '2'].map((seed) => runEmu(...sets, seed)));
  assert.ok(one && two);
  const ranges = (stdout: string, name: string): unknown =>
    rowsOf(resultOf(stdout)).find(({ list }) => list === name)?.ranges;
  assert.equal(ranges(one.stdout, 'pages4k.packed16'), ranges(two.stdout, 'pages4k.packed16'));
  assert.notEqual(
    ranges(one.stdout, 'fragments.packed16'),
    ranges(two.stdout, 'fragments.packed16'),
  );
});

test('memory longer than 32 bits of length can say is cut where it has to be', async () => {
  const result = await passing(['size=8GiB', 'memory=contiguous', 'time=false']);
  const ranges = rowsOf(result).map((row) => row.ranges);
  assert.deepEqual(ranges, [3, 3, 3, 1, 1]);
});

test('sizes that cannot be halved into large pages are refused', async () => {
  for (const [set, message] of [
    ['size=5MiB', /^emu: size: expected a multiple of 4 MiB, got 5242880/],
    ['size=1MiB', /^emu: size: expected/],
    ['rounds=0', /^emu: rounds: expected/],
  ] as const) {
    const { code, stderr } = await runEmu('run', SCENARIO, '--set', set);
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
});
