/**
 * Holds what a timing row gave against what it should: with sign and tolerance, for every row, misses included.
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { ASSERTED_KINDS, type TimingRow } from './timing-row.ts';
import { measureRow } from './workloads.ts';

/** A row of `emu bench timing` and `emu conform timing`. */
export interface TimingResult {
  readonly id: string;
  readonly kind: string;
  readonly configuration: string;
  readonly unit: string;
  readonly expected: number;
  readonly simulated: number;
  /** (simulated - expected) / expected, per cent, signed. */
  readonly errorPct: number;
  readonly tolerance: string;
  readonly ok: boolean;
  readonly source: string;
}

/** Runs a row. */
export function timingResult(row: TimingRow): TimingResult {
  const { id, kind, configuration, expected, source } = row;
  const simulated = named(id, () => measureRow(row));
  return {
    id,
    kind,
    configuration,
    unit: row.against?.how === 'ratio' ? '' : row.quantity.unit,
    expected,
    simulated,
    errorPct: expected === simulated ? 0 : (100 * (simulated - expected)) / Math.abs(expected),
    tolerance: toleranceText(row),
    ok: holds(row, simulated),
    source,
  };
}

/** Whether the rows that must hold do; those measured on hardware may miss. */
export const allHold = (results: readonly TimingResult[]): boolean =>
  results.every(({ kind, ok }) => ok || !ASSERTED_KINDS.includes(kind));

/** Puts the row before what a user got wrong in it. */
function named<T>(id: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof EmuError && error.code === 'USAGE') throw usage(`${id}: ${error.message}`);
    throw error;
  }
}

function holds({ tolerance, expected }: TimingRow, simulated: number): boolean {
  if ('from' in tolerance) return simulated >= tolerance.from && simulated <= tolerance.to;
  const error = Math.abs(simulated - expected);
  if ('absolute' in tolerance) return error <= tolerance.absolute;
  return error <= (tolerance.percent / 100) * Math.abs(expected);
}

function toleranceText({ tolerance, quantity }: TimingRow): string {
  if ('from' in tolerance) return `${tolerance.from} to ${tolerance.to}`;
  if ('percent' in tolerance) return `${tolerance.percent} %`;
  return tolerance.absolute === 0 ? 'exact' : `${tolerance.absolute} ${quantity.unit}`;
}
