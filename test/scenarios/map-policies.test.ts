/**
 * The map-policies scenario: what each policy costs, and what a device reaches after unmap, in both fidelities.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScenarioResult } from '#emu/scenario/result.ts';
import { matchesGolden } from '#test/support/golden.ts';
import { runEmu } from '#test/support/recording-terminal.ts';
import { resultOf } from '#test/support/result-shape.ts';

const SCENARIO = 'scenarios/map-policies.ts';
const FIDELITIES = ['timed', 'functional'] as const;
const POLICIES = ['strict', 'lazy', 'direct', 'bounce', 'wrapper'];
const KiB = 1024;

/** Runs the scenario with `key=value` texts; it must pass. */
async function passing(fidelity: string, ...sets: readonly string[]): Promise<ScenarioResult> {
  const args = sets.flatMap((set) => ['--set', set]);
  const run = ['run', SCENARIO, '--json', '--fidelity', fidelity, ...args];
  const { code, stdout, stderr } = await runEmu(...run);
  assert.deepEqual([code, stderr], [0, ''], stdout);
  const result = resultOf(stdout);
  assert.deepEqual(result.sim.leaks, []);
  return result;
}

const column = (result: ScenarioResult, name: string): unknown[] =>
  (result.tables.policies ?? []).map((row) => row[name]);

for (const fidelity of FIDELITIES) {
  test(`256 KiB by all policies, ${fidelity}`, async () => {
    matchesGolden(`map-policies.${fidelity}`, await passing(fidelity, 'size=256KiB'));
  });

  test(`pages of one command are one range behind the IOMMU, and copied one by one, ${fidelity}`, async () => {
    const result = await passing(fidelity, 'size=128KiB', 'blockSize=16KiB');
    assert.deepEqual(column(result, 'policy'), POLICIES);
    assert.deepEqual(column(result, 'mappings'), [16, 16, 16, 16, 16]);
    assert.deepEqual(column(result, 'ranges'), [16, 16, 64, 64, 16]);
    assert.deepEqual(column(result, 'invalidations'), [64, 1, 0, 0, 64]);
    assert.deepEqual(column(result, 'copies'), [0, 0, 0, 32 + 2 * 32, 0]);
    assert.deepEqual(column(result, 'copiedBytes'), [0, 0, 0, 3 * 128 * KiB, 0]);
  });

  test(`after unmap: only the lazy window ends, within 10 ms, ${fidelity}`, async () => {
    const result = await passing(fidelity, 'size=64KiB');
    const [strict, lazy, ...others] = column(result, 'staleWindow');
    assert.deepEqual([strict, ...others], [0, null, null, 0]);
    assert.ok(Number(lazy) > 9.8e6 && Number(lazy) <= 10e6, String(lazy));
    assert.deepEqual(column(result, 'afterUnmap'), [
      ...['faults', 'arrives, then faults', 'arrives', 'arrives in the pool', 'faults'],
    ]);
  });

  test(`blocks, depths and sizes that are no multiples, ${fidelity}`, async () => {
    for (const sets of [
      ['size=512', 'blockSize=512', 'queueDepth=1'],
      ['size=100352', 'blockSize=4608', 'queueDepth=5'],
      ['size=300KiB', 'blockSize=128KiB', 'queueDepth=2'],
      ['size=64KiB', 'blockSize=1MiB', 'queueDepth=256'],
    ]) {
      const { checks } = await passing(fidelity, ...sets);
      assert.ok(checks.length > 30, sets.join(' '));
    }
  });
}

test('a lazy IOMMU flushes once for 256 unmaps', async () => {
  const sets = ['policy=lazy', 'blockSize=512', 'size=256KiB', 'queueDepth=64'];
  const { metrics } = await passing('functional', ...sets);
  assert.equal(metrics['lazy.mappings']?.value, 1024);
  // The drive's bring-up leaves an unmap behind, so that one of the 1024 waits for the end.
  assert.equal(metrics['lazy.invalidations']?.value, 5);
});

test('waiting for invalidations costs time, the wrapper none', async () => {
  const result = await passing('timed', 'size=512KiB');
  const [strict, lazy, direct, bounce, wrapper] = column(result, 'rate').map(Number);
  assert.ok(Number(strict) < Number(lazy) && Number(lazy) <= 1.02 * Number(direct));
  assert.ok(Number(bounce) > Number(strict));
  assert.equal(wrapper, strict);
  assert.deepEqual(column(result, 'iotlbMisses').slice(2, 4), [0, 0]);
});

test('functional fidelity cannot tell rates and misses', async () => {
  const result = await passing('functional', 'size=64KiB');
  for (const name of ['rate', 'iotlbMisses']) {
    assert.deepEqual(column(result, name), [null, null, null, null, null]);
  }
});

test('metrics repeat the table; one policy alone, and the wrapper with what it is compared with', async () => {
  for (const policy of POLICIES) {
    const result = await passing('timed', 'size=32KiB', `policy=${policy}`);
    const expected = policy === 'wrapper' ? ['strict', policy] : [policy];
    assert.deepEqual(column(result, 'policy'), expected);
    const row = result.tables.policies?.at(-1) ?? {};
    for (const [key, unit] of [
      ['rate', 'B/s'],
      ['iotlbMisses', ''],
      ['invalidations', ''],
      ['copies', ''],
      ['copiedBytes', 'B'],
      ['staleWindow', 'ns'],
    ] as const) {
      assert.deepEqual(result.metrics[`${policy}.${key}`], { value: row[key], unit });
    }
  }
});

test('the same seed gives the same run, another seed another', async () => {
  const hash = async (seed: string): Promise<string> => {
    const run = ['run', SCENARIO, '--json', '--seed', seed, '--set', 'size=32KiB'];
    return resultOf((await runEmu(...run)).stdout).traceHash;
  };
  assert.equal(await hash('3'), await hash('3'));
  assert.notEqual(await hash('3'), await hash('4'));
});

test('what does not fit is refused in one line', async () => {
  for (const [set, line] of [
    ['size=1000', /^emu: size: expected a multiple of 512, got 1000/],
    ['blockSize=1000', /^emu: blockSize: expected a multiple of 512, got 1000/],
    ['queueDepth=0', /^emu: queueDepth: /],
    ['policy=none', /^emu: policy: expected one of strict, lazy, direct, bounce, wrapper, all/],
  ] as const) {
    const { code, stdout, stderr } = await runEmu('run', SCENARIO, '--set', set);
    assert.deepEqual([code, stdout], [2, ''], stderr);
    assert.match(stderr, line);
  }
});
