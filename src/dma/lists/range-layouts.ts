/**
 * The ways to store a range list, by name.
 * @module
 */
import { compactLayout } from './compact-layout.ts';
import { packedLayout } from './packed-layout.ts';
import type { RangeLayout } from './range-layout.ts';
import { wideLayout } from './wide-layout.ts';

/** To be given to a new PhyRangeList or DmaRangeList; `packed` is the default. [PHYR] */
export const RangeLayouts = {
  /** 16 bytes a range; 32 bits of length, so that longer memory takes several ranges. */
  packed: packedLayout,
  /** 16 bytes a range; 52 bits of length, 11 of flags. */
  wide: wideLayout,
  /** 8, 16 or 24 bytes a range, by its values. */
  compact: compactLayout,
} as const satisfies Record<string, RangeLayout>;
