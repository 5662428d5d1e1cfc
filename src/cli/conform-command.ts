/**
 * `emu conform`: runs test vectors of a documented format, from anywhere, against this implementation.
 * @module
 */
import { readFileSync } from 'node:fs';
import { usage } from '#emu/base/errors.ts';
import { nearestName } from '#emu/base/nearest-name.ts';
import { colors as pc } from './colors.ts';
import { conformList, type VectorResult } from './conform/list-conformance.ts';
import { listVectors, type VectorOutcome, type VectorRange } from './conform/list-vectors.ts';
import { ExitCode } from './exit-code.ts';
import type { Terminal } from './terminal.ts';
import { renderTiming } from './timing/render-timing.ts';
import { allHold, timingResult } from './timing/timing-result.ts';
import { timingRows } from './timing/timing-row.ts';

/** What a file of vectors came to. */
interface Conformance {
  readonly ok: boolean;
  /** Fields of the JSON object. */
  readonly body: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** Formats of vectors by name: each runs a parsed file, whose `title` is for people. */
const KINDS: Readonly<Record<string, (json: unknown, title: string) => Conformance>> = {
  lists: (json, title) => {
    const vectors = listVectors(json).map(conformList);
    const ok = vectors.every((vector) => vector.ok);
    return { ok, body: { vectors }, text: renderLists(title, vectors) };
  },
  timing: (json, title) => {
    const rows = timingRows(json).map(timingResult);
    return { ok: allHold(rows), body: { rows }, text: renderTiming(title, rows) };
  },
};

/** Runs the vectors of a file. @throws USAGE for an unknown kind and for a file that is not of its format */
export async function conformCommand(
  kind: string | undefined,
  file: string | undefined,
  json: boolean,
  terminal: Terminal,
): Promise<ExitCode> {
  const run = chosen(kind);
  if (file === undefined) throw usage(`conform ${kind}: expected a file of vectors`);
  const { ok, body, text } = named(file, () => run(readJson(file), `conform ${kind} ${file}`));
  terminal.out(json ? `${JSON.stringify({ schema: 1, kind, file, ok, ...body })}\n` : text);
  return ok ? ExitCode.Passed : ExitCode.CheckFailed;
}

function chosen(kind: string | undefined): (json: unknown, title: string) => Conformance {
  const names = Object.keys(KINDS);
  if (kind === undefined) throw usage(`conform: expected a kind and a file (${names.join(', ')})`);
  const run = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (run) return run;
  const nearest = nearestName(kind, names);
  const meant = nearest === null ? '' : `, did you mean '${nearest}'?`;
  throw usage(`conform: expected one of ${names.join(', ')}, got '${kind}'${meant}`, { got: kind });
}

function readJson(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw usage(`expected a readable file of vectors, got ${codeOf(error)}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw usage(`expected JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Puts the file's name before what is wrong with it. */
function named<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'USAGE')) throw error;
    throw usage(`conform: ${file}: ${error.message}`, { file });
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : String(error);

function renderLists(title: string, results: readonly VectorResult[]): string {
  const failed = results.filter((result) => !result.ok).length;
  const count = `${results.length} ${results.length === 1 ? 'vector' : 'vectors'}`;
  const verdict =
    failed === 0 ? pc.green(`passed: ${count}`) : pc.red(`FAILED: ${failed} of ${count}`);
  return `${[pc.bold(title), ...results.flatMap(lines), verdict].join('\n')}\n`;
}

function lines({ id, ok, expected, got, faults }: VectorResult): string[] {
  if (ok) return [`  ${pc.green('✓')} ${id}  ${pc.dim(outcomeText(got))}`];
  return [
    `  ${pc.red('✗')} ${id}`,
    `      expected ${outcomeText(expected)}`,
    `      got      ${outcomeText(got)}`,
    ...faults.map((fault) => `      ${fault}`),
  ];
}

const outcomeText = (outcome: VectorOutcome): string =>
  'error' in outcome
    ? outcome.error
    : `${outcome.ranges.map(rangeText).join(' ') || 'no ranges'}; ${outcome.iovaBytes} bytes of addresses`;

const rangeText = (range: VectorRange): string =>
  range.bus
    ? `{0x${range.addr.toString(16)}, ${range.len}, BUS}`
    : `{I+${range.iovaOffset}, ${range.len}}`;
