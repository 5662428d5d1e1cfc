/**
 * A mapping with what its domain needs to undo it. Drivers see it as a DmaMapping.
 * @module
 */

import type { ByteSet } from '#emu/dma/checker/byte-set.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { ScatterList } from '#emu/dma/lists/scatter-list.ts';
import type { BouncedRanges } from '#emu/dma/providers/bounced-ranges.ts';
import type { DmaDomain } from '#emu/dma/providers/dma-provider.ts';
import { DmaAttr } from './dma-attr.ts';
import { Direction, type DmaMapping, MapType } from './mapping.ts';

export const MappingState = { Live: 0, Unmapping: 1, Gone: 2 } as const;
export type MappingState = (typeof MappingState)[keyof typeof MappingState];

export class MappingRecord implements DmaMapping {
  readonly ranges: DmaRangeList;
  readonly source: PhyRangeList;
  readonly direction: Direction;
  attrs = 0;
  mapType: MapType = MapType.None;
  readonly domain: DmaDomain;
  state: MappingState = MappingState.Live;
  /** Whether it is of coherent memory, which ends otherwise than mappings do. */
  isCoherent = false;
  /** I/O virtual addresses it occupies; none when `iovaBytes` is 0. */
  iova = 0;
  iovaBytes = 0;
  /** Bytes whose caches are maintained, for a device that does not see them. */
  maintainedBytes = 0;
  /** What the device has a copy of, or null. */
  bounced: BouncedRanges | null = null;
  /** What a provider without lists mapped, or null. */
  scatter: ScatterList | null = null;
  /** Bytes of the list that are the CPU's until they are synced for the device; null for none. */
  cpuBytes: ByteSet | null = null;
  /** Bytes unmapped already; null for none. */
  ended: ByteSet | null = null;

  /** @param ranges the result where it is known already; by default an empty list like `source` */
  constructor(
    domain: DmaDomain,
    source: PhyRangeList,
    direction: Direction,
    ranges: DmaRangeList = new DmaRangeList(source.layout),
  ) {
    this.domain = domain;
    this.source = source;
    this.direction = direction;
    this.ranges = ranges;
  }

  /** Whether its end copies back what the device has written. */
  get isCopiedBack(): boolean {
    return this.direction !== Direction.ToDevice && (this.attrs & DmaAttr.SkipCpuSync) === 0;
  }

  get needsSync(): boolean {
    return this.bounced !== null || this.maintainedBytes > 0;
  }
}
