/**
 * One unmap under way: entries cleared, invalidations and a fence queued; then addresses and empty tables are
 * given back. [RVIOMMU] 6.2
 * @module
 */
import type { EmuError } from '#emu/base/errors.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { CommandRing, Invalidation } from './command-ring.ts';
import type { DmaHost } from './dma-provider.ts';
import type { IovaAllocator } from './iova-allocator.ts';
import { type MappingRecord, MappingState } from './mapping-record.ts';
import { type Sv48Table, TABLE_BYTES } from './sv48-table.ts';

/** The parts of a domain that an unmap changes. */
interface Domain {
  readonly pscid: number;
  readonly table: Sv48Table;
  readonly iovas: IovaAllocator;
}

/** Up to so many pages are invalidated one by one; more, as a whole address space. */
const PAGES_ONE_BY_ONE = 8;
const PAGE = 4096;
/** Mappings from this size on take tables out that they leave empty. */
const PRUNE_BYTES = 2 ** 21;

export class DomainFlush implements Invalidation {
  readonly #domain: Domain;
  readonly #host: DmaHost;
  readonly #mapping: MappingRecord;
  readonly #done: Pending<void>;
  #emptied: PhysAddr[] | null = null;

  constructor(domain: Domain, host: DmaHost, mapping: MappingRecord, done: Pending<void>) {
    this.#domain = domain;
    this.#host = host;
    this.#mapping = mapping;
    this.#done = done;
  }

  get commands(): number {
    const pages = this.#mapping.iovaBytes / PAGE;
    return pages <= PAGES_ONE_BY_ONE ? pages : 1;
  }

  start(ring: CommandRing): void {
    const { iova, iovaBytes } = this.#mapping;
    if (iovaBytes === 0) return this.#finish();
    if (iovaBytes >= PRUNE_BYTES) this.#emptied = [];
    this.#domain.table.unmap(iova, iovaBytes, this.#emptied);
    ring.submit(this);
  }

  emit(ring: CommandRing): void {
    const { iova, iovaBytes } = this.#mapping;
    const { pscid } = this.#domain;
    if (iovaBytes > PAGES_ONE_BY_ONE * PAGE) return ring.invalidateSpace(pscid);
    for (let done = 0; done < iovaBytes; done += PAGE) ring.invalidatePage(pscid, iova + done);
  }

  fenced(): void {
    const { iova, iovaBytes } = this.#mapping;
    this.#domain.iovas.free(iova, iovaBytes);
    if (this.#emptied !== null) {
      for (const table of this.#emptied) this.#host.free(table, TABLE_BYTES);
    }
    this.#finish();
  }

  failed(error: EmuError): void {
    this.#done.fail(error);
  }

  #finish(): void {
    this.#mapping.state = MappingState.Gone;
    this.#done.complete();
  }
}
