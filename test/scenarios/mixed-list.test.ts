/**
 * The mixed-list scenario: the list, the addresses it becomes on each machine, and what wrong addresses come to, in
 * both fidelities alike.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ScenarioResult, TableRow } from '#emu/scenario/result.ts';
import { matchesGolden } from '#test/support/golden.ts';
import { runEmu } from '#test/support/recording-terminal.ts';
import { resultOf } from '#test/support/result-shape.ts';

const SCENARIO = 'scenarios/mixed-list.ts';
const FIDELITIES = ['timed', 'functional'] as const;

/** Runs the scenario with `key=value` texts; it must pass. */
async function passing(fidelity: string, ...sets: readonly string[]): Promise<ScenarioResult> {
  const args = sets.flatMap((set) => ['--set', set]);
  const run = ['run', SCENARIO, '--json', '--fidelity', fidelity, ...args];
  const { code, stdout, stderr } = await runEmu(...run);
  assert.deepEqual([code, stderr], [0, ''], stdout);
  return resultOf(stdout);
}

/** Columns of the rows of one machine. */
const rowsOf = (result: ScenarioResult, table: string, machine: string, ...columns: string[]) =>
  (result.tables[table] ?? [])
    .filter((row) => row.machine === machine)
    .map((row) => columns.map((column) => row[column]));

for (const fidelity of FIDELITIES) {
  test(`as it comes, ${fidelity}`, async () => {
    const result = await passing(fidelity);
    assert.deepEqual(result.sim.leaks, []);
    matchesGolden(`mixed-list.${fidelity}`, result);
  });

  test(`one page, GPU memory, one page: I/O virtual and bus addresses in one list, ${fidelity}`, async () => {
    const result = await passing(fidelity, 'hostPages=1');
    const [first, bus, last] = rowsOf(result, 'outList', 'switch', 'kind', 'address', 'length');
    const [, gpu] = rowsOf(result, 'inList', 'switch', 'memory', 'address', 'length');
    assert.deepEqual([first?.[0], first?.[2]], ['IOVA', 4096]);
    assert.deepEqual(bus, ['bus', gpu?.[1], 65536]);
    assert.deepEqual(last, ['IOVA', `0x${(Number(first?.[1]) + 4096).toString(16)}`, 4096]);
  });
}

test('both fidelities tell the same but for time', async () => {
  const [timed, functional] = [await passing('timed'), await passing('functional')];
  const withoutTime = (rows: readonly TableRow[] = []): readonly TableRow[] =>
    rows.map((row) => ('latency' in row ? { ...row, latency: null } : row));
  assert.deepEqual(timed.checks, functional.checks);
  for (const [name, rows] of Object.entries(timed.tables)) {
    assert.deepEqual(withoutTime(rows), withoutTime(functional.tables[name]), name);
  }
  const latencies = (timed.tables.commands ?? []).map(({ latency }) => Number(latency) > 0);
  assert.deepEqual(latencies, [true, true, true, false]);
});

test('map types, ways and refusals are those of the topology', async () => {
  const { tables } = await passing('functional', 'gpuBytes=128KiB', 'hostPages=3');
  const host = 6 * 4096;
  assert.deepEqual(
    (tables.commands ?? []).map(({ machine, mapType, refusal, upstream }) => [
      ...[machine, mapType, refusal, upstream],
    ]),
    [
      ['switch', 'BUS_ADDR', null, host],
      ['offset', 'BUS_ADDR', null, host],
      ['redirect', 'THRU_HOST_BRIDGE', null, host + 2 * 131_072],
      ['refused', null, 'EREMOTEIO', 0],
    ],
  );
});

test('a bus with addresses of its own: the list says which', async () => {
  const result = await passing('functional', 'hostPages=1');
  const [, gpu] = rowsOf(result, 'inList', 'offset', 'address');
  const [, bus] = rowsOf(result, 'outList', 'offset', 'kind', 'address');
  assert.deepEqual(bus, ['bus', `0x${(Number(gpu?.[0]) + 2 ** 36).toString(16)}`]);
});

test('a wrong address is misrouted, faults or is refused, and a read does not tell the drive', async () => {
  const { tables } = await passing('timed');
  const fault = 'cause 15, write page fault, from 03:00.0';
  assert.deepEqual(
    (tables.wrongUse ?? []).map((row) => [
      ...[row.machine, row.happened, row.landed, row.read, row.write],
      ...[row.fault, row.recordedBy, row.checker],
    ]),
    [
      ['switch', 'misrouted', 'GPU', 'Success', 'Success', null, null, null],
      ['offset', 'detour', 'GPU', 'Success', 'Success', null, null, null],
      ...[null, 'after-unmap', null].map((checker) => [
        ...['redirect', 'faulted', null, 'Success', 'DataTransferError', fault],
        ...['IOMMU fault queue', checker],
      ]),
      ['refused', 'refused', null, null, null, 'EREMOTEIO', 'map()', null],
      [
        ...['refused', 'refused', null, 'Success', 'DataTransferError'],
        ...['peer-refused, from 01:00.0', 'rc0.port0', null],
      ],
    ],
  );
});

test('PRPs and SGLs describe the same list; a gap needs an SGL', async () => {
  const kinds = async (...sets: string[]): Promise<unknown[]> =>
    ((await passing('functional', ...sets)).tables.commands ?? []).map((row) => row.descriptors);
  assert.deepEqual(await kinds(), ['PRP', 'PRP', 'SGL', null], 'one range of 80 KiB is an SGL');
  assert.deepEqual(await kinds('descriptors=prp'), ['PRP', 'PRP', 'PRP', null]);
  assert.deepEqual(await kinds('descriptors=sgl'), ['SGL', 'SGL', 'SGL', null]);
  assert.deepEqual(await kinds('gpuBytes=512'), ['SGL', 'SGL', 'SGL', null]);
  assert.deepEqual(await kinds('gpuBytes=5632', 'hostPages=1'), ['SGL', 'SGL', 'SGL', null]);
});

test('the ends of the parameters, and what does not fit', async () => {
  await passing('timed', 'gpuBytes=512KiB', 'hostPages=32');
  await passing('timed', 'gpuBytes=512', 'hostPages=1');
  for (const [sets, line] of [
    [['gpuBytes=1000'], /^emu: gpuBytes: expected a multiple of 512, got 1000/],
    [['gpuBytes=512', 'descriptors=prp'], /^emu: gpuBytes: expected a multiple of 4096, got 512/],
    [['hostPages=33'], /^emu: hostPages: /],
  ] as const) {
    const args = sets.flatMap((set) => ['--set', set]);
    const { code, stdout, stderr } = await runEmu('run', SCENARIO, ...args);
    assert.deepEqual([code, stdout], [2, ''], stderr);
    assert.match(stderr, line);
  }
});

test('the same seed gives the same run, another seed another', async () => {
  const hash = async (seed: string): Promise<string> => {
    const { stdout } = await runEmu('run', SCENARIO, '--json', '--seed', seed);
    return resultOf(stdout).traceHash;
  };
  assert.equal(await hash('3'), await hash('3'));
  assert.notEqual(await hash('3'), await hash('4'));
});
