/**
 * A mapping with what its domain needs to undo it. Drivers see it as a DmaMapping.
 * @module
 */

import type { DmaDomain } from './dma-provider.ts';
import { DmaRangeList } from './dma-range-list.ts';
import { type Direction, type DmaMapping, MapType } from './mapping.ts';
import type { PhyRangeList } from './phy-range-list.ts';

export const MappingState = { Live: 0, Unmapping: 1, Gone: 2 } as const;
export type MappingState = (typeof MappingState)[keyof typeof MappingState];

export class MappingRecord implements DmaMapping {
  readonly ranges: DmaRangeList;
  readonly source: PhyRangeList;
  readonly direction: Direction;
  mapType: MapType = MapType.None;
  readonly domain: DmaDomain;
  state: MappingState = MappingState.Live;
  /** I/O virtual addresses it occupies; none when `iovaBytes` is 0. */
  iova = 0;
  iovaBytes = 0;

  /** @param ranges the result where it is known already; by default an empty list to be filled */
  constructor(
    domain: DmaDomain,
    source: PhyRangeList,
    direction: Direction,
    ranges: DmaRangeList = new DmaRangeList(),
  ) {
    this.domain = domain;
    this.source = source;
    this.direction = direction;
    this.ranges = ranges;
  }
}
