/**
 * Collects what a running scenario finds: checks, metrics and tables, each under a name of its own.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { hex } from '#emu/base/units.ts';
import type { CheckResult, Metric, TableRow } from './result.ts';

type Plain = string | number | boolean | null | undefined;

/** Records checks; each call is one, passed or failed, and none throws for a failure. */
export interface Check {
  /** Passes when `condition` is true. */
  ok(name: string, condition: boolean, detail?: string): boolean;
  /** Passes when both are the same value. */
  equal(name: string, actual: Plain, expected: Plain): boolean;
  /** Passes when `actual` is a number of at most `limit`. */
  atMost(name: string, actual: number, limit: number): boolean;
  /** Passes when `actual` is a number of at least `limit`. */
  atLeast(name: string, actual: number, limit: number): boolean;
  /** Passes when both hold the same bytes. */
  bytes(name: string, actual: Uint8Array, expected: Uint8Array): boolean;
}

/** Units of the columns of a table that have one, for people's eyes. */
export type ColumnUnits = Readonly<Record<string, string>>;

export class Recorder {
  readonly check: Check;
  readonly #checks: CheckResult[] = [];
  readonly #metrics = new Map<string, Metric>();
  readonly #tables = new Map<string, readonly TableRow[]>();
  readonly #units = new Map<string, ColumnUnits>();

  constructor() {
    const add = (name: string, ok: boolean, detail: string): boolean => {
      this.#checks.push({ name, ok, detail });
      return ok;
    };
    this.check = {
      ok: (name, condition, detail = '') => add(name, condition, detail),
      equal: (name, actual, expected) => {
        const same = Object.is(actual, expected);
        return add(name, same, same ? show(actual) : differ(show(expected), show(actual)));
      },
      atMost: (name, actual, limit) =>
        add(name, actual <= limit, compared(actual <= limit, actual, `at most ${limit}`)),
      atLeast: (name, actual, limit) =>
        add(name, actual >= limit, compared(actual >= limit, actual, `at least ${limit}`)),
      bytes: (name, actual, expected) => {
        const difference = firstDifference(actual, expected);
        return add(name, difference === null, difference ?? `${expected.length} bytes`);
      },
    };
  }

  get checks(): readonly CheckResult[] {
    return this.#checks;
  }
  get metrics(): Readonly<Record<string, Metric>> {
    return Object.fromEntries(this.#metrics);
  }
  get tables(): Readonly<Record<string, readonly TableRow[]>> {
    return Object.fromEntries(this.#tables);
  }

  /** Units of a table's columns, by column. */
  unitsOf(table: string): ColumnUnits {
    return this.#units.get(table) ?? {};
  }

  /** Notes a measured value. @throws SCENARIO for a name used before or a value that is no finite number. */
  metric(name: string, value: number | null, unit: string): void {
    this.#unused(this.#metrics, 'metric', name);
    if (value !== null && !Number.isFinite(value)) {
      throw new EmuError('SCENARIO', `metric '${name}': expected a finite number, got ${value}`);
    }
    this.#metrics.set(name, { value, unit });
  }

  /** Notes a table; its columns are those of the first row. @throws SCENARIO for a name used before. */
  table(name: string, rows: readonly TableRow[], units: ColumnUnits = {}): void {
    this.#unused(this.#tables, 'table', name);
    this.#tables.set(
      name,
      rows.map((row) => ({ ...row })),
    );
    this.#units.set(name, units);
  }

  #unused(names: ReadonlyMap<string, unknown>, what: string, name: string): void {
    if (names.has(name)) throw new EmuError('SCENARIO', `${what} '${name}' is given twice`);
  }
}

const compared = (ok: boolean, actual: number, limit: string): string =>
  ok ? `${Number(actual.toPrecision(6))}, ${limit}` : differ(limit, String(actual));
const differ = (expected: string, actual: string): string => `expected ${expected}, got ${actual}`;
const show = (value: Plain): string => (typeof value === 'string' ? `'${value}'` : String(value));

/** Where two byte strings part, in words, or null when they are equal. */
function firstDifference(actual: Uint8Array, expected: Uint8Array): string | null {
  if (actual.length !== expected.length) {
    return differ(`${expected.length} bytes`, `${actual.length}`);
  }
  for (let i = 0; i < actual.length; i++) {
    const [found, wanted] = [actual[i] ?? 0, expected[i] ?? 0];
    if (found !== wanted) return `byte ${hex(i)}: ${differ(hex(wanted, 2), hex(found, 2))}`;
  }
  return null;
}
