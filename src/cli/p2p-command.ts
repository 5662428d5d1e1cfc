/**
 * `emu p2p explain FILE A B`: how one device of a scenario's machine reaches another's memory, and whether it does.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { nearestName } from '#emu/base/nearest-name.ts';
import { type Machine, MachinePlan } from '#emu/host/machine.ts';
import { readParams } from '#emu/scenario/param-values.ts';
import type { Scenario } from '#emu/scenario/scenario.ts';
import { undisturbed } from './disturbance.ts';
import { ExitCode } from './exit-code.ts';
import { describeFailure, failureText } from './failure.ts';
import { checkInputFiles } from './input-files.ts';
import { loadScenario, locateScenario } from './load-scenario.ts';
import { type P2pReport, p2pReport } from './p2p-report.ts';
import { renderP2p } from './render-p2p.ts';
import { DEFAULT_SETTINGS } from './run-options.ts';
import { shownPath } from './shown-path.ts';
import type { Terminal } from './terminal.ts';

/** Options of `emu p2p` as typed. */
export interface P2pOptions {
  readonly action: string | undefined;
  readonly file: string | undefined;
  readonly requester: string | undefined;
  readonly provider: string | undefined;
  readonly machine: string | undefined;
  readonly set: readonly string[];
  readonly json: boolean;
}

/** Runs the command; nothing that the scenario or its user did wrong escapes as an exception. */
export async function p2pCommand(options: P2pOptions, terminal: Terminal): Promise<ExitCode> {
  const { json } = options;
  let located: string | null = null;
  try {
    const asked = checkOptions(options);
    located = locateScenario(asked.file);
    const reports = await undisturbed(explainAll(located, asked));
    const ok = reports.every((report) => report.ok);
    if (!json) terminal.out(reports.map(renderP2p).join('\n'));
    else terminal.out(`${JSON.stringify(jsonOf(reports, ok))}\n`);
    return ok ? ExitCode.Passed : ExitCode.CheckFailed;
  } catch (thrown) {
    const failure = describeFailure(thrown, located);
    if (json) terminal.out(`${JSON.stringify(failedReport(options, failure.error))}\n`);
    terminal.err(failureText(failure, thrown));
    return failure.exitCode;
  }
}

/** A report, or several under one roof. */
const jsonOf = (reports: readonly P2pReport[], ok: boolean): object =>
  reports.length === 1 ? reports[0]! : { schema: 1, file: reports[0]?.file, ok, machines: reports };

const failedReport = ({ file, machine, requester, provider }: P2pOptions, error: object) => ({
  schema: 1,
  file,
  machine,
  requester,
  provider,
  ok: false,
  error,
});

interface Asked {
  readonly file: string;
  readonly requester: string;
  readonly provider: string;
  readonly machine: string | undefined;
  readonly set: readonly string[];
}

/** @throws USAGE */
function checkOptions({ action, file, requester, provider, machine, set }: P2pOptions): Asked {
  if (action !== 'explain') throw usage(`p2p: expected explain, got ${shown(action)}`);
  if (file === undefined || requester === undefined || provider === undefined) {
    throw usage(`p2p explain: expected a scenario file and two devices: ${USAGE}`);
  }
  if (requester === provider) {
    throw usage(`p2p explain: expected two devices, got '${requester}' twice`);
  }
  return { file, requester, provider, machine, set };
}

const USAGE = 'emu p2p explain FILE A B';
const shown = (text: string | undefined): string => (text === undefined ? 'nothing' : `'${text}'`);

/** One report for each machine that is asked for and has both devices. */
async function explainAll(file: string, asked: Asked): Promise<P2pReport[]> {
  const { scenario } = await loadScenario(file);
  const plans = plansOf(scenario, asked);
  const reports: P2pReport[] = [];
  let missing: Error | null = null;
  for (const [name, plan] of Object.entries(plans)) {
    const machine = plan.build({ name, ...DEFAULT_SETTINGS });
    try {
      missing = missingDevice(machine, asked) ?? missing;
      if (missingDevice(machine, asked) !== null) continue;
      await machine.boot();
      await enableVfs(machine, asked);
      reports.push(await p2pReport(machine, shownPath(file), asked.requester, asked.provider));
    } finally {
      machine.dispose();
    }
  }
  if (reports.length === 0 && missing !== null) throw missing;
  return reports;
}

/** Turns on the virtual functions that are asked for, with those before them. */
async function enableVfs(machine: Machine, { requester, provider }: Asked): Promise<void> {
  for (const [name, { sriov }] of machine.endpoints) {
    const vfs = sriov?.vfs ?? [];
    const wanted = [requester, provider].map((vf) => vfs.indexOf(machine.endpoint(vf)) + 1);
    const count = Math.max(...wanted);
    if (count > 0) await machine.setVfs(name, count);
  }
}

/** The machines that are asked for. @throws USAGE */
function plansOf(
  scenario: Scenario,
  { machine, set }: Asked,
): Readonly<Record<string, MachinePlan>> {
  const values = readParams(scenario.params, set);
  checkInputFiles(scenario.params, values);
  const topology = scenario.topology(values, DEFAULT_SETTINGS);
  const plans = topology instanceof MachinePlan ? { machine: topology } : topology;
  if (Object.keys(plans).length === 0) throw usage('p2p explain: the scenario has no machine');
  if (machine === undefined) return plans;
  const chosen = Object.entries(plans).filter(([name]) => name === machine);
  if (chosen.length === 0) throw oneOf('--machine', Object.keys(plans), machine);
  return Object.fromEntries(chosen);
}

/** What to tell of a machine that lacks a device, or null. */
function missingDevice({ endpoints, name }: Machine, { requester, provider }: Asked) {
  const unknown = [requester, provider].find((device) => !endpoints.has(device));
  if (unknown === undefined) return null;
  return oneOf(`device of machine ${name}`, [...endpoints.keys()], unknown);
}

function oneOf(what: string, names: readonly string[], got: string): Error {
  const nearest = nearestName(got, names);
  const meant = nearest === null ? '' : `, did you mean '${nearest}'?`;
  const known = names.length === 0 ? 'none' : `one of ${names.join(', ')}`;
  return usage(`${what}: expected ${known}, got '${got}'${meant}`, { got });
}
