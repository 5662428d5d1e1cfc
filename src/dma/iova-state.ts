/**
 * The two-step way to map: I/O virtual addresses first, memory linked to them piece by piece, one sync; then
 * unlinked and given back. For callers that keep their memory in structures of their own. [DMAAPI]
 * Model: every device is coherent and trusted, so nothing is bounced and no attribute is refused.
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import {
  ADDR_LIMIT,
  type DmaAddr,
  dmaAddr,
  formatBdf,
  hex,
  type PhysAddr,
} from '#emu/base/units.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { DmaDevice } from './dma-device.ts';
import { IommuDomain } from './iommu-domain.ts';
import { LinkedSpans } from './linked-spans.ts';
import { Direction, type MapRefusal } from './mapping.ts';
import { MappingState } from './mapping-record.ts';
import type { WatchedState } from './mapping-watch.ts';
import { leafFlags } from './sv48-table.ts';

const NOWHERE = dmaAddr(0);

export class IovaState implements WatchedState {
  readonly #device: DmaDevice;
  /** Null where the function is not behind an IOMMU. */
  readonly #domain: IommuDomain | null;
  readonly #spans = new LinkedSpans();
  /** Reserved addresses, whole granules; none when `#iovaBytes` is 0. */
  #iova = 0;
  #iovaBytes = 0;
  #sizeBytes = 0;
  /** Bytes from `#iova` to the address that offset 0 stands for. */
  #offset = 0;
  #hasFailed = false;
  /** Unlinks that caches may not have heard of yet. */
  #unlinking = 0;

  constructor(device: DmaDevice) {
    this.#device = device;
    this.#domain = device.domain instanceof IommuDomain ? device.domain : null;
  }

  /** Where offset 0 is for the device; good while allocated. */
  get address(): DmaAddr {
    return this.isAllocated ? dmaAddr(this.#iova + this.#offset) : NOWHERE;
  }
  /** Bytes asked for; 0 while nothing is allocated. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }
  get isAllocated(): boolean {
    return this.#iovaBytes > 0;
  }

  /**
   * Reserves addresses for `sizeBytes` of which the first has the offset in its granule of `physical`. False where
   * the function has no IOMMU, for no size or one beyond 2^52, and when there are no addresses: then the caller
   * maps in another way. @throws CHECKER when it holds addresses already
   */
  tryAlloc(physical: PhysAddr, sizeBytes: number): boolean {
    if (this.isAllocated) throw this.#misuse('tryAlloc of a state that holds addresses already');
    const domain = this.#domain;
    const isSize = Number.isInteger(sizeBytes) && sizeBytes > 0 && sizeBytes < ADDR_LIMIT;
    if (domain === null || !isSize) return false;
    const offset = physical % domain.granuleBytes;
    const iovaBytes = this.#upToGranule(offset + sizeBytes);
    const iova = domain.iovas.allocate(iovaBytes);
    if (iova < 0) return false;
    this.#iova = iova;
    this.#iovaBytes = iovaBytes;
    this.#sizeBytes = sizeBytes;
    this.#offset = offset;
    this.#hasFailed = false;
    this.#device.watch?.stateAllocated(this);
    return true;
  }

  /**
   * Links memory to the addresses from `offset` on. Its own offset in a granule must be 0 but at offset 0, where it is
   * that of {@link tryAlloc}. After a refusal the caller destroys what it linked. The device may use
   * it after {@link sync}.
   * @throws CHECKER beyond the addresses and over what is linked already; USAGE for no direction
   */
  link(
    physical: PhysAddr,
    offset: number,
    sizeBytes: number,
    direction: Direction,
  ): MapRefusal | null {
    const domain = this.#allocated('link');
    if (!(direction >= Direction.ToDevice && direction <= Direction.Bidirectional)) {
      throw usage(`link: expected a Direction, got ${direction}`);
    }
    this.#checkRange('link', offset, sizeBytes);
    const pad = physical % domain.granuleBytes;
    if (pad !== 0 && offset !== 0)
      return this.#refused('EIO', `${hex(physical)} does not start a granule, at offset ${offset}`);
    const from = this.#offset + offset - pad;
    if (from % domain.granuleBytes !== 0 || from < 0) {
      return this.#refused(
        'EINVAL',
        `offset ${offset} is not where ${hex(physical)} can be linked`,
      );
    }
    const to = this.#upToGranule(this.#offset + offset + sizeBytes);
    if (this.#spans.touches(from, to)) {
      throw this.#misuse(`link of ${spanText(offset, sizeBytes)} over what is linked already`);
    }
    return this.#enter(domain, physical - pad, from, to, direction);
  }

  /** Makes what was linked in the range visible to the device: once, after its links. @throws CHECKER */
  sync(offset: number, sizeBytes: number): void {
    this.#allocated('sync');
    const [from, to] = this.#linked('sync', offset, sizeBytes);
    if (this.#spans.isSynced(from, to)) {
      throw this.#misuse(`second sync of ${spanText(offset, sizeBytes)}`);
    }
    this.#spans.sync(from, to);
  }

  /**
   * Takes the memory away from part of the addresses, which stay reserved. Completes when no cache holds them: strict
   * even where the domain is lazy. @throws CHECKER when not all of it is linked
   */
  unlink(offset: number, sizeBytes: number): Pending<void> {
    const domain = this.#allocated('unlink');
    const [from, to] = this.#linked('unlink', offset, sizeBytes);
    const done = domain.kernel.pending<void>('iova unlink');
    this.#spans.remove(from, to);
    this.#unlinking++;
    done.onDone(() => this.#unlinking--);
    domain.clear(this.#spanOf(from, to), done);
    return done;
  }

  /**
   * Unlinks the first `mappedBytes`, which must be all that is linked, and gives the addresses back, lazily where the
   * domain is lazy. With 0, as {@link free}. @throws CHECKER for another length
   */
  destroy(mappedBytes: number): Pending<void> {
    const domain = this.#allocated('destroy');
    const done = domain.kernel.pending<void>('iova destroy');
    if (mappedBytes === 0) {
      this.free();
      done.complete();
      return done;
    }
    const to = this.#upToGranule(this.#offset + mappedBytes);
    if (!(mappedBytes > 0 && this.#spans.end === to && this.#spans.covers(0, to))) {
      const linked =
        this.#spans.count === 0
          ? 'nothing is'
          : `other parts are, up to ${this.#spans.end - this.#offset},`;
      throw this.#misuse(`destroy of ${mappedBytes} bytes where ${linked} linked`);
    }
    if (!this.#spans.isAllSynced && !this.#hasFailed) {
      throw this.#misuse('destroy of memory that was linked and never synced');
    }
    this.#checkUnlinked('destroy');
    const span = this.#spanOf(0, this.#iovaBytes);
    this.#spans.remove(0, to);
    this.#forget();
    domain.release(span, done);
    return done;
  }

  /** Gives the addresses back. @throws CHECKER while anything is linked or an unlink has not completed */
  free(): void {
    const domain = this.#allocated('free');
    if (this.#spans.count > 0) throw this.#misuse('free of addresses that memory is linked to');
    this.#checkUnlinked('free');
    domain.iovas.free(this.#iova, this.#iovaBytes);
    this.#forget();
  }

  /** For the checker: whether the device may use the bytes. */
  fault(offset: number, sizeBytes: number): string | null {
    const from = this.#offset + offset;
    if (!this.#spans.covers(from, from + sizeBytes)) return 'not all of it is linked';
    return this.#spans.isSynced(from, from + sizeBytes) ? null : 'it was linked and not synced';
  }

  #enter(
    domain: IommuDomain,
    physical: number,
    from: number,
    to: number,
    direction: Direction,
  ): MapRefusal | null {
    const iova = this.#iova + from;
    try {
      domain.table.map(iova, physical, to - from, leafFlags(direction));
    } catch (error) {
      if (!(error instanceof EmuError && error.code === 'NO_MEMORY')) throw error;
      domain.table.unmap(iova, to - from, null);
      return this.#refused('ENOMEM', 'no memory for page tables');
    }
    this.#spans.add(from, to);
    return null;
  }

  /** The granules of a range that must be linked. */
  #linked(what: string, offset: number, sizeBytes: number): readonly [from: number, to: number] {
    this.#checkRange(what, offset, sizeBytes);
    const { granuleBytes } = this.#allocated(what);
    const start = this.#offset + offset;
    const from = start - (start % granuleBytes);
    const to = this.#upToGranule(start + sizeBytes);
    if (this.#spans.covers(from, to)) return [from, to];
    throw this.#misuse(`${what} of ${spanText(offset, sizeBytes)}, not all of which is linked`);
  }

  #checkRange(what: string, offset: number, sizeBytes: number): void {
    const isInside = offset >= 0 && sizeBytes > 0 && offset + sizeBytes <= this.#sizeBytes;
    if (isInside && Number.isInteger(offset) && Number.isInteger(sizeBytes)) return;
    throw this.#misuse(
      `${what} of ${spanText(offset, sizeBytes)} in a state of ${this.#sizeBytes} bytes`,
    );
  }

  #checkUnlinked(what: string): void {
    if (this.#unlinking === 0) return;
    throw this.#misuse(`${what} before an unlink has completed`);
  }

  #allocated(what: string): IommuDomain {
    if (this.#domain !== null && this.isAllocated) return this.#domain;
    throw this.#misuse(`${what} of a state that holds no addresses`);
  }

  #upToGranule(bytes: number): number {
    const granule = this.#domain?.granuleBytes ?? 1;
    return Math.ceil(bytes / granule) * granule;
  }

  #spanOf(from: number, to: number) {
    return { iova: this.#iova + from, iovaBytes: to - from, state: MappingState.Unmapping };
  }

  #forget(): void {
    this.#device.watch?.stateReleased(this);
    this.#iova = 0;
    this.#iovaBytes = 0;
    this.#sizeBytes = 0;
    this.#offset = 0;
  }

  #refused(refused: MapRefusal['refused'], reason: string): MapRefusal {
    this.#hasFailed = true;
    return { refused, reason };
  }

  #misuse(what: string): EmuError {
    const { bdf, watch } = this.#device;
    const sites = watch?.sites(this) ?? '';
    return new EmuError('CHECKER', `${formatBdf(bdf)}: ${what}${sites}`, { bdf });
  }
}

const spanText = (offset: number, sizeBytes: number): string =>
  `${sizeBytes} bytes at offset ${offset}`;
