/**
 * `emu bench dma`: mapping and unmapping of lists by their length, for each provider and way to store them, and I/O
 * virtual addresses with many in use. The IOMMU's commands and fences are part of the cost; bytes are not, since
 * memory never written has none that a bounce buffer would have to copy.
 * @module
 */
import { IovaAllocator } from '#emu/dma/iova/iova-allocator.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { RangeLayouts } from '#emu/dma/lists/range-layouts.ts';
import { Recorder } from '#emu/scenario/recorder.ts';
import type { Bench, BenchResult } from './bench.ts';
import { cheapest } from './cheapest.ts';
import { PROVIDERS, type ProviderName, ProviderStand, scattered } from './dma-rounds.ts';
import { holdCost } from './kernel-bench.ts';
import { perSecond } from './measure.ts';

const COUNTS = [1, 16, 256, 4096, 262_144] as const;
const LONGEST = COUNTS[COUNTS.length - 1]!;
/** From this length on the cost a range must be flat. */
const FLAT_FROM = 16;
const MAX_SPREAD = 2;
/** Costs of a range at most, in holds of 64. */
const MAX_HOLDS = { direct: 6, iommu: 30, iommuLazy: 30, bounce: 30, legacy: 30 } as const;
const LIVE = 100_000;
const MAX_LIVE_FACTOR = 2;
const ALLOCATIONS = 2 ** 17;
const PAGE = 4096;

export const dmaBench: Bench = {
  name: 'dma',
  summary: 'lists mapped and unmapped, ns a range',
  run,
};

/** Lists of one layout, by {@link COUNTS}. */
interface Lists {
  /** What metrics are called by: empty for the default layout. */
  readonly infix: string;
  readonly layout: string;
  readonly lists: readonly PhyRangeList[];
}

async function run(): Promise<BenchResult> {
  const recorder = new Recorder();
  const hold = await holdCost(64);
  const layouts = Object.values(RangeLayouts).map(
    (layout): Lists => ({
      infix: layout === RangeLayouts.packed ? '' : `${layout.name}.`,
      layout: layout.name,
      lists: COUNTS.map((count) => scattered(count, layout)),
    }),
  );
  for (const name of PROVIDERS) provider(name, layouts, hold, recorder);
  addresses(recorder);
  const { metrics, checks } = recorder;
  return { schema: 1, bench: 'dma', ok: checks.every(({ ok }) => ok), metrics, checks };
}

/** Every layout and length, in turns. */
function provider(
  name: ProviderName,
  layouts: readonly Lists[],
  hold: number,
  recorder: Recorder,
): void {
  const stand = new ProviderStand(name, LONGEST);
  const rows = layouts.flatMap(({ lists }) => lists.map((list) => () => stand.round(list)));
  const costs = cheapest(rows);
  stand.dispose();
  for (const [i, { infix, layout }] of layouts.entries()) {
    const own = costs.subarray(i * COUNTS.length, (i + 1) * COUNTS.length);
    for (const [j, count] of COUNTS.entries()) {
      recorder.metric(`${name}.${infix}${count}.perRange`, own[j]!, 'ns');
    }
    const flat = own.filter((_, j) => COUNTS[j]! >= FLAT_FROM);
    const worst = Math.max(...flat);
    recorder.check.atMost(
      `${name}, ${layout}: cost a range, dearest against cheapest from ${FLAT_FROM} ranges on`,
      worst / Math.min(...flat),
      MAX_SPREAD,
    );
    if (infix !== '') continue;
    recorder.metric(`${name}.rangesPerSecond`, perSecond(worst), '1/s');
    recorder.metric(`${name}.holdsPerRange`, worst / hold, '');
    recorder.check.atMost(`${name}: holds a range`, worst / hold, MAX_HOLDS[name]);
  }
}

function addresses(recorder: Recorder): void {
  const [few, many] = cheapest([allocations(0), allocations(LIVE)]);
  recorder.metric('iova.empty', few!, 'ns');
  recorder.metric(`iova.live${LIVE}`, many!, 'ns');
  recorder.check.atMost(
    'an I/O virtual address with 100,000 in use against none',
    many! / few!,
    MAX_LIVE_FACTOR,
  );
}

/** Allocations with their releases, sizes mixed, `live` others in use. */
function allocations(live: number): () => number {
  const iovas = new IovaAllocator({ granuleBytes: PAGE, limit: 2 ** 47, reserved: [] });
  for (let i = 0; i < live; i++) iovas.allocate(sizeOf(i));
  const window = new Float64Array(512);
  let turn = 0;
  return () => {
    for (let i = 0; i < ALLOCATIONS; i++, turn++) {
      const slot = turn % window.length;
      if (window[slot]! > 0) iovas.free(window[slot]!, sizeOf(turn - window.length));
      window[slot] = iovas.allocate(sizeOf(turn));
    }
    return ALLOCATIONS;
  };
}

/** One of 1 to 64 pages, always the same for the same number. */
const sizeOf = (i: number): number => PAGE * (1 + ((Math.imul(i, 0x9e37_79b1) >>> 8) & 63));
