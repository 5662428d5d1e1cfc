/**
 * The smallest scenario, in both fidelities, against its golden reports.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesGolden } from '#test/support/golden.ts';
import { runEmu } from '#test/support/recording-terminal.ts';
import { resultOf } from '#test/support/result-shape.ts';

const SCENARIO = 'scenarios/hello-edu.ts';

for (const fidelity of ['timed', 'functional']) {
  test(`hello-edu, ${fidelity}`, async () => {
    const args = ['run', SCENARIO, '--json', '--fidelity', fidelity];
    const { code, stdout, stderr } = await runEmu(...args);
    assert.deepEqual([code, stderr], [0, '']);
    matchesGolden(`hello-edu.${fidelity}`, resultOf(stdout));
  });
}

test('sizes and numbers at the ends of their ranges', async () => {
  for (const set of ['size=1', 'size=4095', 'n=0', 'n=13', 'n=100000']) {
    assert.equal((await runEmu('run', SCENARIO, '--set', set)).code, 0, set);
  }
  assert.equal((await runEmu('run', SCENARIO, '--set', 'size=4097')).code, 2);
});
