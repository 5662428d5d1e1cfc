/**
 * The right of one device to map memory of another, which its owner can take back at any time: afterwards mapping is
 * refused, and the owner waits for the mappings that are left. [P2PDMA]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { ListHold } from '#emu/dma/lists/list-hold.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { CallSite } from '#emu/host/call-site.ts';
import type { Refusal } from '#emu/host/memory/refusal.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';

/** What the provider gives a lease. */
export interface LeaseTerms {
  readonly importer: string;
  /** For reports. */
  readonly provider: string;
  readonly isWritable: boolean;
  readonly kernel: Pick<Kernel, 'pending'>;
  readonly site: CallSite;
  readonly recordsSites: boolean;
  readonly onRevoke: (lease: PeerLease) => void;
  /** Nothing is left of it. */
  readonly onEnd: (lease: PeerLease) => void;
}

export class PeerLease implements ListHold {
  /** What may be mapped. */
  readonly list: PhyRangeList;
  readonly #terms: LeaseTerms;
  #mappings = 0;
  #isReleased = false;
  #revoked: Pending<void> | null = null;

  constructor(list: PhyRangeList, terms: LeaseTerms) {
    this.list = list;
    this.#terms = terms;
    list.hold = this;
  }

  get importer(): string {
    return this.#terms.importer;
  }
  get mappings(): number {
    return this.#mappings;
  }
  get isRevoked(): boolean {
    return this.#revoked !== null;
  }
  /** The owner gets its memory back when the last mapping has ended. */
  get endsStrictly(): boolean {
    return true;
  }
  get isWritable(): boolean {
    return this.#terms.isWritable;
  }

  /** @throws CHECKER when the importer gave the lease back */
  admit(): Refusal<'ENODEV'> | null {
    if (this.#isReleased) throw this.#misuse('map of a lease that was released');
    if (this.#revoked === null) return null;
    return { refused: 'ENODEV', reason: `${this.#terms.provider} took its memory back` };
  }

  mapped(): void {
    this.#mappings++;
  }

  unmapped(): void {
    if (this.#mappings === 0) throw this.#misuse('unmap of a lease that is not mapped');
    this.#mappings--;
    if (this.#mappings === 0 && this.#revoked !== null) this.#end(this.#revoked);
  }

  /**
   * Takes the memory back. Tells the importer, once, before this returns; completes when no mapping is left.
   * The same for every call.
   */
  revoke(): Pending<void> {
    if (this.#revoked !== null) return this.#revoked;
    const done = this.#terms.kernel.pending<void>('peer lease revoke');
    this.#revoked = done;
    if (this.#isReleased) {
      done.complete();
      return done;
    }
    this.#terms.onRevoke(this);
    if (this.#mappings === 0 && !done.done) this.#end(done);
    return done;
  }

  /** The importer needs it no more. Nothing happens after a revoke. @throws CHECKER while mapped or when released */
  release(): void {
    if (this.#isReleased) throw this.#misuse('second release of a lease');
    if (this.#mappings > 0) {
      throw this.#misuse(`release of a lease with ${this.#mappings} mappings not yet unmapped`);
    }
    this.#isReleased = true;
    if (this.#revoked === null) this.#terms.onEnd(this);
  }

  /** As reports show it. */
  toString(): string {
    const { importer, provider, site } = this.#terms;
    return `${this.list.sizeBytes} bytes of ${provider} for ${importer}, leased at ${site}`;
  }

  #end(done: Pending<void>): void {
    done.complete();
    this.#terms.onEnd(this);
  }

  #misuse(what: string): EmuError {
    const here = new CallSite(this.#terms.recordsSites).toString();
    return new EmuError('CHECKER', `${what}; ${this}; wrong call at ${here}`, {
      leaseSite: this.#terms.site.toString(),
      callSite: here,
    });
  }
}
