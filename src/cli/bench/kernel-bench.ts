/**
 * `emu bench kernel`: the event queue alone, and with the kernel's dispatch.
 * @module
 */
import { Recorder } from '#emu/scenario/recorder.ts';
import type { Bench, BenchResult } from './bench.ts';
import { DispatchLoop, HoldLoop } from './hold-loop.ts';
import { measure, perSecond } from './measure.ts';

const HOLDS_PER_ROUND = 3_000_000;
const EVENTS_PER_ROUND = 2_000_000;
/** An event with its dispatch to one of four classes costs 1.9 to 2.3 holds of 64. */
const MAX_HOLDS_PER_EVENT = 3.5;
/** Cost of a hold with 1,024 pending, in holds with 64: 1.2 to 1.5. */
const MAX_SIZE_FACTOR = 2.2;

export const kernelBench: Bench = {
  name: 'kernel',
  summary: 'event queue and dispatch, events a second',
  run,
};

async function run(): Promise<BenchResult> {
  const recorder = new Recorder();
  const hold64 = await holdCost(64);
  const hold1k = await holdCost(1024);
  const dispatch64 = await dispatchCost(64);
  const dispatch1k = await dispatchCost(1024);
  const costs = { hold64, hold1k, dispatch64, dispatch1k };
  for (const [name, ns] of Object.entries(costs)) recorder.metric(name, perSecond(ns), '1/s');
  recorder.metric('holdsPerEvent', dispatch64 / hold64, '');
  recorder.check.atMost('holds per event', dispatch64 / hold64, MAX_HOLDS_PER_EVENT);
  recorder.check.atMost('1,024 pending against 64', hold1k / hold64, MAX_SIZE_FACTOR);
  const { metrics, checks } = recorder;
  return { schema: 1, bench: 'kernel', ok: checks.every(({ ok }) => ok), metrics, checks };
}

/** CPU time of a hold with `pending` events queued, ns. */
export async function holdCost(pending: number): Promise<number> {
  const loop = new HoldLoop(pending);
  return (await measure(() => loop.run(HOLDS_PER_ROUND))).nsPerOperation;
}

async function dispatchCost(pending: number): Promise<number> {
  const loop = new DispatchLoop(pending);
  return (await measure(() => loop.run(EVENTS_PER_ROUND))).nsPerOperation;
}
