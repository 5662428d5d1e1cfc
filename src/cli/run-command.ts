/**
 * `emu run FILE`: loads a scenario, runs it and reports, whatever happens on the way.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { undisturbed } from './disturbance.ts';
import { ExitCode } from './exit-code.ts';
import { describeFailure, failureText } from './failure.ts';
import {
  type LoadedScenario,
  loadScenario,
  locateScenario,
  scenarioName,
} from './load-scenario.ts';
import { ProgressLine } from './progress-line.ts';
import { renderParams } from './render-params.ts';
import { renderResult } from './render-result.ts';
import { type RunOptions, readSettings } from './run-options.ts';
import { ScenarioRun } from './scenario-run.ts';
import type { Terminal } from './terminal.ts';

/** Runs the command; nothing that the scenario or its user did wrong escapes as an exception. */
export async function runCommand(options: RunOptions, terminal: Terminal): Promise<ExitCode> {
  const session = new RunSession(options, terminal);
  try {
    return await undisturbed(session.execute());
  } catch (thrown) {
    return session.fail(thrown);
  } finally {
    session.close();
  }
}

class RunSession {
  readonly #options: RunOptions;
  readonly #terminal: Terminal;
  readonly #run: ScenarioRun;
  readonly #line: ProgressLine;
  #file: string | null = null;
  #stage = '';

  constructor(options: RunOptions, terminal: Terminal) {
    this.#options = options;
    this.#terminal = terminal;
    this.#run = new ScenarioRun(scenarioName(options.file ?? ''), {
      log: (message) => this.#log(message),
      progress: (done, total, label) => {
        this.#stage = `${label} ${Math.floor((100 * done) / Math.max(total, 1))}%  `;
      },
    });
    this.#line = new ProgressLine(terminal, () => `${this.#stage}${this.#run.position}`);
  }

  async execute(): Promise<ExitCode> {
    const loaded = await this.#load();
    if (this.#options.help) {
      this.#terminal.out(renderParams(loaded));
      return ExitCode.Passed;
    }
    const settings = readSettings(this.#options);
    this.#line.start();
    await this.#run.execute(loaded.scenario, settings, this.#options.set);
    return this.#finish();
  }

  /** Reports what ended the run. */
  fail(thrown: unknown): ExitCode {
    this.#line.stop();
    const failure = describeFailure(thrown, this.#file);
    if (this.#options.json) this.#printJson(this.#run.report(failure.error));
    this.#terminal.err(failureText(failure, thrown));
    return failure.exitCode;
  }

  close(): void {
    this.#line.stop();
    this.#run.dispose();
  }

  #load(): Promise<LoadedScenario> {
    const { file } = this.#options;
    if (file === undefined) throw usage('run: expected a scenario file: emu run FILE');
    this.#file = locateScenario(file);
    return loadScenario(this.#file);
  }

  #finish(): ExitCode {
    this.#line.stop();
    const result = this.#run.report();
    if (this.#options.json) this.#printJson(result);
    else this.#terminal.out(renderResult(result, (name) => this.#run.recorder.unitsOf(name)));
    const { leaks } = result.sim;
    if (leaks.length > 0) this.#terminal.err(`emu: never completed: ${leaks.join(', ')}\n`);
    return result.ok ? ExitCode.Passed : ExitCode.CheckFailed;
  }

  #printJson(result: object): void {
    this.#terminal.out(`${JSON.stringify(result)}\n`);
  }

  #log(message: string): void {
    this.#line.clear();
    this.#terminal.err(`${message}\n`);
  }
}
