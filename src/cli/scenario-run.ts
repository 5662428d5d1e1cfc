/**
 * One run of a scenario: parameters, machines, the scenario's own code, and the report at any moment.
 * @module
 */
import { performance } from 'node:perf_hooks';
import { EmuError, usage } from '#emu/base/errors.ts';
import { type Machine, MachinePlan } from '#emu/host/machine.ts';
import type { ParamValue } from '#emu/scenario/param.ts';
import { readParams } from '#emu/scenario/param-values.ts';
import { Recorder } from '#emu/scenario/recorder.ts';
import type { ResultError, ScenarioResult, SimTotals } from '#emu/scenario/result.ts';
import type { RunContext, RunSettings, Scenario, Topology } from '#emu/scenario/scenario.ts';
import { Random } from '#emu/sim/random.ts';
import { checkInputFiles } from './input-files.ts';
import { formatNumber, formatTimeNs } from './quantity.ts';
import { DEFAULT_SETTINGS } from './run-options.ts';
import { combineDigests } from './trace-digest.ts';

/** What a run tells people while it goes on. */
export interface RunListener {
  log(message: string): void;
  progress(done: number, total: number, label: string): void;
  /** A machine is there, not booted yet: the moment to observe it. */
  built(machine: Machine): void;
}

const SILENT: RunListener = { log: () => {}, progress: () => {}, built: () => {} };
/** Most that is simulated after a machine's end, so that what is in flight arrives. */
const LAST_SLICES = 128;
const SLICE_EVENTS = 8192;

export class ScenarioRun {
  readonly recorder = new Recorder();
  readonly name: string;
  readonly #listener: RunListener;
  readonly #startMs = performance.now();
  readonly #machines = new Map<string, Machine>();
  /** Where each machine's clock stood at its end, ps. */
  readonly #ended = new Map<Machine, number>();
  #settings: RunSettings = DEFAULT_SETTINGS;
  #values: Readonly<Record<string, ParamValue>> = {};

  constructor(name: string, listener: Partial<RunListener> = {}) {
    this.name = name;
    this.#listener = { ...SILENT, ...listener };
  }

  /** Runs `scenario` to its end. @throws USAGE, or what the scenario or the simulation throws */
  async execute(
    scenario: Scenario,
    settings: RunSettings,
    assignments: readonly string[],
  ): Promise<void> {
    this.#settings = settings;
    this.#values = readParams(scenario.params, assignments);
    checkInputFiles(scenario.params, this.#values);
    const plans = plansOf(scenario.topology(this.#values, this.#settings));
    for (const [name, plan] of Object.entries(plans)) {
      const machine = plan.build({ name, checker: true, ...this.#settings });
      this.#machines.set(name, machine);
      this.#listener.built(machine);
    }
    for (const machine of this.#machines.values()) await machine.boot();
    await scenario.run(this.#context());
    for (const machine of this.#machines.values()) this.#end(machine);
  }

  /** Where the simulations are, in a few words. */
  get position(): string {
    const { timeNs, events } = this.#totals();
    return `${formatTimeNs(timeNs)} simulated, ${formatNumber(events)} events`;
  }

  /** The result as it stands now. */
  report(error?: ResultError): ScenarioResult {
    const { checks, metrics, tables } = this.recorder;
    const { seed, fidelity } = this.#settings;
    return {
      schema: 1,
      scenario: this.name,
      seed,
      fidelity,
      params: this.#values,
      ok: error === undefined && checks.every((check) => check.ok),
      checks,
      metrics,
      tables,
      sim: this.#totals(),
      wall: { ms: Math.round(performance.now() - this.#startMs) },
      traceHash: this.#traceHash(),
      ...(error === undefined ? {} : { error }),
    };
  }

  /** Frees the machines; the report stays. */
  dispose(): void {
    for (const machine of this.#machines.values()) if (!this.#ended.has(machine)) machine.dispose();
  }

  /** Lets what is in flight arrive, so that only what never completes is left, and frees the machine. */
  #end(machine: Machine): void {
    if (this.#ended.has(machine)) return;
    const { kernel } = machine;
    const timePs = kernel.now;
    for (let i = 0; i < LAST_SLICES && kernel.runSlice(SLICE_EVENTS); i++);
    this.#ended.set(machine, timePs);
    machine.dispose();
  }

  #context(): RunContext {
    const { recorder } = this;
    const listener = this.#listener;
    const machines = Object.fromEntries(this.#machines);
    const [only] = this.#machines.values();
    const { seed } = this.#settings;
    return {
      ...this.#settings,
      params: this.#values,
      machines,
      get machine() {
        if (only !== undefined && Object.keys(machines).length === 1) return only;
        const names = Object.keys(machines).join(', ');
        throw new EmuError('SCENARIO', `context.machine: expected one machine, got ${names}`);
      },
      release: (machine) => this.#end(machine),
      check: recorder.check,
      metric: (name, value, unit) => recorder.metric(name, value, unit),
      table: (name, rows, units) => recorder.table(name, rows, units),
      log: (message) => listener.log(message),
      progress: (done, total, label = '') => listener.progress(done, total, label),
      random: (name) => new Random(seed, `scenario.${name}`),
    };
  }

  #totals(): SimTotals {
    const timed = this.#settings.fidelity === 'timed';
    let timePs = 0;
    let events = 0;
    let tlps = 0;
    let hops = 0;
    const leaks: string[] = [];
    for (const [name, machine] of this.#machines) {
      const { kernel, fabric } = machine;
      timePs += this.#ended.get(machine) ?? kernel.now;
      events += kernel.events;
      tlps += fabric.delivered;
      hops += fabric.hops;
      leaks.push(...kernel.outstanding().map((pending) => `${name}: ${pending}`));
    }
    return {
      timeNs: timePs / 1000,
      events,
      tlps: timed ? tlps : null,
      hops: timed ? hops : null,
      leaks,
    };
  }

  #traceHash(): string {
    const digests = [...this.#machines].map(([name, machine]): [string, string] => [
      name,
      machine.fabric.traceHash.digest,
    ]);
    return combineDigests(Object.fromEntries(digests));
  }
}

/** Plans by name, whichever form the topology has. */
function plansOf(topology: Topology): Readonly<Record<string, MachinePlan>> {
  if (topology instanceof MachinePlan) return { machine: topology };
  const plans: readonly unknown[] =
    typeof topology === 'object' && topology !== null ? Object.values(topology) : [];
  if (plans.length > 0 && plans.every((plan) => plan instanceof MachinePlan)) return topology;
  const got = plans.length > 0 ? 'an object of something else' : String(topology);
  throw usage(`topology: expected machine(...) or several by name, got ${got}`, {
    key: 'topology',
  });
}
