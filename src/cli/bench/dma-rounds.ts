/**
 * What `emu bench dma` measures: each provider on a stand of its own, and rounds of mapping and unmapping.
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
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { RangeLayout } from '#emu/dma/lists/range-layout.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { BouncePool } from '#emu/dma/providers/bounce-pool.ts';
import { BounceProvider } from '#emu/dma/providers/bounce-provider.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import type { DmaProvider } from '#emu/dma/providers/dma-provider.ts';
import { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import { IommuProvider } from '#emu/dma/providers/iommu-provider.ts';
import { LegacyProvider } from '#emu/dma/providers/legacy-provider.ts';

export const PROVIDERS = ['direct', 'iommu', 'iommuLazy', 'bounce', 'legacy'] as const;
export type ProviderName = (typeof PROVIDERS)[number];

const PAGE = 4096;
const MEMORY = physAddr(2 ** 36);
const POOL = physAddr(2 ** 40);
/** Mappings at a time, as a driver's queue has them, for lists up to a length. */
const DEPTH = 32;
const BATCHED = 4096;
/** Ranges of a round, and mappings where lists are short. */
const RANGES = 2 ** 16;
const MAPPINGS = 2 ** 12;
/** Simulated time for each batch, in which the commands of its unmaps are carried out, ps. */
const BATCH_PS = 10_000_000;

/** A list of `count` pages, no two of which touch. */
export function scattered(count: number, layout: RangeLayout): PhyRangeList {
  const list = new PhyRangeList(layout);
  for (let i = 0; i < count; i++) list.append(offsetBy(MEMORY, i * 2 * PAGE), PAGE);
  return list;
}

/** One provider, ready to map. */
export class ProviderStand {
  readonly #stand = new DmaStand();
  readonly #device: DmaDevice;

  /** @param longest pages that can be mapped at a time */
  constructor(name: ProviderName, longest: number) {
    const provider = providerOf(name, this.#stand, longest);
    this.#stand.finish('start', provider.start());
    this.#device = provider.device(STAND_CLIENT);
  }

  /** Maps and unmaps `list` often enough for a measurement; ranges mapped. */
  round(list: PhyRangeList): number {
    const depth = list.count > BATCHED ? 1 : DEPTH;
    const most = Math.ceil(RANGES / list.count / depth);
    const batches = Math.min(most, MAPPINGS / depth);
    for (let i = 0; i < batches; i++) this.#batch(list, depth);
    return batches * depth * list.count;
  }

  dispose(): void {
    this.#stand.dispose();
  }

  #batch(list: PhyRangeList, depth: number): void {
    const device = this.#device;
    const { kernel } = this.#stand;
    const mappings = [];
    for (let i = 0; i < depth; i++) {
      const mapping = device.map(list, Direction.Bidirectional);
      if (isRefusal(mapping)) throw new Error(`${mapping.refused}: ${mapping.reason}`);
      mappings.push(mapping);
    }
    for (const mapping of mappings) device.unmap(mapping);
    kernel.runUntil(kernel.now + BATCH_PS);
  }
}

function providerOf(name: ProviderName, host: DmaStand, longest: number): DmaProvider {
  const { kernel, memory } = host;
  const view = new StandView();
  const direct = new DirectProvider({ kernel, view });
  if (name === 'direct') return direct;
  if (name === 'legacy') return new LegacyProvider({ kernel, view, addresses: direct });
  if (name === 'bounce') {
    const pool = new BouncePool(memory, POOL, longest * PAGE);
    return new BounceProvider({ kernel, view, pool, isForced: true });
  }
  return new IommuProvider({
    host,
    view,
    registers: STAND_REGISTERS,
    doorbell: STAND_DOORBELL,
    flush: name === 'iommuLazy' ? FlushPolicy.Lazy : FlushPolicy.Strict,
  });
}
