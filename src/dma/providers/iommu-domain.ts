/**
 * One function's address space behind the IOMMU: page table, I/O virtual addresses, and the rules by which
 * a list of segments becomes a list for the device. An address is free again only when no cache can hold it:
 * strict, before unmap completes; lazy, with a later flush. [DMAAPI], [RVIOMMU] 6.2
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { alignUp, type DmaAddr, dmaAddr, hex, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { CommandRing } from '#emu/dma/iommu-driver/command-ring.ts';
import { leafFlags, SV48_LIMIT, Sv48Table, TABLE_BYTES } from '#emu/dma/iommu-driver/sv48-table.ts';
import { IovaAllocator, type Reserved } from '#emu/dma/iova/iova-allocator.ts';
import { DmaFlag } from '#emu/dma/lists/dma-range-list.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import { Direction, isRefusal, type MapRefusal, MapType } from '#emu/dma/mapping.ts';
import { MappingRecord, MappingState } from '#emu/dma/mapping-record.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { DmaDomain, DmaHost, DmaLimits } from './dma-provider.ts';
import { DomainFlush, type FlushSpan, PRUNE_BYTES } from './domain-flush.ts';
import { FlushPolicy, FlushQueue } from './flush-queue.ts';
import type { IommuBouncer } from './iommu-bouncer.ts';

export interface IommuDomainOptions {
  readonly host: DmaHost;
  readonly ring: CommandRing;
  readonly segments: SegmentCursor;
  readonly limits: DmaLimits;
  /** Address space id, unique among the domains of one IOMMU. */
  readonly pscid: number;
  readonly granuleBytes: number;
  /** Windows that no I/O virtual address may lie in, the doorbell's among them. */
  readonly reserved: readonly Reserved[];
  /** Interrupt doorbells, which keep their physical address. */
  readonly doorbell: Reserved;
  /** Default strict. */
  readonly flush?: FlushPolicy;
  /** Who makes copies of what the device must not use as it is; default nobody. */
  readonly bouncer?: IommuBouncer | null;
  /** Takes the function's context away, and adds the commands for it; by default there is none. */
  readonly contexts?: DomainContexts;
}

/** The function's entry in the device directory. */
export interface DomainContexts {
  clear(): void;
  /** Writes one command. */
  invalidate(ring: CommandRing): void;
}

const PAGE = 4096;

export class IommuDomain implements DmaDomain {
  readonly pscid: number;
  readonly table: Sv48Table;
  readonly iovas: IovaAllocator;
  /** What was unmapped and is not flushed yet; null for a strict domain. */
  readonly flushQueue: FlushQueue | null;
  readonly granuleBytes: number;
  readonly segments: SegmentCursor;
  readonly bouncer: IommuBouncer | null;
  readonly #options: IommuDomainOptions;
  readonly #addressLimit: number;
  readonly #granule: number;
  readonly #boundary: number;
  readonly #maxSegment: number;
  readonly #doorbells = new Map<PhysAddr, DmaAddr>();
  /** The output range being collected; closed when `#openBytes` is 0. */
  #openAt = 0;
  #isCutOff = false;
  #openBytes = 0;

  constructor(options: IommuDomainOptions) {
    const { limits, granuleBytes, reserved } = options;
    this.#options = options;
    this.pscid = options.pscid;
    this.table = new Sv48Table(options.host);
    this.granuleBytes = granuleBytes;
    this.segments = options.segments;
    this.bouncer = options.bouncer ?? null;
    this.#addressLimit = limits.addressLimit;
    this.#granule = granuleBytes;
    this.#boundary = limits.boundaryBytes;
    this.#maxSegment = limits.maxSegmentBytes;
    const limit = Math.min(limits.addressLimit, SV48_LIMIT);
    this.iovas = new IovaAllocator({ granuleBytes, limit, reserved });
    const { host, ring, pscid, flush = FlushPolicy.Strict } = options;
    const queue = { host, ring, pscid, iovas: this.iovas, path: `iommu domain ${pscid}` };
    this.flushQueue = flush === FlushPolicy.Lazy ? new FlushQueue(queue) : null;
  }

  get maxRangeBytes(): number {
    return this.bouncer?.maxRangeBytes ?? Number.POSITIVE_INFINITY;
  }

  map(list: PhyRangeList, direction: Direction, attrs = 0): MappingRecord | MapRefusal {
    if (this.bouncer === null) return this.#map(list, list, direction);
    const guarded = this.bouncer.guard(list, this.segments, direction, attrs);
    if ('refused' in guarded) return guarded;
    if (!('bounced' in guarded)) return this.#map(list, list, direction);
    const { memory, bounced } = guarded;
    const mapping = this.#map(list, memory, direction);
    if (isRefusal(mapping)) bounced.release();
    else mapping.bounced = bounced;
    return mapping;
  }

  /** Maps `memory` in place of `list`. */
  #map(list: PhyRangeList, memory: PhyRangeList, direction: Direction): MappingRecord | MapRefusal {
    const { segments } = this.#options;
    const mapping = new MappingRecord(this, list, direction);
    let iovaBytes = 0;
    segments.open(memory);
    while (segments.next()) {
      const { type } = segments;
      if (type === MapType.NotSupported) return segments.refusal();
      if (mapping.mapType === MapType.None) mapping.mapType = type;
      if (type === MapType.BusAddress && this.#isBeyond(segments)) return this.#tooHigh(segments);
      if (type !== MapType.BusAddress) iovaBytes += this.#padding(iovaBytes) + this.#spanBytes();
    }
    if (iovaBytes > 0) {
      const iova = this.iovas.allocate(iovaBytes);
      if (iova < 0) {
        // What waits for a flush may be enough the next time.
        this.flushQueue?.flush();
        return noMemory(`no I/O virtual addresses for ${hex(iovaBytes)} bytes`);
      }
      mapping.iova = iova;
      mapping.iovaBytes = iovaBytes;
    }
    return this.#fill(mapping, memory);
  }

  unmap(mapping: MappingRecord, done: Pending<void>): void {
    const { bounced, source } = mapping;
    if (bounced === null) {
      return this.release(mapping, done, source.hold?.endsStrictly === true);
    }
    const ended = this.kernel.pending<void>('bounced unmap');
    const finish = (): void => {
      if (mapping.isCopiedBack) bounced.copyOut(0, source.sizeBytes);
      bounced.release();
      done.complete();
    };
    ended.onDone(finish, (error) => done.fail(error));
    // The copies are somebody else's next, so no cache may hold them.
    this.release(mapping, ended, true);
  }

  get kernel(): Kernel {
    return this.#options.host.kernel;
  }

  /** Unmaps addresses and gives them back, lazily where the domain is lazy and that will do. */
  release(span: FlushSpan, done: Pending<void>, isStrict = false): void {
    const { host, ring } = this.#options;
    if (this.flushQueue === null || isStrict)
      return new DomainFlush(this, host, span, done).start(ring);
    this.#unmapLazily(this.flushQueue, span);
    done.complete();
  }

  /** Unmaps addresses that stay with their owner; `done` when no cache holds them, even where the domain is lazy. */
  clear(span: FlushSpan, done: Pending<void>): void {
    const { host, ring } = this.#options;
    new DomainFlush(this, host, span, done, true).start(ring);
  }

  mapDoorbell(address: PhysAddr): DmaAddr {
    const page = offsetBy(address, -(address & (PAGE - 1)));
    const known = this.#doorbells.get(page) ?? this.#addDoorbell(page);
    return offsetBy(known, address - page);
  }

  #unmapLazily(queue: FlushQueue, span: FlushSpan): void {
    const { iova, iovaBytes } = span;
    span.state = MappingState.Gone;
    if (iovaBytes === 0) return;
    const emptied: PhysAddr[] | null = iovaBytes >= PRUNE_BYTES ? [] : null;
    this.table.unmap(iova, iovaBytes, emptied);
    queue.add(iova, iovaBytes, emptied);
  }

  /**
   * Clears addresses that no device knows yet, so that no cache holds them, and frees all tables that are left empty: what
   * a failure has made.
   */
  discard(iova: number, sizeBytes: number): void {
    const emptied = this.table.discard(iova, sizeBytes);
    for (const table of emptied) this.#options.host.free(table, TABLE_BYTES);
  }

  /** Takes the function's context away, so that its place may be another's; what is mapped stays until it is unmapped. */
  cutOff(): void {
    const { ring, contexts } = this.#options;
    this.#isCutOff = true;
    contexts?.clear();
    ring.submit({
      commands: 1,
      emit: () => contexts?.invalidate(ring),
      fenced: () => {},
      // Whoever unmaps is told.
      failed: () => {},
    });
  }

  /** Takes the function's context away; then no cache holds anything of it, and its tables and addresses are given up. */
  detach(done: Pending<void>): void {
    const { host, ring, contexts, pscid } = this.#options;
    this.flushQueue?.flush();
    const ownContext = this.#isCutOff ? undefined : contexts;
    ownContext?.clear();
    ring.submit({
      commands: 2,
      emit: () => {
        ownContext?.invalidate(ring);
        ring.invalidateSpace(pscid);
      },
      fenced: () => {
        for (const table of this.table.dispose()) host.free(table, TABLE_BYTES);
        done.complete();
      },
      failed: (error) => done.fail(error),
    });
  }

  #isBeyond({ address, length, busOffset }: SegmentCursor): boolean {
    return address + length + busOffset > this.#addressLimit;
  }

  #tooHigh({ address, length, busOffset }: SegmentCursor): MapRefusal {
    const end = hex(address + length + busOffset);
    const reason = `bus addresses up to ${end} are beyond the device's ${hex(this.#addressLimit)}`;
    return { refused: 'EIO', reason };
  }

  /** Writes the page table and the list for the device; undoes both when memory runs out. */
  #fill(mapping: MappingRecord, memory: PhyRangeList): MappingRecord | MapRefusal {
    try {
      this.#mapSegments(mapping, memory);
      return mapping;
    } catch (error) {
      if (!(error instanceof EmuError && error.code === 'NO_MEMORY')) throw error;
      this.discard(mapping.iova, mapping.iovaBytes);
      this.iovas.free(mapping.iova, mapping.iovaBytes);
      return noMemory('no memory for page tables');
    }
  }

  /**
   * One range continues the one before when that ended on a granule, this one starts on one and not on a boundary,
   * and the sum is no longer than a segment may be. A bus address is always a range of its own.
   * Model: padding up to a boundary stays unmapped; Linux maps what lies behind the segment there. [DMAAPI]
   */
  #mapSegments(mapping: MappingRecord, memory: PhyRangeList): void {
    const { segments } = this.#options;
    const flags = leafFlags(mapping.direction);
    let used = 0;
    this.#openBytes = 0;
    segments.open(memory);
    while (segments.next()) {
      const { address, length, type } = segments;
      if (type === MapType.BusAddress) {
        this.#close(mapping);
        const bus = dmaAddr(address + segments.busOffset);
        mapping.ranges.appendApart(bus, length, DmaFlag.BusAddress);
        continue;
      }
      used += this.#padding(used);
      const iova = mapping.iova + used;
      const offset = address & (this.#granule - 1);
      const spanBytes = this.#spanBytes();
      this.table.map(iova, address - offset, spanBytes, flags);
      const isJoined =
        offset === 0 &&
        this.#openBytes > 0 &&
        distanceTo(iova, this.#boundary) !== 0 &&
        this.#openBytes + length <= this.#maxSegment;
      if (isJoined) {
        this.#openBytes += length;
      } else {
        this.#close(mapping);
        this.#openAt = iova + offset;
        this.#openBytes = length;
      }
      if (offset + length !== spanBytes) this.#close(mapping);
      used += spanBytes;
    }
    this.#close(mapping);
  }

  #close(mapping: MappingRecord): void {
    if (this.#openBytes > 0) mapping.ranges.appendApart(dmaAddr(this.#openAt), this.#openBytes);
    this.#openBytes = 0;
  }

  /** Whole granules that the current segment touches, in bytes. */
  #spanBytes(): number {
    const { address, length } = this.#options.segments;
    const offset = address & (this.#granule - 1);
    return alignUp(offset + length, this.#granule);
  }

  /**
   * Bytes to leave out behind `used` so that the current segment does not cross a boundary that it could avoid. The
   * parts of one long range stay together, and so keep their alignment and their large pages.
   */
  #padding(used: number): number {
    if (this.#options.segments.continues) return 0;
    const padding = distanceTo(used, this.#boundary);
    return padding < this.#spanBytes() ? padding : 0;
  }

  #addDoorbell(page: PhysAddr): DmaAddr {
    const { doorbell, granuleBytes } = this.#options;
    const isInside = page >= doorbell.base && page < doorbell.base + doorbell.sizeBytes;
    const iova = isInside ? page : this.iovas.allocate(granuleBytes);
    if (iova < 0) throw new EmuError('NO_MEMORY', 'no I/O virtual address for a doorbell');
    this.table.map(iova, page, PAGE, leafFlags(Direction.FromDevice));
    this.#doorbells.set(page, dmaAddr(iova));
    return dmaAddr(iova);
  }
}

/** Bytes from `at` to the next multiple of `step`, a power of two; 0 on one. */
function distanceTo(at: number, step: number): number {
  // Up to 2^32 the low half decides, and `&` costs a tenth of a division.
  if (step <= 2 ** 32) return (-at & (step - 1)) >>> 0;
  return alignUp(at, step) - at;
}

const noMemory = (reason: string): MapRefusal => ({ refused: 'ENOMEM', reason });
