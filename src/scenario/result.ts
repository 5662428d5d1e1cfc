/**
 * What a run reports: the object that `emu run --json` prints. docs/result.schema.json is the same as a schema.
 * @module
 */
import type { ErrorDetail } from '#emu/base/errors.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { ParamValue } from './param.ts';

export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, and what was expected where the two differ. */
  readonly detail: string;
}

/** A measured value; null where the fidelity cannot tell. */
export interface Metric {
  readonly value: number | null;
  readonly unit: string;
}

/** A row of a table: values by column. */
export type TableRow = Readonly<Record<string, string | number | boolean | null>>;

/** Totals over the machines of a run; TLPs and hops are null in functional fidelity, which makes none. */
export interface SimTotals {
  readonly timeNs: number;
  readonly events: number;
  readonly tlps: number | null;
  readonly hops: number | null;
  /** Names of what was begun and never completed. */
  readonly leaks: readonly string[];
}

export interface ResultError {
  readonly code: string;
  readonly message: string;
  readonly detail: ErrorDetail;
}

export interface ScenarioResult {
  readonly schema: 1;
  readonly scenario: string;
  readonly seed: number;
  readonly fidelity: Fidelity;
  readonly params: Readonly<Record<string, ParamValue>>;
  readonly ok: boolean;
  readonly checks: readonly CheckResult[];
  readonly metrics: Readonly<Record<string, Metric>>;
  readonly tables: Readonly<Record<string, readonly TableRow[]>>;
  readonly sim: SimTotals;
  readonly wall: { readonly ms: number };
  /** 16 hex digits; equal for equal runs. */
  readonly traceHash: string;
  readonly error?: ResultError;
}
