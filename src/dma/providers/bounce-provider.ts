/**
 * No translation, and copies of memory that a device does not reach: the direct provider with a bounce pool.
 * [DMAAPI]
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaTraits } from '#emu/dma/dma-traits.ts';
import { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import type { Process } from '#emu/sim/process.ts';
import type { BouncePool } from './bounce-pool.ts';
import { Bouncer } from './bouncer.ts';
import { DirectDomain, type DirectProviderOptions } from './direct-provider.ts';
import { DEFAULT_LIMITS, type DmaLimits, type DmaProvider } from './dma-provider.ts';

export interface BounceProviderOptions extends DirectProviderOptions {
  readonly pool: BouncePool;
  /** Whether to bounce all host memory, for tests of drivers. Default false. */
  readonly isForced?: boolean;
}

export class BounceProvider implements DmaProvider {
  readonly name = 'bounce';
  readonly pool: BouncePool;
  readonly #options: BounceProviderOptions;

  constructor(options: BounceProviderOptions) {
    this.#options = options;
    this.pool = options.pool;
  }

  /** There is no hardware to bring up. */
  *start(): Process<void> {}

  device(client: Bdf, limits: Partial<DmaLimits> = {}, traits: Partial<DmaTraits> = {}): DmaDevice {
    const { kernel, view, hostBridgeAllowed = () => false, isForced = false } = this.#options;
    const all = { ...DEFAULT_LIMITS, ...limits };
    // A coherent device that reaches all of memory never needs a copy.
    const isLimited = all.addressLimit < this.pool.memory.sizeBytes;
    const isNeeded = isForced || isLimited || traits.isCoherent === false;
    const segments = new SegmentCursor(view, client, hostBridgeAllowed);
    const bouncer = isNeeded ? new Bouncer(this.pool, segments, all, isForced, traits) : null;
    const domain = new DirectDomain(segments, all, bouncer, traits);
    return new DmaDevice(kernel, client, domain, traits);
  }
}
