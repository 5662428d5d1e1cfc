/**
 * Rows as a table of text.
 * @module
 */
import Table from 'cli-table3';
import type { ColumnUnits } from '#emu/scenario/recorder.ts';
import type { TableRow } from '#emu/scenario/result.ts';
import { colors as pc } from './colors.ts';
import { formatNumber, formatQuantity, NO_VALUE } from './quantity.ts';

/** Columns of the first row, numbers to the right. */
export function renderTable(rows: readonly TableRow[], units: ColumnUnits = {}): string {
  const columns = Object.keys(rows[0] ?? {});
  if (columns.length === 0) return '';
  const table = new Table({
    head: columns.map((column) => pc.bold(column)),
    colAligns: columns.map((column) => (isNumeric(rows, column) ? 'right' : 'left')),
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) table.push(columns.map((column) => cell(row[column], units[column])));
  return table.toString();
}

const isNumeric = (rows: readonly TableRow[], column: string): boolean =>
  rows.every((row) => typeof row[column] === 'number' || row[column] === null);

function cell(value: TableRow[string] | undefined, unit: string | undefined): string {
  if (value === null || value === undefined) return NO_VALUE;
  if (typeof value !== 'number') return String(value);
  return unit === undefined ? formatNumber(value) : formatQuantity(value, unit);
}
