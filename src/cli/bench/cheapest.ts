/**
 * Costs of several things measured in turns, each by its cheapest turn: what disturbs one turn of one of them decides
 * nothing, and what disturbs for long meets them all.
 * @module
 */
import process from 'node:process';

/** Enough that what the later rows teach the compiler is known before anything counts. */
const WARM_UP_TURNS = 3;
const TURNS = 8;

/** CPU time of one operation of each row, ns; a row returns how many it did. */
export function cheapest(rows: readonly (() => number)[], turns: number = TURNS): Float64Array {
  const costs = new Float64Array(rows.length).fill(Number.POSITIVE_INFINITY);
  for (let turn = -WARM_UP_TURNS; turn < turns; turn++) {
    for (const [i, row] of rows.entries()) {
      const before = process.cpuUsage();
      const operations = row();
      const { user, system } = process.cpuUsage(before);
      const cost = ((user + system) * 1e3) / operations;
      if (turn >= 0 && cost < costs[i]!) costs[i] = cost;
    }
  }
  return costs;
}
