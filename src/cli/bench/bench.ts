/**
 * What a benchmark is and what it reports. Whether it is `ok` rests on ratios within one process, which compare
 * across machines; absolute figures are for reading.
 * @module
 */
import type { TimingResult } from '#emu/cli/timing/timing-result.ts';
import type { CheckResult, Metric } from '#emu/scenario/result.ts';

export interface BenchResult {
  readonly schema: 1;
  readonly bench: string;
  readonly ok: boolean;
  readonly metrics: Readonly<Record<string, Metric>>;
  readonly checks: readonly CheckResult[];
  /** Of a benchmark that compares with published values. */
  readonly rows?: readonly TimingResult[];
}

export interface Bench {
  readonly name: string;
  readonly summary: string;
  run(): Promise<BenchResult>;
}
