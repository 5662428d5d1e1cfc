/**
 * A function's DMA interface: checks what its driver asks, and keeps account of its mappings. Addresses are
 * the domain's business. [DMAAPI]
 * @module
 */
import { type EmuError, usage } from '#emu/base/errors.ts';
import { type Bdf, type DmaAddr, formatBdf, type PhysAddr } from '#emu/base/units.ts';
import { ByteSet } from '#emu/dma/checker/byte-set.ts';
import type { CheckerClass } from '#emu/dma/checker/checker-class.ts';
import { misuse } from '#emu/dma/checker/dma-misuse.ts';
import { claimFault, type MappingClaim, syncFault } from '#emu/dma/checker/mapping-claim.ts';
import type { MappingWatch } from '#emu/dma/checker/mapping-watch.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import {
  type CoherentMemory,
  type CoherentPages,
  CoherentRecord,
  makeCoherent,
} from '#emu/dma/providers/coherent-memory.ts';
import type { DmaDomain } from '#emu/dma/providers/dma-provider.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { admission, checkCall, maintainedBytes } from './admission.ts';
import { NOT_MAINTAINED } from './dma-attr.ts';
import { type Owner, ownerOf, syncBytes } from './dma-sync.ts';
import { DEFAULT_TRAITS, type DmaTraits } from './dma-traits.ts';
import {
  type ByteRange,
  Direction,
  type DmaMapping,
  isRefusal,
  type MapRefusal,
} from './mapping.ts';
import { MappingRecord, MappingState } from './mapping-record.ts';

const COHERENT = 'coherent memory, which freeCoherent gives back';

export class DmaDevice {
  readonly bdf: Bdf;
  readonly domain: DmaDomain;
  /** Who checks how it is used, or null. */
  watch: MappingWatch | null = null;
  /** Where coherent memory comes from, or null: then there is none. */
  pages: CoherentPages | null = null;
  /** What the platform knows of the function. */
  readonly traits: DmaTraits;
  readonly kernel: Kernel;
  #live = 0;
  #maintainedBytes = 0;
  #openStates = 0;
  #isDetached = false;
  /** Left with something mapped. */
  #isGone = false;

  constructor(kernel: Kernel, bdf: Bdf, domain: DmaDomain, traits: Partial<DmaTraits> = {}) {
    this.kernel = kernel;
    this.bdf = bdf;
    this.domain = domain;
    this.traits = { ...DEFAULT_TRAITS, ...traits };
  }

  /** Mappings not yet unmapped. */
  get liveMappings(): number {
    return this.#live;
  }

  /** Two-step states that hold addresses. */
  get openStates(): number {
    return this.#openStates;
  }
  /** For two-step states, which count themselves. */
  stateOpened(): void {
    this.#openStates++;
  }
  stateClosed(): void {
    this.#openStates--;
    this.#endIfGone();
  }

  /** Bytes for which caches were cleaned or emptied so far: of devices that are not coherent. */
  get maintainedBytes(): number {
    return this.#maintainedBytes;
  }

  /** Longest range that can be mapped wherever it lies: drivers split what is longer. */
  get maxRangeBytes(): number {
    return this.domain.maxRangeBytes ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Makes `list` accessible to the function until {@link unmap}. Takes no simulated time. The list is not changed, by
   * this or by anyone until then; all of it is mapped or nothing. @throws USAGE for anything but a list, a direction
   * and attributes of DmaAttr, CHECKER for a list whose pin is gone
   */
  map(list: PhyRangeList, direction: Direction, attrs = 0): DmaMapping | MapRefusal {
    PhyRangeList.check(list, 'map');
    checkCall('map', direction, attrs);
    if (list.count === 0) return { refused: 'EINVAL', reason: 'the list is empty' };
    this.checkAttached('map');
    const refusal = admission(list, direction, attrs, this.traits);
    if (refusal !== null) return refusal;
    const result = this.domain.map(list, direction, attrs);
    if (isRefusal(result)) return result;
    result.attrs = attrs;
    if (!this.traits.isCoherent) {
      result.maintainedBytes = maintainedBytes(this.domain, list, attrs);
      this.#maintainedBytes += result.maintainedBytes;
    }
    this.#live++;
    list.mapped();
    this.watch?.mapped(result);
    return result;
  }

  /**
   * Ends a mapping. Completes when the function can no longer reach the memory: until then it
   * must not be used for anything else. @param claim what the driver believes the mapping to be
   * @throws CHECKER for a mapping that is not this function's, not live or not what is claimed
   */
  unmap(mapping: DmaMapping, claim?: MappingClaim): Pending<void> {
    const record = this.#own(mapping, 'unmap', claim);
    if (record.direction !== Direction.ToDevice) this.#maintainedBytes += record.maintainedBytes;
    this.watch?.unmapping(record);
    if (record.ended !== null) {
      const { sizeBytes } = record.source;
      const left: [number, number][] = [];
      record.ended.eachGap(0, sizeBytes, (start, end) => left.push([start, end]));
      for (const [start, end] of left) this.#endPart(record, record.ended, start, end);
      return this.#settled();
    }
    const done = this.#end(record);
    // A callback costs as much as all the rest of a short unmap.
    if (!done.done) done.onDone(() => record.source.unmapped());
    else if (done.error === null) record.source.unmapped();
    return done;
  }

  /**
   * Memory that the driver and the function share until {@link freeCoherent}, such as queues: what one writes the
   * other sees, without sync. Takes no simulated time. Nothing is taken when it is refused, with ENOMEM when the
   * function reaches no free memory. @throws USAGE for a size that is no positive integer
   */
  allocateCoherent(sizeBytes: number): CoherentMemory | MapRefusal {
    if (!(Number.isSafeInteger(sizeBytes) && sizeBytes > 0)) {
      throw usage(`allocateCoherent: expected a positive number of bytes, got ${sizeBytes}`);
    }
    this.checkAttached('allocateCoherent');
    const { pages } = this;
    if (pages === null) return { refused: 'ENOMEM', reason: 'there is no memory to take it from' };
    const memory = makeCoherent(this.domain, pages, sizeBytes);
    if (isRefusal(memory)) return memory;
    this.#live++;
    memory.mapping.source.mapped();
    this.watch?.mapped(memory.mapping);
    return memory;
  }

  /**
   * Gives coherent memory back: it is free once the function can no longer reach it, and then this completes.
   * @throws CHECKER for what {@link allocateCoherent} of this function did not give, or was given back
   */
  freeCoherent(memory: CoherentMemory): Pending<void> {
    if (!(memory instanceof CoherentRecord)) {
      const other: unknown = memory;
      const what =
        other instanceof MappingRecord ? 'a mapping, which unmap ends' : 'something else';
      const kind = other instanceof MappingRecord ? 'wrong-function' : 'not-mapped';
      throw this.#misuse(kind, `free, as coherent memory, of ${what}`, other);
    }
    const { mapping, pages, address, sizeBytes } = memory;
    this.#checkLive(mapping, 'free of coherent memory');
    this.watch?.unmapping(mapping);
    const done = this.#end(mapping);
    done.onDone(() => {
      mapping.source.unmapped();
      pages.free(address, sizeBytes);
    });
    return done;
  }

  /**
   * Gives up what serves the function, which reaches no memory from then on; its provider makes another interface when it is
   * asked. @throws CHECKER while anything is mapped or allocated
   */
  detach(): Pending<void> {
    this.checkAttached('detach');
    const open = this.#live + this.#openStates;
    if (open > 0) throw this.#misuse('leak', `detach with ${open} mappings not yet unmapped`, null);
    this.#isDetached = true;
    const done = this.kernel.pending<void>('dma detach');
    if (this.domain.detach) this.domain.detach(done);
    else done.complete();
    return done;
  }

  /**
   * The function was pulled out, whatever is mapped: nothing in its place reaches that memory from now on, and nothing more is
   * mapped for it. What is mapped is unmapped as ever; with the last of it goes what served the function. @throws USAGE
   */
  gone(): void {
    this.checkAttached('gone');
    this.#isDetached = true;
    this.#isGone = true;
    this.domain.cutOff?.();
    this.#endIfGone();
  }

  #endIfGone(): void {
    if (!this.#isGone || this.#live + this.#openStates > 0) return;
    this.#isGone = false;
    this.domain.detach?.(this.kernel.pending<void>('dma detach'));
  }

  /** Counts caches maintained for memory mapped in another way. */
  maintain(sizeBytes: number, attrs: number): void {
    if (this.traits.isCoherent || (attrs & NOT_MAINTAINED) !== 0) return;
    this.#maintainedBytes += sizeBytes;
  }

  /** @throws USAGE once the function was detached */
  checkAttached(what: string): void {
    if (this.#isDetached)
      throw usage(`${formatBdf(this.bdf)}: ${what} after the function was detached`);
  }

  /** The driver lets go of the function: mappings and coherent memory that it left are reported. */
  unbind(): void {
    this.watch?.unbound();
  }

  /**
   * Ends a part of a mapping; with its last part, all of it. As {@link unmap}, for providers that can.
   * @throws USAGE where mappings end whole, CHECKER as unmap does and for bytes outside or unmapped before
   */
  unmapPart(mapping: DmaMapping, part: ByteRange): Pending<void> {
    const record = this.#own(mapping, 'partial unmap');
    const [start, end] = this.#bounds(record, part, 'partial unmap');
    if (this.domain.unmapPart === undefined) {
      throw usage(`${formatBdf(this.bdf)}: expected unmap of a whole mapping, got a part of one`);
    }
    record.ended ??= new ByteSet();
    this.#endPart(record, record.ended, start, end);
    return this.#settled();
  }

  /**
   * Gives mapped memory, or part of it, to the CPU or back to the function. After map it is the function's; the CPU
   * looks at it or changes it between the two calls, or after unmap. Moves bytes only where
   * {@link DmaMapping.needsSync}. @param claim what the driver believes the mapping to be
   * @throws CHECKER for a mapping not live or not what is claimed, and bytes outside of it or unmapped
   */
  sync(mapping: DmaMapping, owner: Owner, part?: ByteRange, claim?: MappingClaim): void {
    const what = `sync for the ${owner}`;
    const record = this.#own(mapping, what);
    const fault = syncFault(record, owner, claim?.direction);
    if (fault !== null) throw this.#misuse(fault[0], `${what} ${fault[1]}`, record);
    if (claim !== undefined) this.#compare(record, what, claim);
    const [start, end] = this.#bounds(record, part, what);
    if (record.maintainedBytes > 0) this.#maintainedBytes += end - start;
    syncBytes(record, owner, start, end);
  }

  /** Whose turn it is to use mapped memory, or part of it; null when it is not the same for every byte. @throws CHECKER as {@link sync} */
  ownerOf(mapping: DmaMapping, part?: ByteRange): Owner | null {
    const record = this.#own(mapping, 'question for the owner');
    const [start, end] = this.#bounds(record, part, 'question for the owner');
    return ownerOf(record, start, end);
  }

  /** Address at which the function reaches an interrupt doorbell; the same for every call. */
  mapDoorbell(address: PhysAddr): DmaAddr {
    return this.domain.mapDoorbell(address);
  }

  /** A live mapping of this function. @throws CHECKER for any other */
  #own(mapping: DmaMapping, what: string, claim?: MappingClaim): MappingRecord {
    if (!(mapping instanceof MappingRecord)) throw this.#stranger(mapping, what);
    if (mapping.isCoherent) {
      throw this.#misuse('wrong-function', `${what} of ${COHERENT}`, mapping);
    }
    this.#checkLive(mapping, `${what} of a mapping`);
    if (claim !== undefined) this.#compare(mapping, what, claim);
    return mapping;
  }

  /** For what no list mapping is: it may be what another way to map has made. */
  #stranger(other: unknown, what: string): EmuError {
    if (other instanceof CoherentRecord) {
      return this.#misuse('wrong-function', `${what} of ${COHERENT}`, other);
    }
    const isState = typeof other === 'object' && other !== null && 'tryAlloc' in other;
    if (isState) {
      return this.#misuse('wrong-function', `${what} of two-step addresses, as a mapping`, other);
    }
    return this.#misuse(
      'not-mapped',
      `${what} of a mapping that this function did not make`,
      other,
    );
  }

  #compare(record: MappingRecord, what: string, claim: MappingClaim): void {
    const fault = claimFault(record, claim);
    if (fault !== null) throw this.#misuse(fault[0], `${what} of ${fault[1]}`, record);
  }

  #checkLive(mapping: MappingRecord, what: string): void {
    if (mapping.domain !== this.domain) {
      throw this.#misuse('not-mapped', `${what} that this function did not make`, mapping);
    }
    if (mapping.state !== MappingState.Live) {
      throw this.#misuse('not-mapped', `${what} not live any more`, mapping);
    }
  }

  /** Ends a mapping that is live and all there. */
  #end(record: MappingRecord): Pending<void> {
    record.state = MappingState.Unmapping;
    this.#live--;
    const done = this.kernel.pending<void>('dma unmap');
    this.domain.unmap(record, done);
    this.#endIfGone();
    return done;
  }

  /** Start and end of a part, by default of everything. @throws CHECKER when it is not there (any more) */
  #bounds(record: MappingRecord, part: ByteRange | undefined, what: string): [number, number] {
    const size = record.source.sizeBytes;
    const { offsetBytes, sizeBytes } = part ?? { offsetBytes: 0, sizeBytes: size };
    const end = offsetBytes + sizeBytes;
    const isInside = offsetBytes >= 0 && sizeBytes > 0 && end <= size;
    if (!(isInside && Number.isInteger(offsetBytes) && Number.isInteger(sizeBytes))) {
      throw this.#misuse(
        'outside',
        `${what} of ${sizeBytes} bytes from ${offsetBytes}, of a mapping of ${size}`,
        record,
      );
    }
    if (record.ended?.overlaps(offsetBytes, end)) {
      throw this.#misuse(
        'not-mapped',
        `${what} of bytes unmapped before, among ${sizeBytes} from ${offsetBytes}`,
        record,
      );
    }
    return [offsetBytes, end];
  }

  /** Ends bytes of a mapping, and the mapping with its last ones. */
  #endPart(record: MappingRecord, ended: ByteSet, start: number, end: number): void {
    ended.add(start, end);
    this.domain.unmapPart?.(record, start, end);
    if (ended.sizeBytes < record.source.sizeBytes) return;
    this.watch?.unmapping(record);
    record.state = MappingState.Gone;
    this.#live--;
    record.source.unmapped();
    this.#endIfGone();
  }

  #settled(): Pending<void> {
    const done = this.kernel.pending<void>('dma unmap');
    done.complete();
    return done;
  }

  #misuse(kind: CheckerClass, what: string, subject: unknown): EmuError {
    const made = subject instanceof CoherentRecord ? subject.mapping : subject;
    return misuse(this, kind, what, typeof made === 'object' ? made : null);
  }
}
