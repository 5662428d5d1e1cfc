/**
 * What every way to map asks first, of the call and of the memory, and the account of the caches that a mapping makes work
 * for. [DMAAPI]
 * Model: caches are not simulated; what a driver of a device that is not coherent does to them is counted.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { DmaDomain } from '#emu/dma/providers/dma-provider.ts';
import { checkAttrs, DmaAttr, NOT_MAINTAINED } from './dma-attr.ts';
import type { DmaTraits } from './dma-traits.ts';
import { Direction, type MapRefusal, MapType } from './mapping.ts';

/** @throws USAGE for no direction, or attributes that no mapping has */
export function checkCall(what: string, direction: Direction, attrs: number): void {
  if (!(direction >= Direction.ToDevice && direction <= Direction.Bidirectional)) {
    throw usage(`${what}: expected a Direction, got ${direction}`);
  }
  checkAttrs(what, attrs);
}

/**
 * Why a device must not be given the memory of a list in that direction, or null. Without a list, whoever has the
 * memory answers for it. @throws CHECKER for a list whose pin is gone
 */
export function admission(
  list: PhyRangeList | null,
  direction: Direction,
  attrs: number,
  { isCoherent }: DmaTraits,
): MapRefusal | null {
  const hold = list?.hold ?? null;
  const refusal = hold?.admit() ?? null;
  if (refusal !== null) return refusal;
  if (hold !== null && !hold.isWritable && direction !== Direction.ToDevice) {
    return { refused: 'EPERM', reason: 'devices may only read this memory' };
  }
  if (!isCoherent && (attrs & DmaAttr.RequireCoherent) !== 0) {
    return { refused: 'EOPNOTSUPP', reason: 'the device is not coherent' };
  }
  return null;
}

/** Bytes of a list whose caches have to be maintained for a device that does not see them. */
export function maintainedBytes(domain: DmaDomain, list: PhyRangeList, attrs: number): number {
  if ((attrs & NOT_MAINTAINED) !== 0) return 0;
  const { segments } = domain;
  if (segments === undefined) return list.sizeBytes;
  let bytes = 0;
  segments.open(list);
  while (segments.next()) if (segments.type === MapType.None) bytes += segments.length;
  return bytes;
}
