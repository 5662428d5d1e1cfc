/**
 * `emu bench`: runs the benchmark suite, or one benchmark of it.
 * @module
 */

import { usage } from '#emu/base/errors.ts';
import { nearestName } from '#emu/base/nearest-name.ts';
import type { Bench, BenchResult } from './bench/bench.ts';
import { dmaBench } from './bench/dma-bench.ts';
import { fabricBench } from './bench/fabric-bench.ts';
import { kernelBench } from './bench/kernel-bench.ts';
import { timingBench } from './bench/timing-bench.ts';
import { colors as pc } from './colors.ts';
import { ExitCode } from './exit-code.ts';
import { ProgressLine } from './progress-line.ts';
import { formatQuantity } from './quantity.ts';
import { checkLines } from './render-result.ts';
import type { Terminal } from './terminal.ts';
import { renderTiming } from './timing/render-timing.ts';

const BENCHES: readonly Bench[] = [kernelBench, fabricBench, dmaBench, timingBench];

/** Runs the benchmarks. @throws USAGE for an unknown name */
export async function benchCommand(
  name: string | undefined,
  json: boolean,
  terminal: Terminal,
): Promise<ExitCode> {
  const results: BenchResult[] = [];
  for (const bench of chosen(name)) {
    const line = new ProgressLine(terminal, () => `bench ${bench.name}: ${bench.summary} ...`);
    line.start();
    const result = await bench.run();
    line.stop();
    results.push(result);
    if (!json) terminal.out(render(result));
  }
  const ok = results.every((result) => result.ok);
  if (json)
    terminal.out(`${JSON.stringify(name === undefined ? { ok, benches: results } : results[0])}\n`);
  return ok ? ExitCode.Passed : ExitCode.CheckFailed;
}

function chosen(name: string | undefined): readonly Bench[] {
  if (name === undefined) return BENCHES;
  const found = BENCHES.filter((bench) => bench.name === name);
  if (found.length > 0) return found;
  const names = BENCHES.map((bench) => bench.name);
  const nearest = nearestName(name, names);
  const meant = nearest === null ? '' : `, did you mean '${nearest}'?`;
  throw usage(`bench: expected one of ${names.join(', ')}, got '${name}'${meant}`, { got: name });
}

function render({ bench, metrics, checks, rows }: BenchResult): string {
  if (rows !== undefined) return renderTiming(`bench ${bench}`, rows);
  const width = Math.max(...Object.keys(metrics).map((name) => name.length));
  const lines = Object.entries(metrics).map(
    ([name, { value, unit }]) => `  ${name.padEnd(width)}  ${formatQuantity(value, unit)}`,
  );
  return `${pc.bold(`bench ${bench}`)}\n${lines.join('\n')}\n${checkLines(checks)}\n`;
}
