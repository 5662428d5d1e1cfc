/**
 * The two-step way to map: I/O virtual addresses first, memory linked to them piece by piece, one sync; then
 * unlinked and given back. For callers that keep their memory in structures of their own. [DMAAPI]
 * @module
 */
import type { EmuError } from '#emu/base/errors.ts';
import {
  ADDR_LIMIT,
  type DmaAddr,
  dmaAddr,
  hex,
  hi32,
  lo32,
  type PhysAddr,
} from '#emu/base/units.ts';
import { admission, checkCall } from '#emu/dma/admission.ts';
import type { CheckerClass } from '#emu/dma/checker/checker-class.ts';
import { directionFault, type Fault, REVOKED } from '#emu/dma/checker/checker-faults.ts';
import { misuse } from '#emu/dma/checker/dma-misuse.ts';
import type { MappingClaim } from '#emu/dma/checker/mapping-claim.ts';
import type { WatchedState } from '#emu/dma/checker/mapping-watch.ts';
import { DmaAttr, NEVER_BOUNCED } from '#emu/dma/dma-attr.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type MapRefusal } from '#emu/dma/mapping.ts';
import { MappingState } from '#emu/dma/mapping-record.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { IovaLinks } from './iova-links.ts';
import type { Span } from './linked-spans.ts';

const NOWHERE = dmaAddr(0);
/** Bit 63 of the size: some part went through copies. [DMAAPI] */
const USES_COPIES = 0x8000_0000;

export class IovaState implements WatchedState {
  readonly #device: DmaDevice;
  /** Null where the function is not behind an IOMMU. */
  readonly #domain: IommuDomain | null;
  readonly #links: IovaLinks | null;
  /** Reserved addresses, whole granules; none when `#iovaBytes` is 0. */
  #iova = 0;
  #iovaBytes = 0;
  #sizeBytes = 0;
  /** Bytes from `#iova` to the address that offset 0 stands for. */
  #offset = 0;
  #usesCopies = false;
  #hasFailed = false;
  /** Unlinks that caches may not have heard of yet. */
  #unlinking = 0;

  constructor(device: DmaDevice) {
    this.#device = device;
    this.#domain = device.domain instanceof IommuDomain ? device.domain : null;
    this.#links = this.#domain && new IovaLinks(this.#domain);
  }

  /** Where offset 0 is for the device; good while allocated. */
  get address(): DmaAddr {
    return this.isAllocated ? dmaAddr(this.#iova + this.#offset) : NOWHERE;
  }
  /** Bytes asked for; 0 while nothing is allocated. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }
  /** The size as the state stores it: 64 bits as two words, the topmost of which tells of copies. [DMAAPI] */
  get sizeWords(): readonly [lo: number, hi: number] {
    const flag = this.#usesCopies ? USES_COPIES : 0;
    return [lo32(this.#sizeBytes), (hi32(this.#sizeBytes) | flag) >>> 0];
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
    this.#device.checkAttached('tryAlloc');
    if (this.isAllocated) {
      throw this.#misuse('order', 'tryAlloc of a state that holds addresses already');
    }
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
    this.#usesCopies = false;
    this.#device.stateOpened();
    this.#device.watch?.stateAllocated(this);
    return true;
  }

  /**
   * Links memory to the addresses from `offset` on. Its own offset in a granule must be 0 but at offset 0, where it is
   * that of {@link tryAlloc}. After a refusal the caller destroys what it linked. The device may use
   * it after {@link sync}.
   * @param source the list that the memory is of: then its pin or lease is asked and counts the link
   * @throws CHECKER beyond the addresses and over what is linked already; USAGE for no direction
   */
  link(
    physical: PhysAddr,
    offset: number,
    sizeBytes: number,
    direction: Direction,
    attrs = 0,
    source: PhyRangeList | null = null,
  ): MapRefusal | null {
    const domain = this.#allocated('link');
    checkCall('link', direction, attrs);
    this.#checkRange('link', offset, sizeBytes);
    const at = this.#offset + offset;
    const isCopied = domain.bouncer?.needsCopy(physical, sizeBytes, direction) ?? false;
    const refusal =
      this.#placeRefusal(physical, offset, domain.granuleBytes) ??
      admission(source, direction, attrs, this.#device.traits) ??
      this.#copyRefusal(attrs, isCopied);
    if (refusal !== null) return this.#refused(refusal);
    // What is linked are whole granules.
    if (this.#spans.touches(at, at + sizeBytes)) {
      const what = `link of ${spanText(offset, sizeBytes)} over what is linked already`;
      throw this.#misuse('order', what);
    }
    const rest = { direction, attrs, source };
    const failed = this.#links!.enter(this.#iova, at, physical, sizeBytes, rest, isCopied);
    if (failed !== null) return this.#refused(failed);
    this.#usesCopies ||= isCopied;
    this.#device.maintain(sizeBytes, attrs);
    return null;
  }

  /** Makes what was linked in the range visible to the device: once, after its links. @throws CHECKER */
  sync(offset: number, sizeBytes: number): void {
    this.#allocated('sync');
    const [from, to] = this.#linked('sync', offset, sizeBytes);
    if (this.#spans.isSynced(from, to)) {
      throw this.#misuse('order', `second sync of ${spanText(offset, sizeBytes)}`);
    }
    this.#spans.sync(from, to);
  }

  /**
   * Takes the memory away from part of the addresses, which stay reserved. Completes when no cache holds them: strict
   * even where the domain is lazy. @param claim what the caller believes was linked
   * @throws CHECKER when not all of it is linked, or not as claimed
   */
  unlink(offset: number, sizeBytes: number, claim: MappingClaim = {}): Pending<void> {
    const domain = this.#allocated('unlink');
    const [from, to] = this.#linked('unlink', offset, sizeBytes);
    this.#compare('unlink', from, to, claim);
    const done = domain.kernel.pending<void>('iova unlink');
    const taken = this.#spans.remove(from, to);
    this.#unlinking++;
    done.onDone(() => {
      this.#unlinking--;
      this.#ended(taken);
    });
    domain.clear(this.#spanOf(from, to), done);
    return done;
  }

  /**
   * Unlinks the first `mappedBytes`, which must be all that is linked, and gives the addresses back, lazily where the
   * domain is lazy and nobody waits for the memory. With 0, as {@link free}.
   * @param claim what the caller believes was linked @throws CHECKER for another length, or not as claimed
   */
  destroy(mappedBytes: number, claim: MappingClaim = {}): Pending<void> {
    const domain = this.#allocated('destroy');
    const done = domain.kernel.pending<void>('iova destroy');
    if (mappedBytes === 0) {
      this.free();
      done.complete();
      return done;
    }
    const to = this.#upToGranule(this.#offset + mappedBytes);
    if (!(mappedBytes > 0 && this.#spans.end === to && this.#spans.covers(0, to))) {
      throw this.#misuse('other-size', this.#wrongLength(mappedBytes));
    }
    if (!this.#spans.isAllSynced && !this.#hasFailed) {
      throw this.#misuse('order', 'destroy of memory that was linked and never synced');
    }
    this.#checkUnlinked('destroy');
    this.#compare('destroy', 0, to, claim);
    const span = this.#spanOf(0, this.#iovaBytes);
    const taken = this.#spans.remove(0, to);
    done.onDone(() => this.#ended(taken));
    domain.release(span, done, IovaLinks.endsStrictly(taken));
    this.#forget();
    return done;
  }

  /** Gives the addresses back. @throws CHECKER while anything is linked or an unlink has not completed */
  free(): void {
    const domain = this.#allocated('free');
    if (this.#spans.count > 0) {
      throw this.#misuse('order', 'free of addresses that memory is linked to');
    }
    this.#checkUnlinked('free');
    domain.iovas.free(this.#iova, this.#iovaBytes);
    this.#forget();
  }

  /** For the checker: what is wrong with an access of the device to the bytes, or null. */
  fault(offset: number, sizeBytes: number, isWrite: boolean): Fault | null {
    const from = this.#offset + offset;
    const to = from + sizeBytes;
    if (!this.#spans.covers(from, to)) return ['not-synced', 'not all of it is linked'];
    if (!this.#spans.isSynced(from, to)) return ['not-synced', 'it was linked and not synced'];
    for (const { link } of this.#spans.within(from, to)) {
      if (link.source?.hold?.isRevoked) return REVOKED;
      const wrongWay = directionFault(link.direction, isWrite);
      if (wrongWay !== null) return wrongWay;
    }
    return null;
  }

  get #spans() {
    return this.#links!.spans;
  }

  /** Why memory cannot be linked at that place, or null. */
  #placeRefusal(physical: PhysAddr, offset: number, granule: number): MapRefusal | null {
    const pad = physical % granule;
    if (pad !== 0 && offset !== 0) {
      const reason = `${hex(physical)} does not start a granule, at offset ${offset}`;
      return { refused: 'EIO', reason };
    }
    if ((this.#offset + offset - pad) % granule === 0) return null;
    const reason = `offset ${offset} is not where ${hex(physical)} can be linked`;
    return { refused: 'EINVAL', reason };
  }

  /** Why copies and attributes do not go together, or null. [DMAAPI] */
  #copyRefusal(attrs: number, isCopied: boolean): MapRefusal | null {
    if (this.#usesCopies && (attrs & DmaAttr.RequireCoherent) !== 0) {
      return { refused: 'EOPNOTSUPP', reason: 'other parts of the state are copies' };
    }
    if (!isCopied || (attrs & NEVER_BOUNCED) === 0) return null;
    return { refused: 'EPERM', reason: 'it would need a copy, and must have none' };
  }

  #ended(taken: readonly Span[]): void {
    for (const { from, to, link } of taken) {
      if (link.direction !== Direction.ToDevice) this.#device.maintain(to - from, link.attrs);
    }
    this.#links!.end(taken);
  }

  /** The granules of a range that must be linked. */
  #linked(what: string, offset: number, sizeBytes: number): readonly [from: number, to: number] {
    this.#checkRange(what, offset, sizeBytes);
    const { granuleBytes } = this.#allocated(what);
    const start = this.#offset + offset;
    const from = start - (start % granuleBytes);
    const to = this.#upToGranule(start + sizeBytes);
    if (this.#spans.covers(from, to)) return [from, to];
    const text = spanText(offset, sizeBytes);
    throw this.#misuse('not-mapped', `${what} of ${text}, not all of which is linked`);
  }

  #checkRange(what: string, offset: number, sizeBytes: number): void {
    const isInside = offset >= 0 && sizeBytes > 0 && offset + sizeBytes <= this.#sizeBytes;
    if (isInside && Number.isInteger(offset) && Number.isInteger(sizeBytes)) return;
    const state = `a state of ${this.#sizeBytes} bytes`;
    throw this.#misuse('outside', `${what} of ${spanText(offset, sizeBytes)} in ${state}`);
  }

  #compare(what: string, from: number, to: number, claim: MappingClaim): void {
    for (const { link } of this.#spans.within(from, to)) {
      const { direction = link.direction, attrs = link.attrs } = claim;
      if (direction !== link.direction) {
        const text = `${what} of direction ${direction}, linked as ${link.direction}`;
        throw this.#misuse('other-direction', text);
      }
      if (attrs === link.attrs) continue;
      const text = `${what} of attributes ${attrs}, linked with ${link.attrs}`;
      throw this.#misuse('other-attributes', text);
    }
  }

  #wrongLength(mappedBytes: number): string {
    const { count, end } = this.#spans;
    const linked = count === 0 ? 'nothing is' : `other parts are, up to ${end - this.#offset},`;
    return `destroy of ${mappedBytes} bytes where ${linked} linked`;
  }

  #checkUnlinked(what: string): void {
    if (this.#unlinking > 0) throw this.#misuse('order', `${what} before an unlink has completed`);
  }

  #allocated(what: string): IommuDomain {
    if (this.#domain !== null && this.isAllocated) return this.#domain;
    throw this.#misuse('not-mapped', `${what} of a state that holds no addresses`);
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
    this.#device.stateClosed();
    this.#iova = 0;
    this.#iovaBytes = 0;
    this.#sizeBytes = 0;
    this.#offset = 0;
  }

  #refused(refusal: MapRefusal): MapRefusal {
    this.#hasFailed = true;
    return refusal;
  }

  #misuse(kind: CheckerClass, what: string): EmuError {
    return misuse(this.#device, kind, what, this);
  }
}

const spanText = (offset: number, sizeBytes: number): string =>
  `${sizeBytes} bytes at offset ${offset}`;
