/**
 * Turns whatever was thrown into what the user is told: an exit code, an error object and one line.
 * @module
 */
import process from 'node:process';
import { EmuError } from '#emu/base/errors.ts';
import type { ResultError } from '#emu/scenario/result.ts';
import { Interrupted } from './disturbance.ts';
import { errorSite } from './error-site.ts';
import { ExitCode } from './exit-code.ts';
import { shownPath } from './shown-path.ts';

export interface Failure {
  readonly exitCode: ExitCode;
  readonly error: ResultError;
  /** One line for stderr, without its end. */
  readonly line: string;
}

const INTERRUPTED: Failure = {
  exitCode: ExitCode.Interrupted,
  error: { code: 'INTERRUPTED', message: 'interrupted', detail: {} },
  line: 'emu: interrupted',
};

/** Judges `thrown`; `scenarioFile` is the absolute path of the scenario that ran, if one did. */
export function describeFailure(thrown: unknown, scenarioFile: string | null = null): Failure {
  if (thrown instanceof Interrupted) return INTERRUPTED;
  const code = thrown instanceof EmuError ? thrown.code : 'SCENARIO';
  const message = oneLine(messageOf(thrown));
  const detail = thrown instanceof EmuError ? thrown.detail : {};
  if (code === 'USAGE') {
    return { exitCode: ExitCode.Usage, error: { code, message, detail }, line: `emu: ${message}` };
  }
  const site = scenarioFile === null ? null : scenarioSite(thrown, scenarioFile);
  return {
    exitCode: ExitCode.Failed,
    error: { code, message, detail: site === null ? detail : { ...detail, at: site } },
    line: `emu: ${site === null ? '' : `${site}: `}${code}: ${message}${context(thrown)}`,
  };
}

/** Whether the user asked for stacks. */
const wantsStack = (): boolean => (process.env.EMU_DEBUG ?? '') !== '';

/** What stderr gets: the one line, and the stacks where EMU_DEBUG asks for them. */
export function failureText(failure: Failure, thrown: unknown): string {
  const lines = [failure.line];
  if (wantsStack()) {
    for (let current = thrown; current instanceof Error; current = current.cause) {
      lines.push(current.stack ?? current.message);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** The frame in the scenario, or its file alone when the error carries none. */
function scenarioSite(thrown: unknown, file: string): string {
  const site = errorSite(thrown, file) ?? file;
  return site.replace(file, shownPath(file));
}

function messageOf(thrown: unknown): string {
  if (thrown instanceof EmuError) return thrown.message;
  if (thrown instanceof Error) return `${thrown.name}: ${thrown.message}`;
  return `thrown: ${String(thrown)}`;
}

/** What the kernel added: where and when in the simulation it happened. */
function context(thrown: unknown): string {
  if (!(thrown instanceof EmuError)) return '';
  const { path, timePs } = thrown.detail;
  if (path === undefined || timePs === undefined) return '';
  return ` (in ${path} at ${Number(timePs) / 1000} ns)`;
}

const oneLine = (text: string): string => text.trim().replaceAll(/\s*\n\s*/g, ' ');
