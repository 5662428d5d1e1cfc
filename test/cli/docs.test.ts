/**
 * What the documentation shows is what the code does.
 * @module
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { schemaComplaints } from '#test/support/json-schema.ts';
import { launch } from '#test/support/launcher.ts';
import { runEmu } from '#test/support/recording-terminal.ts';
import { resultOf } from '#test/support/result-shape.ts';
import { repositoryRoot } from '#test/support/source-files.ts';
import { temporaryFolder } from '#test/support/temporary-folder.ts';

const OWN_DEVICE = 'test/fixtures/scenarios/own-device.ts';
const MAP_LISTS = 'test/fixtures/scenarios/map-lists.ts';
const PCIE_ERRORS = 'test/fixtures/scenarios/pcie-errors.ts';
const read = (name: string): string => readFileSync(join(repositoryRoot, name), 'utf8');
const codeBlock = (text: string): string => /```ts\n([\s\S]*?)```/.exec(text)?.[1] ?? '';

test('the device of docs/devices.md is the one that runs', async () => {
  assert.equal(codeBlock(read('docs/devices.md')), read(OWN_DEVICE));
  const { code, stderr } = await runEmu('run', OWN_DEVICE);
  assert.deepEqual([code, stderr], [0, '']);
});

test('the lists of docs/dma.md are those that are mapped', async () => {
  assert.equal(codeBlock(read('docs/dma.md')), read(MAP_LISTS));
  const { code, stdout, stderr } = await runEmu('run', MAP_LISTS);
  assert.deepEqual([code, stderr], [0, '']);
  for (const name of ['in', 'out']) assert.match(stdout, new RegExp(`^${name}$`, 'm'));
});

test('the scenario of docs/pcie.md is the one that runs, in both fidelities', async () => {
  assert.equal(codeBlock(read('docs/pcie.md')), read(PCIE_ERRORS));
  for (const fidelity of ['timed', 'functional']) {
    const { code, stdout, stderr } = await runEmu('run', PCIE_ERRORS, '--fidelity', fidelity);
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /fatal +│ MalfTLP/);
  }
});

test('the scenario of the README runs', async (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(join(folder, 'factorial.ts'), codeBlock(read('README.md')));
  const { code, stderr } = await launch(['run', 'factorial.ts', '--set', 'n=12'], { cwd: folder });
  assert.deepEqual([code, stderr], [0, '']);
});

test('links of the documentation lead somewhere', () => {
  for (const page of [
    'README.md',
    'docs/cli.md',
    'docs/devices.md',
    'docs/dma.md',
    'docs/pcie.md',
    'docs/timing.md',
    'docs/references.md',
  ]) {
    for (const [, target = ''] of read(page).matchAll(/\]\(([^)#]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const folder = page.includes('/') ? 'docs' : '.';
      assert.ok(existsSync(join(repositoryRoot, folder, target)), `${page}: ${target}`);
    }
  }
});

const runs: readonly (readonly string[])[] = [
  ['scenarios/hello-edu.ts'],
  ['scenarios/p2p-nvme.ts', '--set', 'size=64KiB'],
  ['scenarios/p2p-nvme.ts', '--set', 'size=64KiB', '--fidelity', 'functional'],
  ['test/fixtures/scenarios/small.ts', '--set', 'trouble=throw'],
  ['test/fixtures/scenarios/small.ts', '--set', 'trouble=leak'],
  ['none.ts'],
  ['none.ts', '--bad'],
];
for (const args of runs) {
  test(`the result of ${args.join(' ')} is as docs/result.schema.json says`, async () => {
    const { stdout } = await runEmu('run', ...args, '--json');
    const complaints = schemaComplaints(
      JSON.parse(read('docs/result.schema.json')),
      resultOf(stdout),
    );
    assert.deepEqual(complaints, []);
  });
}

test('the schema refuses what is not a result', () => {
  const schema = JSON.parse(read('docs/result.schema.json'));
  const bad = { schema: 2, seed: -1, checks: [{ name: 'x', ok: 1 }], more: true };
  const complaints = schemaComplaints(schema, bad);
  for (const part of ['schema', 'seed', 'checks[0].ok', 'checks[0].detail', 'more', 'traceHash']) {
    assert.ok(
      complaints.some((text) => text.startsWith(`${part}:`)),
      part,
    );
  }
});
