/**
 * The p2p-nvme scenario: bytes, traffic and results over all routes, and what it refuses.
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadScenario } from '#emu/cli/load-scenario.ts';
import { ScenarioRun } from '#emu/cli/scenario-run.ts';
import { observe } from '#emu/observe/observe.ts';
import type { ScenarioResult } from '#emu/scenario/result.ts';
import { matchesGolden } from '#test/support/golden.ts';
import { runEmu } from '#test/support/recording-terminal.ts';
import { resultOf } from '#test/support/result-shape.ts';
import { repositoryRoot } from '#test/support/source-files.ts';
import { temporaryFolder } from '#test/support/temporary-folder.ts';

const SCENARIO = 'scenarios/p2p-nvme.ts';
const FIDELITIES = ['timed', 'functional'] as const;
const ROUTES = ['switch', 'root', 'host'];
const MAP_TYPES = ['BUS_ADDR', 'THRU_HOST_BRIDGE', 'NONE'];
/** How often the data crosses the upstream link. */
const CROSSINGS = [0, 1, 2];

/** Runs the scenario with `key=value` texts; it must pass. */
async function passing(
  sets: readonly string[],
  ...more: readonly string[]
): Promise<ScenarioResult> {
  const args = sets.flatMap((set) => ['--set', set]);
  const { code, stdout, stderr } = await runEmu('run', SCENARIO, '--json', ...args, ...more);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  return resultOf(stdout);
}

function column(result: ScenarioResult, name: string): unknown[] {
  return (result.tables.routes ?? []).map((row) => row[name]);
}

for (const fidelity of FIDELITIES) {
  test(`256 KiB over all routes, ${fidelity}`, async () => {
    matchesGolden(`p2p-nvme.${fidelity}`, await passing(['size=256KiB'], '--fidelity', fidelity));
  });

  for (const size of [0, 1, 4097, 9 * 2 ** 20 + 1]) {
    test(`a file of ${size} bytes, ${fidelity}`, async (context) => {
      const input = join(temporaryFolder(context), 'input');
      writeFileSync(
        input,
        Uint8Array.from({ length: size }, (_, i) => (i * 31) >> 3),
      );
      const result = await passing([`input=${input}`, 'vram=64MiB'], '--fidelity', fidelity);
      const moved = Math.ceil(size / 4096) * 4096;
      const crossed = CROSSINGS.map((times) => times * moved);
      assert.equal(result.checks.length, ROUTES.length);
      assert.deepEqual(column(result, 'route'), ROUTES);
      assert.deepEqual(column(result, 'mapType'), MAP_TYPES);
      assert.deepEqual(column(result, 'upstreamData'), crossed);
      assert.deepEqual(column(result, 'hostMemory'), [0, 0, 2 * moved]);
      assert.ok(column(result, 'upstreamControl').every((bytes) => Number(bytes) > 0 === size > 0));
      assert.deepEqual(result.sim.leaks, []);
    });
  }
}

test('metrics repeat the table by route', async () => {
  const result = await passing(['size=64KiB', 'route=root']);
  const [row = {}] = result.tables.routes ?? [];
  assert.equal(result.tables.routes?.length, 1);
  for (const [key, unit] of [
    ['rate', 'B/s'],
    ['latencyMean', 'ns'],
    ['latencyP99', 'ns'],
    ['upstreamData', 'B'],
    ['upstreamControl', 'B'],
    ['hostMemory', 'B'],
    ['tlps', ''],
  ] as const) {
    assert.deepEqual(result.metrics[`root.${key}`], { value: row[key], unit });
  }
});

test('functional fidelity cannot tell rates, latencies and TLPs', async () => {
  const result = await passing(['size=64KiB'], '--fidelity', 'functional');
  for (const name of ['rate', 'latencyMean', 'latencyP99', 'tlps']) {
    assert.deepEqual(column(result, name), [null, null, null]);
  }
});

test('block sizes, depths, links and a larger drive change no byte', async () => {
  const shapes = [
    ['blockSize=512', 'size=10000'],
    ['blockSize=3KiB', 'size=10000'],
    ['blockSize=128KiB', 'size=300000', 'queueDepth=1'],
    ['gen=1', 'width=1', 'size=20000'],
    ['gen=5', 'width=16', 'drive=1GiB', 'size=20000', 'queueDepth=1023'],
  ];
  for (const sets of shapes) {
    const { checks } = await passing(sets);
    assert.equal(checks.length, ROUTES.length, sets.join(' '));
  }
});

test('the same seed gives the same run, another seed another', async () => {
  const hash = async (seed: string) => (await passing(['size=64KiB'], '--seed', seed)).traceHash;
  assert.equal(await hash('3'), await hash('3'));
  assert.notEqual(await hash('3'), await hash('4'));
});

test('an observed run is the same run, and shows TLPs, commands and interrupts', async () => {
  const { scenario } = await loadScenario(join(repositoryRoot, SCENARIO));
  const settings = { seed: 1, fidelity: 'timed' } as const;
  const seen = { tlp: 0, command: 0, interrupt: 0 };
  const run = async (watched: boolean): Promise<string> => {
    const made = new ScenarioRun('p2p-nvme', {
      built: (machine) => {
        if (!watched) return;
        for (const event of ['tlp', 'command', 'interrupt'] as const) {
          observe(machine).on(event, () => seen[event]++);
        }
      },
    });
    await made.execute(scenario, settings, ['size=64KiB']);
    return made.report().traceHash;
  };
  assert.equal(await run(true), await run(false));
  assert.ok(seen.tlp > 1000 && seen.command > 48 && seen.interrupt > 10, JSON.stringify(seen));
});

test('what does not fit is refused in one line, and the input stays as it was', async (context) => {
  const folder = temporaryFolder(context);
  const input = join(folder, 'input');
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i);
  writeFileSync(input, bytes);
  mkdirSync(join(folder, 'sub'));
  const refused: readonly (readonly [sets: readonly string[], line: RegExp])[] = [
    [['drive=69999'], /^emu: drive: expected at least 70000 bytes.*got 69999/],
    [['vram=64KiB'], /^emu: vram: expected at least 73728 bytes.*got 65536/],
    [['vram=3MiB'], /power of two/],
    [['vram=512GiB'], /BAR0 of 512 GiB does not fit/],
    [['width=3'], /^emu: width: expected one of 1, 2, 4, 8, 16, got '3'/],
    [['gen=6'], /^emu: gen: expected one of 1, 2, 3, 4, 5, got '6'/],
    [['blockSize=1000'], /^emu: blockSize: expected a multiple of 512, got 1000/],
    [['route=both'], /^emu: route: expected one of switch, root, host, all, got 'both'/],
    [['input=none'], /^emu: input: .*does not exist/],
    [[`input=${join(folder, 'sub')}`], /^emu: input: .*is a folder/],
  ];
  for (const [sets, line] of refused) {
    const args = [`input=${input}`, ...sets].flatMap((set) => ['--set', set]);
    const { code, stdout, stderr } = await runEmu('run', SCENARIO, ...args);
    assert.deepEqual([code, stdout], [2, ''], `${sets}: ${stderr}`);
    assert.match(stderr, /^emu: [^\n]+\n$/);
    assert.match(stderr, line);
  }
  assert.deepEqual(new Uint8Array(readFileSync(input)), bytes);
});
