/**
 * `emu bench timing` and `emu conform timing`: every published row is run, and what is wrong is told.
 * @module
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TimingResult } from '#emu/cli/timing/timing-result.ts';
import { runEmu } from '#test/support/recording-terminal.ts';

const root = new URL('../../', import.meta.url);
const VALIDATION = new URL('docs/timing-validation.json', root);
const PUBLISHED = new URL('test/fixtures/timing-validation.csv', root);

interface Shown {
  readonly ok: boolean;
  readonly rows: readonly TimingResult[];
}

/** Measured rows that are known to miss; a change of this list is news. */
const MISSES: readonly string[] = ['C06.32'];

/** The one row of a file that is changed by `change`. */
function fileWith(change: Record<string, unknown>): string {
  const row = {
    id: 'x',
    kind: 'spec-exact',
    configuration: 'gen3 x8',
    source: 'nowhere',
    machine: { link: { gen: 3, width: 8 } },
    workload: { type: 'stream', op: 'write', sizeBytes: 256 },
    quantity: { name: 'payload-rate', unit: 'GB/s' },
    expected: 7.2018,
    tolerance: { percent: 0.5 },
    ...change,
  };
  const file = join(tmpdir(), `timing-${process.pid}.json`);
  writeFileSync(file, JSON.stringify({ rows: [row] }));
  return file;
}

test('every published row is run and holds; the misses among the measured ones are the known ones', async () => {
  const { code, stdout } = await runEmu('bench', 'timing', '--json');
  const { ok, rows }: Shown = JSON.parse(stdout);
  const failed = rows.filter((row) => !row.ok).map(({ id }) => id);
  assert.deepEqual(failed, MISSES);
  assert.equal(ok, true);
  assert.equal(code, 0);
  const published = readFileSync(PUBLISHED, 'utf8').trim().split('\n').slice(1);
  for (const line of published) {
    const [id, kind] = line.split(',');
    const of = rows.filter((row) => row.id === id || row.id.startsWith(`${id}.`));
    assert.ok(of.length > 0, `row ${id} is not run`);
    for (const row of of) assert.equal(row.kind, kind, `kind of ${row.id}`);
  }
});

test('the rows of the package are a file for emu conform timing', async () => {
  const { rows } = JSON.parse(readFileSync(VALIDATION, 'utf8'));
  const file = fileWith(rows[0]);
  const { code, stdout } = await runEmu('conform', 'timing', file);
  assert.equal(code, 0);
  assert.match(stdout, /A01/);
  assert.match(stdout, /1 of 1 rows pass, 0 measured rows miss, 0 fail/);
});

test('a row that must hold and does not fails the run; a measured one is a miss', async () => {
  const wrong = fileWith({ expected: 7 });
  const failed = await runEmu('conform', 'timing', wrong, '--json');
  assert.equal(failed.code, 1);
  const { ok, rows }: Shown = JSON.parse(failed.stdout);
  assert.equal(ok, false);
  assert.equal(rows[0]?.ok, false);
  assert.ok(Math.abs((rows[0]?.errorPct ?? 0) - 2.881) < 0.01, `error ${rows[0]?.errorPct}`);
  const miss = await runEmu('conform', 'timing', fileWith({ expected: 7, kind: 'measured' }));
  assert.equal(miss.code, 0);
  assert.match(miss.stdout, /miss/);
  assert.match(miss.stdout, /1 measured rows miss/);
});

test('what is wrong with a file is told by place, in one line', async () => {
  const cases: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ kind: 'guessed' }, /rows\[0\]\.kind: .*spec-exact.*got "guessed"/],
    [{ machine: { link: { gen: 7, width: 8 } } }, /rows\[0\]\.machine\.link\.gen: .*got 7/],
    [{ machine: { link: { gen: 3, width: 8 }, tag: 3 } }, /rows\[0\]\.machine: .*"tag"/],
    [
      { machine: { link: { gen: 3, width: 8 }, preset: 'pdp11' } },
      /preset: .*broadwell-e5v4.*pdp11/,
    ],
    [{ workload: { type: 'dance' } }, /rows\[0\]\.workload.*/],
    [{ workload: { type: 'stream', op: 'write', sizeBytes: 0 } }, /sizeBytes: .*got 0/],
    [{ quantity: { name: 'latency', unit: 'ns' } }, /x: quantity: .*got 'latency'/],
    [{ tolerance: { percent: -1 } }, /tolerance/],
    [{ tolerance: { from: 9, to: 3 } }, /tolerance/],
    [{ expected: 0 }, /expected: expected another number than 0; got 0/],
    [{ expected: 'much' }, /expected: .*got "much"/],
  ];
  for (const [change, message] of cases) {
    const { code, stderr } = await runEmu('conform', 'timing', fileWith(change));
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
  }
});
