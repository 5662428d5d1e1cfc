/**
 * A run's result as people read it: tables, metrics, checks and a closing line.
 * @module
 */

import type { ColumnUnits } from '#emu/scenario/recorder.ts';
import type { CheckResult, ScenarioResult, TableRow } from '#emu/scenario/result.ts';
import { colors as pc } from './colors.ts';
import { formatNumber, formatQuantity, formatTimeNs } from './quantity.ts';
import { renderTable } from './render-table.ts';

/** Text of a result; `unitsOf` names the units of a table's columns. */
export function renderResult(
  result: ScenarioResult,
  unitsOf: (table: string) => ColumnUnits,
): string {
  const tables = Object.entries(result.tables).map(
    ([name, rows]) => `${pc.bold(name)}\n${renderTable(rows, unitsOf(name))}`,
  );
  const parts = [header(result), ...tables, metricLines(result), checkLines(result.checks)];
  return `${[...parts, closing(result)].filter((part) => part !== '').join('\n\n')}\n`;
}

function header({ scenario, seed, fidelity, params }: ScenarioResult): string {
  const values = Object.entries(params)
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${key}=${value}`);
  return [`${pc.bold(scenario)}  ${fidelity}, seed ${seed}`, pc.dim(values.join('  '))]
    .filter((line) => line !== '')
    .join('\n');
}

/** Metrics that no table shows already. */
function metricLines({ metrics, tables }: ScenarioResult): string {
  const shown = new Set(Object.values(tables).flatMap((rows) => rows.flatMap(metricNamesOf)));
  const rest = Object.entries(metrics).filter(([name]) => !shown.has(name));
  const width = Math.max(0, ...rest.map(([name]) => name.length));
  return rest
    .map(([name, { value, unit }]) => `  ${name.padEnd(width)}  ${formatQuantity(value, unit)}`)
    .join('\n');
}

/** A row whose first column is `x` shows the metrics `x.<column>`. */
function metricNamesOf(row: TableRow): string[] {
  const [first, ...columns] = Object.keys(row);
  return columns.map((column) => `${row[first ?? '']}.${column}`);
}

/** Checks, a line each. */
export function checkLines(checks: readonly CheckResult[]): string {
  return checks
    .map(({ name, ok, detail }) => {
      const mark = ok ? pc.green('✓') : pc.red('✗');
      return `  ${mark} ${name}${detail === '' ? '' : pc.dim(`  ${detail}`)}`;
    })
    .join('\n');
}

function closing({ ok, checks, sim, wall, traceHash, error }: ScenarioResult): string {
  const failed = checks.filter((check) => !check.ok).length;
  const verdict = ok
    ? pc.green(`passed: ${checks.length} ${checks.length === 1 ? 'check' : 'checks'}`)
    : pc.red(error ? `ended by ${error.code}` : `FAILED: ${failed} of ${checks.length} checks`);
  const tlps = sim.tlps === null ? '' : `, ${formatNumber(sim.tlps)} TLPs`;
  const work = `${formatTimeNs(sim.timeNs)} simulated in ${formatTimeNs(wall.ms * 1e6)}`;
  return `${verdict}\n${pc.dim(`${work}, ${formatNumber(sim.events)} events${tlps}, trace ${traceHash}`)}`;
}
