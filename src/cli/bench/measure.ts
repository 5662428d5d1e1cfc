/**
 * Measures CPU time of repeated rounds and counts the scavenges they cause.
 * @module
 */
import { constants, PerformanceObserver } from 'node:perf_hooks';
import process from 'node:process';
import { setImmediate as turn } from 'node:timers/promises';

export interface Measured {
  /** CPU time of one operation, median of the rounds. */
  readonly nsPerOperation: number;
  /** Operations of all measured rounds. */
  readonly operations: number;
  /** Minor garbage collections during the measured rounds. */
  readonly scavenges: number;
}

const ROUNDS = 9;
/** Enough that the last function of the hot path is optimised before anything is counted. */
const WARM_UP_ROUNDS = 6;

/** Runs `round`, which returns how many operations it did, often enough for a median. */
export async function measure(round: () => number): Promise<Measured> {
  for (let i = 0; i < WARM_UP_ROUNDS; i++) round();
  await turn();
  const counter = new ScavengeCounter();
  const costs: number[] = [];
  let operations = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const before = process.cpuUsage();
    const done = round();
    const { user, system } = process.cpuUsage(before);
    costs.push(((user + system) * 1e3) / done);
    operations += done;
  }
  return { nsPerOperation: median(costs), operations, scavenges: await counter.stop() };
}

/** The middle value; of an even number of values, the lower of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1] ?? Number.NaN;
}

/** Operations a second at a cost in nanoseconds. */
export const perSecond = (nsPerOperation: number): number => 1e9 / nsPerOperation;

class ScavengeCounter {
  #count = 0;
  readonly #observer: PerformanceObserver;

  constructor() {
    this.#observer = new PerformanceObserver((list) => this.#add(list.getEntries()));
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  async stop(): Promise<number> {
    // Entries are delivered by the event loop.
    await turn();
    await turn();
    this.#add(this.#observer.takeRecords());
    this.#observer.disconnect();
    return this.#count;
  }

  #add(entries: readonly object[]): void {
    for (const entry of entries) {
      const detail = 'detail' in entry ? entry.detail : null;
      const kind = typeof detail === 'object' && detail !== null && 'kind' in detail && detail.kind;
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR) this.#count++;
    }
  }
}
