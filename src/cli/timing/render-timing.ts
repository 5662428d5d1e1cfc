/**
 * Timing results for people: a row each in the order of the file, misses marked, and a closing line.
 * @module
 */
import { colors as pc } from '#emu/cli/colors.ts';
import { formatNumber } from '#emu/cli/quantity.ts';
import { renderTable } from '#emu/cli/render-table.ts';
import { allHold, type TimingResult } from './timing-result.ts';
import { ASSERTED_KINDS } from './timing-row.ts';

const CONFIGURATION_WIDTH = 60;
const SOURCE_WIDTH = 40;

/** The table, with the source of each row, and how many hold. */
export function renderTiming(title: string, results: readonly TimingResult[]): string {
  const rows = results.map((row) => ({
    id: row.id,
    configuration: shortened(row.configuration, CONFIGURATION_WIDTH),
    expected: quantity(row.expected, row.unit),
    simulated: quantity(row.simulated, row.unit),
    error: `${row.errorPct < 0 ? '' : '+'}${row.errorPct.toFixed(2)} %`,
    tolerance: row.tolerance,
    result: verdict(row),
    source: shortened(`${row.kind}: ${row.source}`, SOURCE_WIDTH),
  }));
  return `${[pc.bold(title), renderTable(rows), closing(results)].join('\n')}\n`;
}

const quantity = (value: number, unit: string): string =>
  unit === '' ? formatNumber(value) : `${formatNumber(value)} ${unit}`;

const shortened = (text: string, width: number): string =>
  text.length > width ? `${text.slice(0, width - 1)}…` : text;

function verdict({ ok, kind }: TimingResult): string {
  if (ok) return pc.green('pass');
  return ASSERTED_KINDS.includes(kind) ? pc.red('FAIL') : pc.yellow('miss');
}

function closing(results: readonly TimingResult[]): string {
  const passed = results.filter(({ ok }) => ok).length;
  const misses = results.filter(({ ok, kind }) => !ok && !ASSERTED_KINDS.includes(kind)).length;
  const failed = results.length - passed - misses;
  const text = `${passed} of ${results.length} rows pass, ${misses} measured rows miss, ${failed} fail`;
  return allHold(results) ? pc.green(text) : pc.red(text);
}
