/**
 * Range lists for a provider that maps scatterlists only: each mapping goes through a scatterlist of exactly the size
 * that the list needs. What a scatterlist cannot name, memory without pages, is refused. [PHYR]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { type DmaAddr, hex, type PhysAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { ScatterList } from '#emu/dma/lists/scatter-list.ts';
import type { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import { type Direction, type MapRefusal, MapType } from '#emu/dma/mapping.ts';
import { MappingRecord, MappingState } from '#emu/dma/mapping-record.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { DmaDomain } from './dma-provider.ts';
import type { ScatterlistDomain } from './scatterlist-domain.ts';

/** Whether peer memory has pages: scatterlists name pages. [P2PDMA] */
export type HasPages = (address: PhysAddr, sizeBytes: number) => boolean;

export interface ListWrapperOptions {
  readonly below: ScatterlistDomain;
  readonly segments: SegmentCursor;
  /** Asked for peer memory only; default never. */
  readonly hasPages?: HasPages;
  /** For unmaps that nobody waits for. */
  readonly pending: () => Pending<void>;
}

export class ListWrapper implements DmaDomain {
  readonly segments: SegmentCursor;
  readonly #options: ListWrapperOptions;
  readonly #hasPages: HasPages;

  constructor(options: ListWrapperOptions) {
    this.#options = options;
    this.segments = options.segments;
    this.#hasPages = options.hasPages ?? (() => false);
  }

  map(list: PhyRangeList, direction: Direction, attrs = 0): MappingRecord | MapRefusal {
    const { below } = this.#options;
    const type = this.#survey(list);
    if (typeof type === 'object') return type;
    const scatter = ScatterList.from(type === MapType.None ? list : this.#segmented(list));
    const refusal = below.mapScatterlist(scatter, direction, attrs);
    if (refusal !== null) return refusal;
    const ranges = scatter.dmaList(list.layout);
    if (ranges.sizeBytes !== list.sizeBytes) throw this.#undo(scatter, direction, list.sizeBytes);
    const mapping = new MappingRecord(this, list, direction, ranges);
    mapping.mapType = type;
    mapping.scatter = scatter;
    return mapping;
  }

  unmap(mapping: MappingRecord, done: Pending<void>): void {
    const scatter = mapping.scatter!;
    done.onDone(() => {
      mapping.state = MappingState.Gone;
      mapping.scatter = null;
    });
    this.#options.below.unmapScatterlist(scatter, mapping.direction, done);
  }

  get coherentLimit(): number | undefined {
    return this.#options.below.coherentLimit;
  }

  cutOff(): void {
    this.#options.below.cutOff?.();
  }

  detach(done: Pending<void>): void {
    const { below } = this.#options;
    if (below.detach) below.detach(done);
    else done.complete();
  }

  mapDoorbell(address: PhysAddr): DmaAddr {
    return this.#options.below.mapDoorbell(address);
  }

  /** Type of the first peer memory, or why the list cannot be a scatterlist. */
  #survey(list: PhyRangeList): MapType | MapRefusal {
    const { segments } = this;
    let mapType: MapType = MapType.None;
    segments.open(list);
    while (segments.next()) {
      const { address, length, type } = segments;
      if (type === MapType.NotSupported) return segments.refusal();
      if (type !== MapType.None && !this.#hasPages(address, length)) {
        const reason = `peer memory at ${hex(address)} has no pages for a scatterlist`;
        return { refused: 'EREMOTEIO', reason };
      }
      if (mapType === MapType.None) mapType = type;
    }
    return mapType;
  }

  /** The list as one whose ranges are memory of one kind each, as pages of one entry must be. */
  #segmented(list: PhyRangeList): PhyRangeList {
    const { segments } = this;
    const pieces = new PhyRangeList();
    segments.open(list);
    while (segments.next()) pieces.appendApart(segments.address, segments.length);
    return pieces;
  }

  /** Ends what a provider did that does not do what it must. */
  #undo(scatter: ScatterList, direction: Direction, sizeBytes: number): EmuError {
    const { below, pending } = this.#options;
    const got = scatter.dmaList().sizeBytes;
    below.unmapScatterlist(scatter, direction, pending());
    return new EmuError('INVARIANT', `a scatterlist of ${sizeBytes} bytes was mapped with ${got}`);
  }
}
