/**
 * `emu conform`: runs test vectors of a documented format, from anywhere, against this implementation.
 * @module
 */
import { readFileSync } from 'node:fs';
import { usage } from '#emu/base/errors.ts';
import { nearestName } from '#emu/scenario/nearest-name.ts';
import { colors as pc } from './colors.ts';
import { conformList, type VectorResult } from './conform/list-conformance.ts';
import { listVectors, type VectorOutcome, type VectorRange } from './conform/list-vectors.ts';
import { ExitCode } from './exit-code.ts';
import type { Terminal } from './terminal.ts';

/** Formats of vectors by name. */
const KINDS: Readonly<Record<string, (json: unknown) => readonly VectorResult[]>> = {
  lists: (json) => listVectors(json).map(conformList),
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
  const vectors = named(file, () => run(readJson(file)));
  const ok = vectors.every((vector) => vector.ok);
  if (json) terminal.out(`${JSON.stringify({ schema: 1, kind, file, ok, vectors })}\n`);
  else terminal.out(render(`conform ${kind} ${file}`, vectors));
  return ok ? ExitCode.Passed : ExitCode.CheckFailed;
}

function chosen(kind: string | undefined): (json: unknown) => readonly VectorResult[] {
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

function render(title: string, results: readonly VectorResult[]): string {
  const failed = results.filter((result) => !result.ok).length;
  const count = `${results.length} ${results.length === 1 ? 'vector' : 'vectors'}`;
  const verdict =
    failed === 0 ? pc.green(`passed: ${count}`) : pc.red(`FAILED: ${failed} of ${count}`);
  return `${[pc.bold(title), ...results.flatMap(lines), verdict].join('\n')}\n`;
}

function lines({ id, ok, expected, got, faults }: VectorResult): string[] {
  if (ok) return [`  ${pc.green('✓')} ${id}  ${pc.dim(text(got))}`];
  return [
    `  ${pc.red('✗')} ${id}`,
    `      expected ${text(expected)}`,
    `      got      ${text(got)}`,
    ...faults.map((fault) => `      ${fault}`),
  ];
}

const text = (outcome: VectorOutcome): string =>
  'error' in outcome
    ? outcome.error
    : `${outcome.ranges.map(rangeText).join(' ')}; ${outcome.iovaBytes} bytes of addresses`;

const rangeText = (range: VectorRange): string =>
  range.bus
    ? `{0x${range.addr.toString(16)}, ${range.len}, BUS}`
    : `{I+${range.iovaOffset}, ${range.len}}`;
