/**
 * One unmap under way: entries cleared, invalidations and a fence queued; then addresses and empty tables are
 * given back. [RVIOMMU] 6.2
 * @module
 */
import type { EmuError } from '#emu/base/errors.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import type { CommandRing, Invalidation } from '#emu/dma/iommu-driver/command-ring.ts';
import { type Sv48Table, TABLE_BYTES } from '#emu/dma/iommu-driver/sv48-table.ts';
import type { IovaAllocator } from '#emu/dma/iova/iova-allocator.ts';
import { MappingState } from '#emu/dma/mapping-record.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { DmaHost } from './dma-provider.ts';

/** The parts of a domain that an unmap changes. */
interface Domain {
  readonly pscid: number;
  readonly table: Sv48Table;
  readonly iovas: IovaAllocator;
}

/** Addresses that are to be unmapped. */
export interface FlushSpan {
  readonly iova: number;
  readonly iovaBytes: number;
  /** Set to Gone when no cache holds them. */
  state: MappingState;
}

/** Up to so many pages are invalidated one by one; more, as a whole address space. */
const PAGES_ONE_BY_ONE = 8;
const PAGE = 4096;
/** Mappings from this size on take tables out that they leave empty. */
export const PRUNE_BYTES: number = 2 ** 21;

export class DomainFlush implements Invalidation {
  readonly #domain: Domain;
  readonly #host: DmaHost;
  readonly #span: FlushSpan;
  readonly #done: Pending<void>;
  readonly #keepsIova: boolean;
  #emptied: PhysAddr[] | null = null;

  /** @param keepsIova whether the addresses stay with whoever has them */
  constructor(
    domain: Domain,
    host: DmaHost,
    span: FlushSpan,
    done: Pending<void>,
    keepsIova = false,
  ) {
    this.#domain = domain;
    this.#host = host;
    this.#span = span;
    this.#done = done;
    this.#keepsIova = keepsIova;
  }

  get commands(): number {
    const pages = this.#span.iovaBytes / PAGE;
    return pages <= PAGES_ONE_BY_ONE ? pages : 1;
  }

  start(ring: CommandRing): void {
    const { iova, iovaBytes } = this.#span;
    if (iovaBytes === 0) return this.#finish();
    if (iovaBytes >= PRUNE_BYTES) this.#emptied = [];
    this.#domain.table.unmap(iova, iovaBytes, this.#emptied);
    ring.submit(this);
  }

  emit(ring: CommandRing): void {
    const { iova, iovaBytes } = this.#span;
    const { pscid } = this.#domain;
    if (iovaBytes > PAGES_ONE_BY_ONE * PAGE) return ring.invalidateSpace(pscid);
    for (let done = 0; done < iovaBytes; done += PAGE) ring.invalidatePage(pscid, iova + done);
  }

  fenced(): void {
    const { iova, iovaBytes } = this.#span;
    if (!this.#keepsIova) this.#domain.iovas.free(iova, iovaBytes);
    if (this.#emptied !== null) {
      for (const table of this.#emptied) this.#host.free(table, TABLE_BYTES);
    }
    this.#finish();
  }

  failed(error: EmuError): void {
    this.#done.fail(error);
  }

  #finish(): void {
    this.#span.state = MappingState.Gone;
    this.#done.complete();
  }
}
