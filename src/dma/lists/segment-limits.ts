/**
 * What hardware can take as one piece of memory. Lists never store it: LimitedCursor applies it when a list is
 * turned into descriptors. [PHYR], [DMAAPI]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { ADDR_LIMIT, hex } from '#emu/base/units.ts';

export interface SegmentLimits {
  /** Longest segment; the part of it that {@link minAlignBytes} divides is used. Default: no limit. */
  readonly maxSegmentBytes: number;
  /** All ones up to a bit: no segment crosses a multiple of the mask plus one. Default: no limit. */
  readonly boundaryMask: number;
  /** Power of two up to 2^31 that divides every segment's address and length. Default 1. */
  readonly minAlignBytes: number;
}

export const NO_LIMITS: SegmentLimits = {
  maxSegmentBytes: ADDR_LIMIT,
  boundaryMask: ADDR_LIMIT - 1,
  minAlignBytes: 1,
};

/** Limits with defaults for what is not said. @throws USAGE for limits that no segment can keep */
export function segmentLimits(limits: Partial<SegmentLimits>): SegmentLimits {
  const full = { ...NO_LIMITS, ...limits };
  const { maxSegmentBytes, boundaryMask, minAlignBytes } = full;
  if (!isPowerOfTwo(minAlignBytes) || minAlignBytes > 2 ** 31) {
    throw usage(`minAlignBytes: expected a power of two up to 2^31, got ${minAlignBytes}`);
  }
  if (!isPowerOfTwo(boundaryMask + 1) || boundaryMask >= ADDR_LIMIT) {
    throw usage(`boundaryMask: expected 2^n - 1 up to 2^52 - 1, got ${hex(boundaryMask)}`);
  }
  if (boundaryMask + 1 < minAlignBytes) {
    throw usage(`boundaryMask: expected at least minAlignBytes - 1, got ${hex(boundaryMask)}`);
  }
  const fits = Number.isInteger(maxSegmentBytes) && maxSegmentBytes >= minAlignBytes;
  if (!fits || maxSegmentBytes > ADDR_LIMIT) {
    throw usage(`maxSegmentBytes: expected minAlignBytes up to 2^52, got ${maxSegmentBytes}`);
  }
  return full;
}

/** Whether `n` is 1, 2, 4, ... up to 2^52. */
export function isPowerOfTwo(n: number): boolean {
  if (!(Number.isInteger(n) && n >= 1 && n <= ADDR_LIMIT)) return false;
  const high = Math.floor(n / 2 ** 31);
  const low = n - high * 2 ** 31;
  const part = high === 0 ? low : high;
  return (high === 0 || low === 0) && (part & (part - 1)) === 0;
}
