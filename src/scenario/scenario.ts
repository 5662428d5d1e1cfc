/**
 * `defineScenario`: a script as an object that a runner can list, parametrise, build machines for and run.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { Machine, MachinePlan } from '#emu/host/machine.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { Random } from '#emu/sim/random.ts';
import type { ParamSet, ParamValues } from './param.ts';
import type { Check, ColumnUnits } from './recorder.ts';
import type { TableRow } from './result.ts';

/** One machine, or several by name. */
export type Topology = MachinePlan | Readonly<Record<string, MachinePlan>>;

/** What a topology may depend on besides the parameters. */
export interface RunSettings {
  readonly seed: number;
  readonly fidelity: Fidelity;
}

/** What a running scenario is handed. */
export interface RunContext<P extends ParamSet = ParamSet> extends RunSettings {
  /** The machine, booted. @throws SCENARIO when the topology names several. */
  readonly machine: Machine;
  /** All machines, booted, by name; a single one is called `machine`. */
  readonly machines: Readonly<Record<string, Machine>>;
  readonly params: ParamValues<P>;
  /** Ends a machine that is no longer needed and frees its memory; its totals stay in the result. */
  release(machine: Machine): void;
  readonly check: Check;
  /** Reports a value; null where the fidelity cannot tell. */
  metric(name: string, value: number | null, unit: string): void;
  /** Reports a table; `units` names the units of columns that have one (`B`, `B/s`, `ns`). */
  table(name: string, rows: readonly TableRow[], units?: ColumnUnits): void;
  /** Tells people something while it runs; not part of the result. */
  log(message: string): void;
  /** Tells how far it has come, for the progress line. */
  progress(done: number, total: number, label?: string): void;
  /** The seeded random stream of a name, independent of any machine's. */
  random(name: string): Random;
}

export interface ScenarioSpec<P extends ParamSet> {
  /** One line for `emu list`. */
  readonly summary: string;
  readonly params?: P;
  /** Plans the machines; @throws USAGE for parameters that do not fit together. */
  topology(params: ParamValues<P>, settings: RunSettings): Topology;
  run(context: RunContext<P>): Promise<void> | void;
}

/** What {@link defineScenario} returns and a scenario file exports by default. */
export class Scenario {
  readonly summary: string;
  readonly params: ParamSet;
  readonly topology: ScenarioSpec<ParamSet>['topology'];
  readonly run: ScenarioSpec<ParamSet>['run'];

  constructor(spec: ScenarioSpec<ParamSet>) {
    this.summary = spec.summary;
    this.params = spec.params ?? {};
    this.topology = spec.topology;
    this.run = spec.run;
  }
}

/** Makes a scenario; the parameters' types reach `topology` and `run`. @throws SCENARIO when a part is missing. */
export function defineScenario<P extends ParamSet = Record<never, never>>(
  spec: ScenarioSpec<P>,
): Scenario {
  const parts: readonly [name: string, found: boolean][] = [
    ['summary', typeof spec.summary === 'string'],
    ['topology', typeof spec.topology === 'function'],
    ['run', typeof spec.run === 'function'],
  ];
  for (const [name, found] of parts) {
    if (!found) throw new EmuError('SCENARIO', `defineScenario: '${name}' is missing`);
  }
  return new Scenario(spec);
}
