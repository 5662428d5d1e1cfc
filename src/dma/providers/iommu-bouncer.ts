/**
 * Copies for devices behind an IOMMU that must not see, or would spoil, what lies around their memory in its granules:
 * pieces that do not fill granules of their own get some of a bounce pool, with zeros around them. [DMAAPI]
 * Model: the other segments of a list are joined as always; Linux maps each segment of such a list by itself.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { hex, offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { NEVER_BOUNCED } from '#emu/dma/dma-attr.ts';
import { type DmaTraits, isUnsafe, unsafeLimit } from '#emu/dma/dma-traits.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import { Direction, type MapRefusal, MapType } from '#emu/dma/mapping.ts';
import { type BouncePool, MAX_BOUNCE_BYTES } from './bounce-pool.ts';
import { BouncedRanges } from './bounced-ranges.ts';

/** Memory in place of a list's, with copies in it. */
export interface GuardedList {
  readonly memory: PhyRangeList;
  readonly bounced: BouncedRanges;
}

export const NO_ROOM: MapRefusal = { refused: 'ENOMEM', reason: 'the bounce pool has no room' };

export class IommuBouncer {
  readonly #pool: () => BouncePool;
  readonly #traits: DmaTraits;
  readonly #granule: number;

  /** @param pool asked when the first copy is needed */
  constructor(pool: () => BouncePool, traits: DmaTraits, granuleBytes: number) {
    this.#pool = pool;
    this.#traits = traits;
    this.#granule = granuleBytes;
  }

  /** Longest range that is copied wherever it starts. */
  get maxRangeBytes(): number {
    return MAX_BOUNCE_BYTES - this.#granule;
  }

  /** Whether host memory must not be used as it is. */
  needsCopy(address: number, sizeBytes: number, direction: Direction): boolean {
    const mask = this.#granule - 1;
    if ((address & mask) === 0 && (sizeBytes & mask) === 0) return false;
    if (this.#traits.isUntrusted) return true;
    const isRead = direction === Direction.ToDevice;
    return sizeBytes < unsafeLimit(this.#traits.isCoherent, isRead) && isUnsafe(sizeBytes);
  }

  /** No copies so far, with a pool for them; null when there is no memory for that. */
  room(): BouncedRanges | null {
    try {
      return new BouncedRanges(this.#pool());
    } catch (error) {
      if (!(error instanceof EmuError && error.code === 'NO_MEMORY')) throw error;
      return null;
    }
  }

  /**
   * What to map for a list: the list itself where nothing needs a copy; else one like it with copies, filled, which are the
   * caller's to release. Or a refusal.
   */
  guard(
    list: PhyRangeList,
    segments: SegmentCursor,
    direction: Direction,
    attrs: number,
  ): PhyRangeList | GuardedList | MapRefusal {
    let copies = 0;
    segments.open(list);
    while (segments.next()) {
      if (!this.#isGuarded(segments, direction)) continue;
      const refusal = this.#objection(segments, attrs);
      if (refusal !== null) return refusal;
      copies++;
    }
    return copies === 0 ? list : this.#copy(list, segments, direction);
  }

  #isGuarded({ type, address, length }: SegmentCursor, direction: Direction): boolean {
    const isTranslated = type === MapType.None || type === MapType.ThruHostBridge;
    return isTranslated && this.needsCopy(address, length, direction);
  }

  /** Why the current segment, which needs a copy, can have none; or null. */
  #objection({ type, address, length }: SegmentCursor, attrs: number): MapRefusal | null {
    const what = `${length} bytes at ${hex(address)} would need a copy`;
    if (type !== MapType.None || (attrs & NEVER_BOUNCED) !== 0) {
      return { refused: 'EIO', reason: `${what}, and must have none` };
    }
    if ((address & (this.#granule - 1)) + length <= MAX_BOUNCE_BYTES) return null;
    return { refused: 'EIO', reason: `${what}, and are too long: ${this.maxRangeBytes} are not` };
  }

  #copy(
    list: PhyRangeList,
    segments: SegmentCursor,
    direction: Direction,
  ): GuardedList | MapRefusal {
    const memory = new PhyRangeList();
    const bounced = this.room();
    if (bounced === null) return NO_ROOM;
    let done = 0;
    segments.open(list);
    while (segments.next()) {
      const { address, length } = segments;
      const isGuarded = this.#isGuarded(segments, direction);
      const at = isGuarded ? this.place(bounced, done, address, length) : address;
      if (at === null) {
        bounced.release();
        return NO_ROOM;
      }
      memory.appendApart(at, length);
      done += length;
    }
    // In every direction: a device that writes less than all must leave the rest as it was. [DMAAPI]
    bounced.copyIn(0, list.sizeBytes);
    return { memory, bounced };
  }

  /** Room for a copy of bytes from `offset` of a list on; where the copy starts, or null when the pool is full. */
  place(
    bounced: BouncedRanges,
    offset: number,
    address: PhysAddr,
    sizeBytes: number,
  ): PhysAddr | null {
    const first = bounced.addWhole(offset, address, sizeBytes, this.#granule);
    return first === null ? null : offsetBy(first, address & (this.#granule - 1));
  }
}
