/**
 * Which functions of a machine offer memory to peers: providers by BAR, pools of pages, the nearest one to a set of
 * clients, and the orderly end when a driver leaves. [P2PDMA]
 * @module
 */
import { type Bdf, formatBdf } from '#emu/base/units.ts';
import { PROVIDER_INDEX } from '#emu/dma/lists/range-layout.ts';
import { MapType } from '#emu/dma/mapping.ts';
import type { P2pRoute } from '#emu/dma/p2p/p2p.ts';
import type { PciView } from '#emu/dma/p2p/pci-view.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Random } from '#emu/sim/random.ts';
import { PeerPool, type PeerRefusal } from './peer-pool.ts';
import { isPages, PeerProvider } from './peer-provider.ts';

/** How `client` reaches memory of `provider`. */
export type PeerRoute = (provider: Bdf, client: Bdf) => Pick<P2pRoute, 'type' | 'distance'>;

export interface PeerMemoryOptions {
  readonly kernel: Pick<Kernel, 'pending'>;
  readonly view: PciView;
  readonly route: PeerRoute;
  /** Chooses among equally near providers. */
  readonly random: Random;
  /** Whether to remember where leases are made, for reports. Default false. */
  readonly callSites?: boolean;
}

/** What one function offers. */
interface Offer {
  readonly providers: Map<number, PeerProvider>;
  readonly pool: PeerPool;
  /** Whether memory was added to the pool. */
  hasMemory: boolean;
  /** Set while the driver leaves. */
  removed: Pending<void> | null;
  /** Whether everything has been told, so that the removal may complete. */
  mayEnd: boolean;
}

export class PeerMemory {
  readonly #options: PeerMemoryOptions;
  readonly #offers = new Map<Bdf, Offer>();
  /** Those so far by number, also of owners that have left. */
  readonly #providers: PeerProvider[] = [];

  constructor(options: PeerMemoryOptions) {
    this.#options = options;
  }

  /** The provider of a BAR, the same until {@link remove}. Refused for anything but a memory BAR, and while leaving. */
  provider(owner: Bdf, bar: number): PeerProvider | PeerRefusal {
    const known = this.#offers.get(owner);
    if (known?.removed) return leaving(owner);
    const made = known?.providers.get(bar);
    if (made) return made;
    const { view, kernel, callSites = false } = this.#options;
    const fn = view.functions.find(({ bdf }) => bdf === owner);
    const found = fn?.bars.find(({ index }) => index === bar);
    if (!found) return { refused: 'EINVAL', reason: `${formatBdf(owner)} has no memory BAR${bar}` };
    const host = { kernel, callSites };
    const index = this.#providers.length + 1;
    const provider = new PeerProvider(index, owner, found, host, () => this.#settle(owner));
    this.#providers.push(provider);
    this.#offer(owner).providers.set(bar, provider);
    return provider;
  }

  /** Whose memory a range is, by its flags; null for host memory and where the list does not say. [P2PDMA] */
  providerOf(flags: number): PeerProvider | null {
    const index = PROVIDER_INDEX.get(flags);
    return index === 0 ? null : (this.#providers[index - 1] ?? null);
  }

  /** Whether all of a range is in pools, and so has pages. For scatterlists, which name pages. */
  hasPages(address: number, sizeBytes: number): boolean {
    for (const { pool } of this.#offers.values()) if (pool.has(address, sizeBytes)) return true;
    return false;
  }

  /** Adds whole pages of a BAR to the function's pool, the rest of the BAR by default; may be repeated. */
  addResource(
    owner: Bdf,
    bar: number,
    { sizeBytes = 0, offset = 0 }: { sizeBytes?: number; offset?: number } = {},
  ): PeerPool | PeerRefusal {
    const provider = this.provider(owner, bar);
    if (!(provider instanceof PeerProvider)) return provider;
    const size = sizeBytes === 0 ? provider.sizeBytes - offset : sizeBytes;
    const isInside = offset < provider.sizeBytes && offset + size <= provider.sizeBytes;
    if (!(isPages(offset) && isPages(size) && isInside)) {
      const reason = `${size} bytes at ${offset}: expected pages in the ${provider.sizeBytes} of BAR${bar}`;
      return { refused: 'EINVAL', reason };
    }
    const offer = this.#offer(owner);
    const refusal = offer.pool.addResource(provider, offset, size);
    if (refusal !== null) return refusal;
    offer.hasMemory = true;
    return offer.pool;
  }

  /** The pool of a function, or null. */
  pool(owner: Bdf): PeerPool | null {
    const offer = this.#offers.get(owner);
    return offer?.hasMemory ? offer.pool : null;
  }

  /** Lets the pool be found, or not. Refused with ENODEV without one. */
  publish(owner: Bdf, on = true): PeerRefusal | null {
    const pool = this.pool(owner);
    if (pool === null || pool.isClosed) {
      return { refused: 'ENODEV', reason: `${formatBdf(owner)} has no pool of peer memory` };
    }
    pool.publish(on);
    return null;
  }

  /** Sum of the distances to all clients, or -1 when one cannot reach the provider, or there is none. */
  distance(owner: Bdf, clients: readonly Bdf[]): number {
    if (clients.length === 0) return -1;
    let sum = 0;
    for (const client of clients) {
      const { type, distance } = this.#options.route(owner, client);
      if (type === MapType.NotSupported || distance < 0) return -1;
      sum += distance;
    }
    return sum;
  }

  /** The published pool with the least {@link distance}, any of those equally near; null when no one serves all clients. */
  findNearest(clients: readonly Bdf[]): PeerPool | null {
    let nearest: PeerPool[] = [];
    let least = Number.POSITIVE_INFINITY;
    for (const { pool } of this.#offers.values()) {
      if (!pool.isPublished) continue;
      const distance = this.distance(pool.owner, clients);
      if (distance < 0 || distance > least) continue;
      if (distance < least) nearest = [];
      least = distance;
      nearest.push(pool);
    }
    if (nearest.length === 0) return null;
    return nearest[this.#options.random.below(nearest.length)]!;
  }

  /** Takes all leases on a function's memory back, as before a reset; its pool stays. Each importer is told. */
  revokeLeases(owner: Bdf): void {
    const providers = this.#offers.get(owner)?.providers.values() ?? [];
    for (const provider of providers) provider.revokeAll(false);
  }

  /**
   * The function's driver leaves: nothing new is given out, leases are revoked and user mappings taken away. Completes
   * when no allocation, pin or mapping of its memory is left.
   */
  remove(owner: Bdf): Pending<void> {
    const offer = this.#offer(owner);
    if (offer.removed) return offer.removed;
    const done = this.#options.kernel.pending<void>(`peer memory removal ${formatBdf(owner)}`);
    offer.removed = done;
    offer.pool.close();
    for (const provider of offer.providers.values()) provider.revokeAll(true);
    offer.mayEnd = true;
    this.#settle(owner);
    return done;
  }

  #offer(owner: Bdf): Offer {
    const known = this.#offers.get(owner);
    if (known) return known;
    const { callSites = false } = this.#options;
    const pool = new PeerPool(owner, () => this.#settle(owner), callSites);
    const offer = { providers: new Map(), pool, hasMemory: false, removed: null, mayEnd: false };
    this.#offers.set(owner, offer);
    return offer;
  }

  /** Ends a removal when nothing is left. */
  #settle(owner: Bdf): void {
    const offer = this.#offers.get(owner);
    if (!offer?.mayEnd || offer.pool.availableBytes < offer.pool.sizeBytes) return;
    for (const provider of offer.providers.values()) if (provider.leases.length > 0) return;
    this.#offers.delete(owner);
    offer.removed?.complete();
  }
}

const leaving = (owner: Bdf): PeerRefusal => ({
  refused: 'ENODEV',
  reason: `${formatBdf(owner)} is going away`,
});
