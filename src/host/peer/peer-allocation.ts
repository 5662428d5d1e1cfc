/**
 * One allocation of a pool of peer memory as those who map it see it: to be mapped while it is allocated and its device
 * stays, and not to be given back while it is mapped. [P2PDMA]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { ListHold } from '#emu/dma/lists/list-hold.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { CallSite } from '#emu/host/call-site.ts';
import type { Refusal } from '#emu/host/memory/refusal.ts';

/** Whose memory it is. */
interface Pool {
  readonly isClosed: boolean;
}

export class PeerAllocation implements ListHold {
  readonly #pool: Pool;
  readonly #list: PhyRangeList;
  /** The owner never takes it back: one that leaves waits. */
  readonly isRevoked = false;
  readonly isWritable = true;
  readonly endsStrictly = true;
  readonly #recordsSites: boolean;
  readonly #site: CallSite;
  #mappings = 0;
  #freed: CallSite | null = null;

  /** @param recordsSites whether to remember where it was made and freed, for reports */
  constructor(pool: Pool, list: PhyRangeList, recordsSites: boolean) {
    this.#pool = pool;
    this.#list = list;
    this.#recordsSites = recordsSites;
    this.#site = new CallSite(recordsSites);
  }

  get mappings(): number {
    return this.#mappings;
  }

  /** @throws CHECKER when it was given back */
  admit(): Refusal<'ENODEV'> | null {
    if (this.#freed !== null) throw this.#misuse('map of peer memory that was freed');
    return this.#pool.isClosed ? { refused: 'ENODEV', reason: 'the device is going away' } : null;
  }

  mapped(): void {
    this.#mappings++;
  }

  unmapped(): void {
    if (this.#mappings === 0) throw this.#misuse('unmap of peer memory that is not mapped');
    this.#mappings--;
  }

  /** Ends it. @throws CHECKER while it is mapped */
  release(): void {
    if (this.#mappings > 0) {
      throw this.#misuse(`free of peer memory with ${this.#mappings} mappings not yet unmapped`);
    }
    this.#freed = new CallSite(this.#recordsSites);
  }

  #misuse(what: string): EmuError {
    const here = new CallSite(this.#recordsSites).toString();
    const freed = this.#freed === null ? '' : `; freed at ${this.#freed}`;
    const made = `${this.#list.sizeBytes} bytes allocated at ${this.#site}${freed}`;
    return new EmuError('CHECKER', `${what}; ${made}; wrong call at ${here}`);
  }
}
