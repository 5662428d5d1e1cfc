/**
 * A function's peer memory by pages: allocated to drivers and user mappings, counted page by page, each back in the pool
 * when its last reference is gone. [P2PDMA]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import {
  alignUp,
  type Bdf,
  type DmaAddr,
  hex,
  offsetBy,
  PAGE_SIZE,
  type PhysAddr,
} from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { PROVIDER_INDEX } from '#emu/dma/lists/range-layout.ts';
import { PageCounts, type PageKeeper } from '#emu/host/memory/page-counts.ts';
import type { Refusal } from '#emu/host/memory/refusal.ts';
import { AddressMap } from '#emu/memory/address-map.ts';
import { PeerAllocation } from './peer-allocation.ts';
import type { PeerProvider } from './peer-provider.ts';

/**
 * Nothing was done. EINVAL: no memory BAR, beyond it, or not in whole pages. EBUSY: overlaps memory added before.
 * ENOMEM: the pool has not as many pages in a row. ENODEV: there is no pool, or its device is going away.
 */
export type PeerRefusal = Refusal<'EINVAL' | 'EBUSY' | 'ENOMEM' | 'ENODEV'>;

/** Who maps pages of a pool into user address spaces. */
export interface PoolMapper {
  /** The pool goes away: takes its pages out of the page tables and drops them. */
  zap(pool: PeerPool): void;
}

/** Memory added to the pool at once. */
interface Resource {
  readonly provider: PeerProvider;
  readonly base: PhysAddr;
  readonly counts: PageCounts;
  readonly pages: number;
  /** Where the last search ended. */
  hint: number;
}

export class PeerPool implements PageKeeper {
  readonly isRemovable = true;
  readonly owner: Bdf;
  readonly #resources = new AddressMap<Resource>();
  readonly #mappers = new Set<PoolMapper>();
  /** Those given out as lists, by address. */
  readonly #allocations = new Map<PhysAddr, PeerAllocation>();
  readonly #onIdle: () => void;
  readonly #recordsSites: boolean;
  #isPublished = false;
  #isClosed = false;

  /** @param onIdle told whenever pages have become free @param recordsSites whether reports say where calls came from */
  constructor(owner: Bdf, onIdle: () => void, recordsSites = false) {
    this.owner = owner;
    this.#onIdle = onIdle;
    this.#recordsSites = recordsSites;
  }

  get sizeBytes(): number {
    return this.#sum(({ pages }) => pages);
  }
  /** Bytes of free pages. */
  get availableBytes(): number {
    return this.#sum(({ pages, counts }) => pages - counts.used);
  }
  /** Whether it may be found by those who look for the nearest. */
  get isPublished(): boolean {
    return this.#isPublished;
  }
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** For the function that owns the pool, which has checked the range. */
  addResource(provider: PeerProvider, offset: number, sizeBytes: number): PeerRefusal | null {
    const base = offsetBy(provider.base, offset);
    if (this.#resources.overlapping(base, sizeBytes)) {
      return { refused: 'EBUSY', reason: `${hex(base)} overlaps memory added before` };
    }
    const pages = sizeBytes / PAGE_SIZE;
    const resource = { provider, base, counts: new PageCounts(pages), pages, hint: 0 };
    this.#resources.add(base, sizeBytes, resource);
    return null;
  }

  publish(on: boolean): void {
    this.#isPublished = on && !this.#isClosed;
  }

  /** Contiguous pages, held once. Their bytes are as the last user left them. */
  allocate(sizeBytes: number): PhysAddr | PeerRefusal {
    if (this.#isClosed) return gone();
    const pages = alignUp(sizeBytes, PAGE_SIZE) / PAGE_SIZE;
    if (!(Number.isSafeInteger(pages) && pages > 0)) {
      return { refused: 'EINVAL', reason: `an allocation of ${sizeBytes} bytes` };
    }
    for (const { value } of this.#resources.entries()) {
      const first = findFree(value, pages);
      if (first < 0) continue;
      for (let page = first; page < first + pages; page++) value.counts.hold(page);
      value.hint = first + pages;
      return offsetBy(value.base, first * PAGE_SIZE);
    }
    const reason = `${pages} pages in a row, of ${this.availableBytes / PAGE_SIZE} free ones`;
    return { refused: 'ENOMEM', reason };
  }

  /** An allocation as a list of one range, not to be given back while it is mapped. */
  allocateList(sizeBytes: number): PhyRangeList | PeerRefusal {
    const address = this.allocate(sizeBytes);
    if (typeof address !== 'number') return address;
    const flags = PROVIDER_INDEX.of(this.providerAt(address).index);
    const list = PhyRangeList.of(address, sizeBytes, flags);
    const allocation = new PeerAllocation(this, list, this.#recordsSites);
    this.#allocations.set(address, allocation);
    list.hold = allocation;
    return list;
  }

  /**
   * Gives an allocation back; pages with other references stay until those are gone.
   * @throws INVARIANT for what is not allocated, CHECKER for a list that is mapped
   */
  free(address: PhysAddr, sizeBytes: number): void {
    this.#allocations.get(address)?.release();
    this.#allocations.delete(address);
    this.drop(address, sizeBytes);
  }

  /** Holds pages that are in use once more. */
  hold(address: PhysAddr, sizeBytes: number): PeerRefusal | null {
    if (this.#isClosed) return gone();
    const end = address + sizeBytes;
    if (!this.#isUsed(address, end)) {
      return { refused: 'EINVAL', reason: `${hex(address)} is not allocated from this pool` };
    }
    this.#each(address, sizeBytes, ({ counts }, page) => counts.hold(page));
    return null;
  }

  drop(address: number, sizeBytes: number): void {
    this.#each(address, sizeBytes, ({ counts }, page) => counts.drop(page));
    this.#onIdle();
  }

  pin(address: number, sizeBytes: number): void {
    this.#each(address, sizeBytes, ({ counts }, page) => counts.pin(page));
  }

  unpin(address: number, sizeBytes: number): void {
    this.#each(address, sizeBytes, ({ counts }, page) => counts.unpin(page));
    this.#onIdle();
  }

  pinsAt(address: number): number {
    const { counts, base } = this.#resourceAt(address);
    return counts.pins(Math.floor((address - base) / PAGE_SIZE));
  }

  /** Whether all of a range belongs to the pool: then it has pages. */
  has(address: number, sizeBytes: number): boolean {
    for (let at = address; at < address + sizeBytes; ) {
      const resource = this.#resources.find(at);
      if (resource === undefined) return false;
      at = resource.base + resource.pages * PAGE_SIZE;
    }
    return true;
  }

  /** The provider of the BAR that holds `address`. @throws INVARIANT for memory that is not in the pool */
  providerAt(address: PhysAddr): PeerProvider {
    return this.#resourceAt(address).provider;
  }

  /** What a peer below the same bridge uses for `address`. @throws INVARIANT for memory that is not in the pool */
  busAddress(address: PhysAddr): DmaAddr {
    return this.providerAt(address).busAddress(address);
  }

  attach(mapper: PoolMapper): void {
    this.#mappers.add(mapper);
  }
  detach(mapper: PoolMapper): void {
    this.#mappers.delete(mapper);
  }

  /** The device goes away: no more pages, and none in user page tables. */
  close(): void {
    this.#isClosed = true;
    this.#isPublished = false;
    for (const mapper of this.#mappers) mapper.zap(this);
    this.#mappers.clear();
  }

  #sum(pages: (resource: Resource) => number): number {
    const counts = this.#resources.entries().map(({ value }) => pages(value));
    return counts.reduce((sum, count) => sum + count, 0) * PAGE_SIZE;
  }

  #isUsed(from: number, limit: number): boolean {
    for (let at = from; at < limit; at += PAGE_SIZE) {
      const resource = this.#resources.find(at);
      if (!resource || resource.counts.isFree((at - resource.base) / PAGE_SIZE)) return false;
    }
    return true;
  }

  #resourceAt(address: number): Resource {
    const resource = this.#resources.find(address);
    if (resource !== undefined) return resource;
    throw new EmuError('INVARIANT', `${hex(address)} is not in this pool of peer memory`);
  }

  #each(
    address: number,
    sizeBytes: number,
    visit: (resource: Resource, page: number) => void,
  ): void {
    const limit = address + sizeBytes;
    for (let at = address; at < limit; ) {
      const resource = this.#resourceAt(at);
      const { base, pages } = resource;
      const end = Math.min(limit, base + pages * PAGE_SIZE);
      const endPage = Math.ceil((end - base) / PAGE_SIZE);
      for (let page = Math.floor((at - base) / PAGE_SIZE); page < endPage; page++) {
        visit(resource, page);
      }
      at = end;
    }
  }
}

const gone = (): PeerRefusal => ({ refused: 'ENODEV', reason: 'the device is going away' });

/** First of `count` free pages in a row, searched from where the last search ended; -1 for none. */
function findFree(resource: Resource, count: number): number {
  const behind = scan(resource, count, resource.hint, resource.pages);
  return behind >= 0 ? behind : scan(resource, count, 0, resource.pages);
}

function scan({ counts }: Resource, count: number, from: number, limit: number): number {
  let first = from;
  for (let page = from; page < limit; page++) {
    if (!counts.isFree(page)) first = page + 1;
    else if (page + 1 - first === count) return first;
  }
  return -1;
}
