/**
 * `emu bench dma`: mapping and unmapping of lists by their length, for each provider and way to store them, and I/O
 * virtual addresses with many in use. The IOMMU's commands and fences are part of the cost.
 * @module
 */
import { offsetBy, physAddr } from '#emu/base/units.ts';
import {
  DmaStand,
  STAND_CLIENT,
  STAND_DOORBELL,
  STAND_REGISTERS,
  StandView,
} from '#emu/cli/dma-stand.ts';
import { DirectProvider } from '#emu/dma/direct-provider.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaProvider } from '#emu/dma/dma-provider.ts';
import { FlushPolicy } from '#emu/dma/flush-queue.ts';
import { IommuProvider } from '#emu/dma/iommu-provider.ts';
import { IovaAllocator } from '#emu/dma/iova-allocator.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { PhyRangeList } from '#emu/dma/phy-range-list.ts';
import type { RangeLayout } from '#emu/dma/range-layout.ts';
import { RangeLayouts } from '#emu/dma/range-layouts.ts';
import { Recorder } from '#emu/scenario/recorder.ts';
import type { Bench, BenchResult } from './bench.ts';
import { holdCost } from './kernel-bench.ts';
import { measure, perSecond } from './measure.ts';

const COUNTS = [1, 16, 256, 4096, 262_144] as const;
/** From this length on the cost a range must be flat. */
const FLAT_FROM = 16;
const MAX_SPREAD = 2;
/** Ranges of a measured round, at least. */
const RANGES_PER_ROUND = 2 ** 18;
/** Mappings at a time, as a driver's queue has them, for lists up to a length. */
const DEPTH = 32;
const BATCHED = 4096;
const LIVE = 100_000;
const MAX_LIVE_FACTOR = 2;
/** Costs of a range at most, in holds of 64. */
const MAX_HOLDS = { direct: 6, iommu: 30 } as const;
const MEMORY = physAddr(2 ** 36);
const PAGE = 4096;

export const dmaBench: Bench = {
  name: 'dma',
  summary: 'lists mapped and unmapped, ns a range',
  run,
};

type ProviderName = 'direct' | 'iommu' | 'iommuLazy';

async function run(): Promise<BenchResult> {
  const recorder = new Recorder();
  const hold = await holdCost(64);
  for (const name of ['direct', 'iommu', 'iommuLazy'] as const) {
    const costs = await costsOf(name, recorder);
    const flat = COUNTS.flatMap((count, i) => (count >= FLAT_FROM ? [costs[i]!] : []));
    const worst = Math.max(...flat);
    recorder.metric(`${name}.rangesPerSecond`, perSecond(worst), '1/s');
    recorder.metric(`${name}.holdsPerRange`, worst / hold, '');
    recorder.check.atMost(
      `${name}: cost a range, dearest against cheapest from 16 ranges on`,
      worst / Math.min(...flat),
      MAX_SPREAD,
    );
    const most = name === 'direct' ? MAX_HOLDS.direct : MAX_HOLDS.iommu;
    recorder.check.atMost(`${name}: holds a range`, worst / hold, most);
  }
  await addresses(recorder);
  const { metrics, checks } = recorder;
  return { schema: 1, bench: 'dma', ok: checks.every(({ ok }) => ok), metrics, checks };
}

async function costsOf(name: ProviderName, recorder: Recorder): Promise<readonly number[]> {
  const stand = new DmaStand();
  const provider = providerOf(name, stand);
  stand.finish('start', provider.start());
  const device = provider.device(STAND_CLIENT);
  const costs: number[] = [];
  for (const count of COUNTS) {
    const list = scattered(count, RangeLayouts.packed);
    const rounds = count > BATCHED ? 1 : Math.max(DEPTH, RANGES_PER_ROUND / Math.max(count, 16));
    const { nsPerOperation } = await measure(() => mapRounds(stand, device, list, rounds));
    recorder.metric(`${name}.${count}.perRange`, nsPerOperation, 'ns');
    costs.push(nsPerOperation);
  }
  // The default layout has been measured at every length.
  for (const layout of [RangeLayouts.wide, RangeLayouts.compact]) {
    const list = scattered(BATCHED, layout);
    const { nsPerOperation } = await measure(() => mapRounds(stand, device, list, DEPTH));
    recorder.metric(`${name}.${layout.name}.${BATCHED}.perRange`, nsPerOperation, 'ns');
  }
  stand.dispose();
  return costs;
}

function providerOf(name: ProviderName, host: DmaStand): DmaProvider {
  const view = new StandView();
  if (name === 'direct') return new DirectProvider({ kernel: host.kernel, view });
  return new IommuProvider({
    host,
    view,
    registers: STAND_REGISTERS,
    doorbell: STAND_DOORBELL,
    flush: name === 'iommuLazy' ? FlushPolicy.Lazy : FlushPolicy.Strict,
  });
}

/** `count` pages, no two of which touch. */
function scattered(count: number, layout: RangeLayout): PhyRangeList {
  const list = new PhyRangeList(layout);
  for (let i = 0; i < count; i++) list.append(offsetBy(MEMORY, i * 2 * PAGE), PAGE);
  return list;
}

/** Maps and unmaps `list` so often, several at a time; ranges mapped. Ten microseconds of simulated time pass for each batch. */
function mapRounds(
  { kernel }: DmaStand,
  device: DmaDevice,
  list: PhyRangeList,
  rounds: number,
): number {
  const depth = list.count > BATCHED ? 1 : DEPTH;
  for (let i = 0; i < rounds; i += depth) {
    const mappings = [];
    for (let j = 0; j < depth; j++) {
      const mapping = device.map(list, Direction.Bidirectional);
      if (isRefusal(mapping)) throw new Error(`${mapping.refused}: ${mapping.reason}`);
      mappings.push(mapping);
    }
    for (const mapping of mappings) device.unmap(mapping);
    kernel.runUntil(kernel.now + 10_000_000);
  }
  return rounds * list.count;
}

async function addresses(recorder: Recorder): Promise<void> {
  const few = await allocation(0);
  const many = await allocation(LIVE);
  recorder.metric('iova.empty', few, 'ns');
  recorder.metric(`iova.live${LIVE}`, many, 'ns');
  recorder.check.atMost(
    'an I/O virtual address with 100,000 in use against none',
    many / few,
    MAX_LIVE_FACTOR,
  );
}

/** Cost of an allocation with its release, sizes mixed, `live` others in use. */
async function allocation(live: number): Promise<number> {
  const iovas = new IovaAllocator({ granuleBytes: PAGE, limit: 2 ** 47, reserved: [] });
  for (let i = 0; i < live; i++) iovas.allocate(sizeOf(i));
  const window = new Float64Array(512);
  let turn = 0;
  const { nsPerOperation } = await measure(() => {
    for (let i = 0; i < RANGES_PER_ROUND; i++, turn++) {
      const slot = turn % window.length;
      if (window[slot]! > 0) iovas.free(window[slot]!, sizeOf(turn - window.length));
      window[slot] = iovas.allocate(sizeOf(turn));
    }
    return RANGES_PER_ROUND;
  });
  return nsPerOperation;
}

/** One of 1 to 64 pages, always the same for the same number. */
const sizeOf = (i: number): number => PAGE * (1 + ((Math.imul(i, 0x9e37_79b1) >>> 8) & 63));
