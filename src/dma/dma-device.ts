/**
 * A function's DMA interface: checks what its driver asks, and keeps account of its mappings. Addresses are
 * the domain's business. [DMAAPI]
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { type Bdf, type DmaAddr, formatBdf, type PhysAddr } from '#emu/base/units.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { ByteSet } from './byte-set.ts';
import type { DmaDomain } from './dma-provider.ts';
import { type Owner, ownerOf, syncBytes } from './dma-sync.ts';
import {
  type ByteRange,
  Direction,
  type DmaMapping,
  isRefusal,
  type MapRefusal,
} from './mapping.ts';
import { MappingRecord, MappingState } from './mapping-record.ts';
import type { MappingWatch } from './mapping-watch.ts';
import { PhyRangeList } from './phy-range-list.ts';

export class DmaDevice {
  readonly bdf: Bdf;
  readonly domain: DmaDomain;
  /** Who checks how it is used, or null. */
  watch: MappingWatch | null = null;
  readonly #kernel: Kernel;
  #live = 0;

  constructor(kernel: Kernel, bdf: Bdf, domain: DmaDomain) {
    this.#kernel = kernel;
    this.bdf = bdf;
    this.domain = domain;
  }

  /** Mappings not yet unmapped. */
  get liveMappings(): number {
    return this.#live;
  }

  /** Longest range that can be mapped wherever it lies: drivers split what is longer. */
  get maxRangeBytes(): number {
    return this.domain.maxRangeBytes ?? Number.POSITIVE_INFINITY;
  }

  /**
   * Makes `list` accessible to the function until {@link unmap}. Takes no simulated time. The list is not changed, by
   * this or by anyone until then; all of it is mapped or nothing. @throws USAGE for anything but a list and a
   * direction, CHECKER for a list whose pin is gone
   */
  map(list: PhyRangeList, direction: Direction): DmaMapping | MapRefusal {
    PhyRangeList.check(list, 'map');
    if (!(direction >= Direction.ToDevice && direction <= Direction.Bidirectional)) {
      throw usage(`map: expected a Direction, got ${direction}`);
    }
    if (list.count === 0) return { refused: 'EINVAL', reason: 'the list is empty' };
    const refusal = list.hold?.admit() ?? null;
    if (refusal !== null) return refusal;
    const result = this.domain.map(list, direction);
    if (isRefusal(result)) return result;
    this.#live++;
    list.mapped();
    this.watch?.mapped(result);
    return result;
  }

  /**
   * Ends a mapping. Completes when the function can no longer reach the memory: until then it
   * must not be used for anything else. @throws CHECKER for a mapping that is not this function's or not live
   */
  unmap(mapping: DmaMapping): Pending<void> {
    const record = this.#own(mapping, 'unmap');
    this.watch?.unmapping(record);
    if (record.ended !== null) {
      const { sizeBytes } = record.source;
      const left: [number, number][] = [];
      record.ended.eachGap(0, sizeBytes, (start, end) => left.push([start, end]));
      for (const [start, end] of left) this.#endPart(record, record.ended, start, end);
      return this.#settled();
    }
    record.state = MappingState.Unmapping;
    this.#live--;
    const done = this.#kernel.pending<void>('dma unmap');
    this.domain.unmap(record, done);
    // A callback costs as much as all the rest of a short unmap.
    if (!done.done) done.onDone(() => record.source.unmapped());
    else if (done.error === null) record.source.unmapped();
    return done;
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
   * {@link DmaMapping.needsSync}. @throws CHECKER for a mapping not live, and bytes outside of it or unmapped
   */
  sync(mapping: DmaMapping, owner: Owner, part?: ByteRange): void {
    const record = this.#own(mapping, `sync for the ${owner}`);
    const [start, end] = this.#bounds(record, part, `sync for the ${owner}`);
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
  #own(mapping: DmaMapping, what: string): MappingRecord {
    if (!(mapping instanceof MappingRecord) || mapping.domain !== this.domain) {
      throw this.#misuse(`${what} of a mapping that this function did not make`, mapping);
    }
    if (mapping.state !== MappingState.Live) {
      throw this.#misuse(`${what} of a mapping not live any more`, mapping);
    }
    return mapping;
  }

  /** Start and end of a part, by default of everything. @throws CHECKER when it is not there (any more) */
  #bounds(record: MappingRecord, part: ByteRange | undefined, what: string): [number, number] {
    const size = record.source.sizeBytes;
    const { offsetBytes, sizeBytes } = part ?? { offsetBytes: 0, sizeBytes: size };
    const end = offsetBytes + sizeBytes;
    const isInside = offsetBytes >= 0 && sizeBytes > 0 && end <= size;
    if (!(isInside && Number.isInteger(offsetBytes) && Number.isInteger(sizeBytes))) {
      throw this.#misuse(
        `${what} of ${sizeBytes} bytes from ${offsetBytes}, of a mapping of ${size}`,
        record,
      );
    }
    if (record.ended?.overlaps(offsetBytes, end)) {
      throw this.#misuse(
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
  }

  #settled(): Pending<void> {
    const done = this.#kernel.pending<void>('dma unmap');
    done.complete();
    return done;
  }

  #misuse(what: string, subject: unknown): EmuError {
    const known = typeof subject === 'object' ? subject : null;
    const sites = this.watch?.sites(known) ?? '';
    return new EmuError('CHECKER', `${formatBdf(this.bdf)}: ${what}${sites}`, { bdf: this.bdf });
  }
}
