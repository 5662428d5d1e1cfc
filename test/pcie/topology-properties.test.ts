/**
 * Random trees under random requests, against an oracle that knows only what configuration reads give: each request
 * reaches the one function that decodes it or is refused, and leaves nothing behind. [PCIE] 2.2.4, 6.12
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { MachinePlan } from '#emu/host/machine.ts';
import { largestMachine, randomMachine, Tape } from '#test/support/random-topology.ts';
import { type Request, runTopology, type TopologyRun } from '#test/support/topology-run.ts';

const FIDELITIES = ['timed', 'functional'] as const;
const SEED = 20260401;

const show = ({ from, op, address, sizeBytes, expected }: Request): string =>
  `${from} ${op} ${sizeBytes} at 0x${address.toString(16)}, expected ${expected.verdict} ${expected.target}`;

/** Path of what the oracle says takes a request; null for nothing. */
function pathOf({ machine }: TopologyRun, target: number | 'memory' | null): string | null {
  if (target === null) return null;
  if (target === 'memory') return machine.root.path;
  const node = machine.pci.nodes.find(({ bdf }) => bdf === target);
  return node?.path ?? 'nobody';
}

/** Where a request arrived must be one place, and the right one, with all of its bytes. */
function checkPlace(
  run: TopologyRun,
  request: Request,
  bytesAt: ReadonlyMap<string, number>,
): void {
  const { expected } = request;
  const path = pathOf(run, expected.verdict === 'delivered' ? expected.target : null);
  // Functional fidelity asks for no more once an answer is lost.
  const bytes = (arrived: number): number => (expected.isAnswered ? arrived : 0);
  const arrived = [...bytesAt].map(([at, some]) => `${bytes(some)} at ${at}`);
  const wanted = path === null ? [] : [`${bytes(request.sizeBytes)} at ${path}`];
  assert.deepEqual(arrived, wanted, show(request));
}

/** Who asked is told once, unless it is a store of the CPU, and the truth. */
function checkAnswer({ from, op, expected, status }: Request, told: readonly number[]): void {
  const isStore = from === 'cpu' && op === 'write';
  const what = show({ from, op, expected, status, address: 0, sizeBytes: 0 });
  assert.equal(told.length, isStore ? 0 : 1, `${what}: times told`);
  if (status !== null) assert.equal(told[0], status, what);
  const isRefused = from === 'cpu' && op === 'read' && expected.verdict !== 'delivered';
  if (isRefused) assert.equal(told[0], 0xffff_ffff, what);
}

function checkRequests(run: TopologyRun): void {
  for (const [i, request] of run.requests.entries()) {
    const outcome = run.outcomes[i];
    if (outcome === undefined) continue;
    if (request.op !== 'config') checkPlace(run, request, outcome.bytesAt);
    checkAnswer(request, outcome.told);
  }
}

function checkAtRest({ machine, creditsMissing, watch, wrongBytes }: TopologyRun): void {
  assert.deepEqual(watch.faults, []);
  assert.equal(watch.unanswered, 0, 'requests without an answer');
  assert.deepEqual(creditsMissing, []);
  assert.equal(machine.fabric.tlps.inUse, 0, 'TLP records in use');
  const reading = [...machine.endpoints].filter(([, one]) => one.outstandingReads > 0);
  assert.deepEqual(
    reading.map(([name]) => name),
    [],
  );
  assert.deepEqual(wrongBytes, []);
}

/** How often each kind of ending was seen, so that the test cannot become empty unnoticed. */
const seen = new Map<string, number>();

function note({ requests }: TopologyRun): void {
  for (const { expected, status } of requests) {
    const { verdict, target, isAnswered } = expected;
    const what = target === 'memory' ? 'memory' : isAnswered ? verdict : 'no way home';
    for (const key of [what, `status ${status}`]) seen.set(key, (seen.get(key) ?? 0) + 1);
  }
}

function check(plan: (tape: Tape) => MachinePlan, values: readonly number[]): void {
  const results: string[] = [];
  for (const fidelity of FIDELITIES) {
    // The same numbers make the same machine and the same requests.
    const tape = new Tape(values);
    const run = runTopology(plan(tape), tape, fidelity);
    try {
      checkRequests(run);
      checkAtRest(run);
      note(run);
      results.push(`${run.digest} ${run.outcomes.map(({ told }) => told.join()).join(' ')}`);
    } finally {
      run.machine.dispose();
    }
  }
  assert.equal(results[0], results[1], 'both fidelities');
}

test('each request reaches the function that decodes it, or is refused, and nothing is left behind', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(0xffff), { minLength: 100, maxLength: 1200, size: 'max' }),
      (values) => check(randomMachine, values),
    ),
    { numRuns: 30, seed: SEED, includeErrorInReport: true, interruptAfterTimeLimit: 12_000 },
  );
});

test('64 devices at all of five levels', () => {
  const values = Array.from({ length: 600 }, (_, i) => Math.imul(i + 1, 2_654_435_761) >>> 16);
  check(largestMachine, values);
  assert.equal(largestMachine(new Tape(values)).spec.rootPorts?.length, 2);
});
