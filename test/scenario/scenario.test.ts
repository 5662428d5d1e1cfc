/**
 * defineScenario, and what a running scenario is handed.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ScenarioRun } from '#emu/cli/scenario-run.ts';
import { machine } from '#emu/host/machine.ts';
import { installNodeEventLoop } from '#emu/observe/event-loop.ts';
import { param } from '#emu/scenario/param.ts';
import { defineScenario } from '#emu/scenario/scenario.ts';
import { throwsCode } from '#test/support/usage-error.ts';

installNodeEventLoop();
const SETTINGS = { seed: 9, fidelity: 'functional' } as const;
const plan = () => machine({ rootPorts: [{}] });

test('a scenario needs its three parts', () => {
  const whole = { summary: 'x', topology: plan, run: () => {} };
  assert.equal(defineScenario(whole).summary, 'x');
  for (const part of ['summary', 'topology', 'run']) {
    const broken = { ...whole, [part]: undefined };
    throwsCode('SCENARIO', new RegExp(`'${part}' is missing`), () => defineScenario(broken));
  }
});

test('topology and run get parameters, seed and fidelity', async () => {
  const seen: unknown[] = [];
  const scenario = defineScenario({
    summary: 'x',
    params: { n: param.int(1, 'n'), mode: param.choice(['a', 'b'], 'a', 'mode') },
    topology(p, settings) {
      const mode: 'a' | 'b' = p.mode;
      seen.push([p.n, mode, settings.seed, settings.fidelity]);
      return plan();
    },
    run(context) {
      const { n, mode } = context.params;
      seen.push([n, mode, context.seed, context.fidelity, context.machine.fabric.fidelity]);
    },
  });
  await new ScenarioRun('x').execute(scenario, SETTINGS, ['n=5']);
  assert.deepEqual(seen, [
    [5, 'a', 9, 'functional'],
    [5, 'a', 9, 'functional', 'functional'],
  ]);
});

test('several machines go by name, sum up and can be released early', async () => {
  const run = new ScenarioRun('x');
  const scenario = defineScenario({
    summary: 'x',
    topology: () => ({ b: plan(), a: plan() }),
    run(context) {
      const { machines, release } = context;
      assert.deepEqual(Object.keys(machines), ['b', 'a']);
      assert.equal(machines.a?.name, 'a');
      throwsCode('SCENARIO', /expected one machine, got b, a/, () => context.machine);
      if (machines.b) release(machines.b);
      machines.a?.kernel.pending('left open');
    },
  });
  await run.execute(scenario, { ...SETTINGS, fidelity: 'timed' }, []);
  const { sim, traceHash } = run.report();
  assert.deepEqual(sim.leaks, ['a: left open']);
  assert.ok(sim.timeNs > 0 && sim.events > 0);
  assert.match(traceHash, /^[0-9a-f]{16}$/);
});

test('random streams depend on seed and name', async () => {
  const draws: number[] = [];
  const scenario = defineScenario({
    summary: 'x',
    topology: plan,
    run: ({ random }) => {
      draws.push(random('a').u32(), random('a').u32(), random('b').u32());
    },
  });
  await new ScenarioRun('x').execute(scenario, SETTINGS, []);
  await new ScenarioRun('x').execute(scenario, { ...SETTINGS, seed: 10 }, []);
  const [first, again, other, next] = draws;
  assert.equal(first, again);
  assert.notEqual(first, other);
  assert.notEqual(first, next);
});
