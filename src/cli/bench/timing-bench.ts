/**
 * `emu bench timing`: every row of published timing, closed forms and measurements, against what is simulated.
 * @module
 */
import { readFileSync } from 'node:fs';
import { packageRoot } from '#emu/cli/package-root.ts';
import { allHold, timingResult } from '#emu/cli/timing/timing-result.ts';
import { timingRows } from '#emu/cli/timing/timing-row.ts';
import type { Bench, BenchResult } from './bench.ts';

/** The rows that come with the package. */
export const TIMING_VALIDATION: URL = new URL('docs/timing-validation.json', packageRoot);

export const timingBench: Bench = {
  name: 'timing',
  summary: 'published times and rates against simulated ones',
  run,
};

async function run(): Promise<BenchResult> {
  const rows = timingRows(JSON.parse(readFileSync(TIMING_VALIDATION, 'utf8'))).map(timingResult);
  const ok = allHold(rows);
  return { schema: 1, bench: 'timing', ok, metrics: {}, checks: [], rows };
}
