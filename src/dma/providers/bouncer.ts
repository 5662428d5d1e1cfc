/**
 * Maps lists for a device that does not reach all of their memory: of the segments beyond its limit it gets a copy in
 * a bounce pool, the others are used as they are. [DMAAPI]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { type DmaAddr, dmaAddr, hex } from '#emu/base/units.ts';
import { NEVER_BOUNCED } from '#emu/dma/dma-attr.ts';
import { type DmaTraits, isUnsafe, unsafeLimit } from '#emu/dma/dma-traits.ts';
import { DmaFlag } from '#emu/dma/lists/dma-range-list.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import type { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import { isPowerOfTwo } from '#emu/dma/lists/segment-limits.ts';
import { Direction, type MapRefusal, MapType } from '#emu/dma/mapping.ts';
import { MappingRecord } from '#emu/dma/mapping-record.ts';
import { BounceCounter, type BouncePool, MAX_BOUNCE_BYTES } from './bounce-pool.ts';
import { BouncedRanges } from './bounced-ranges.ts';
import type { DmaDomain, DmaLimits } from './dma-provider.ts';

/** Offsets in pages survive bouncing, since descriptors of devices build on them. */
const LEAST_ALIGN = 4096;

export class Bouncer {
  /** Exclusive bound of addresses that are used as they are; beyond it only bus addresses are. */
  readonly plainLimit: number;
  readonly #pool: BouncePool;
  readonly #segments: SegmentCursor;
  readonly #addressLimit: number;
  /** Copies keep their address modulo this, and so cross no boundary that the memory does not cross. */
  readonly #align: number;

  /** Of the mapping being made: sizes below it may be unsafe, and whether copies are refused. */
  #unsafeBytes = 0;
  #isRefused = false;
  readonly #isCoherent: boolean;

  /** @param isForced whether to bounce what the device reaches too @throws USAGE */
  constructor(
    pool: BouncePool,
    segments: SegmentCursor,
    limits: DmaLimits,
    isForced: boolean,
    { isCoherent = true }: Partial<DmaTraits> = {},
  ) {
    this.#isCoherent = isCoherent;
    const { addressLimit, boundaryBytes } = limits;
    if (!isPowerOfTwo(boundaryBytes)) {
      throw usage(`boundaryBytes: expected a power of two, got ${boundaryBytes}`);
    }
    this.plainLimit = isForced ? 0 : addressLimit;
    this.#pool = pool;
    this.#segments = segments;
    this.#addressLimit = addressLimit;
    // No piece crosses a multiple of the greatest size.
    const isShort = boundaryBytes > LEAST_ALIGN && boundaryBytes < MAX_BOUNCE_BYTES;
    this.#align = isShort ? boundaryBytes : LEAST_ALIGN;
  }

  /** Longest range that is bounced wherever it starts. */
  get maxRangeBytes(): number {
    return MAX_BOUNCE_BYTES - this.#align;
  }

  map(
    domain: DmaDomain,
    list: PhyRangeList,
    direction: Direction,
    attrs = 0,
  ): MappingRecord | MapRefusal {
    this.#unsafeBytes = unsafeLimit(this.#isCoherent, direction === Direction.ToDevice);
    this.#isRefused = (attrs & NEVER_BOUNCED) !== 0;
    const mapping = new MappingRecord(domain, list, direction);
    const segments = this.#segments;
    segments.open(list);
    while (segments.next()) {
      const refusal = this.#objection();
      if (refusal !== null) return refusal;
      if (mapping.mapType === MapType.None) mapping.mapType = segments.type;
    }
    const bounced = new BouncedRanges(this.#pool);
    if (!this.#fill(mapping, bounced)) return this.#giveUp(bounced);
    // Everything was a bus address.
    if (bounced.isEmpty) return mapping;
    // In every direction: a device that writes less than all must leave the rest as it was. [DMAAPI]
    bounced.copyIn(0, list.sizeBytes);
    mapping.bounced = bounced;
    return mapping;
  }

  /** One range for each segment, with room for its copy where it needs one; false when there is no room. */
  #fill({ source, ranges }: MappingRecord, bounced: BouncedRanges): boolean {
    const segments = this.#segments;
    let done = 0;
    segments.open(source);
    while (segments.next()) {
      const { address, length, type, busOffset } = segments;
      let target: DmaAddr | null = dmaAddr(address);
      if (type === MapType.BusAddress) target = dmaAddr(address + busOffset);
      else if (this.#needsCopy()) target = bounced.add(done, address, length, this.#align);
      if (target === null) return false;
      ranges.appendApart(target, length, type === MapType.BusAddress ? DmaFlag.BusAddress : 0);
      done += length;
    }
    return true;
  }

  /** Why the current segment can neither be used nor bounced, or null. */
  #objection(): MapRefusal | null {
    const { address, length, type, busOffset } = this.#segments;
    const limit = this.#addressLimit;
    if (type === MapType.NotSupported) return this.#segments.refusal();
    if (type === MapType.BusAddress) {
      const end = address + length + busOffset;
      return end <= limit ? null : tooHigh('bus addresses', end, limit);
    }
    if (!this.#needsCopy()) return null;
    if (type !== MapType.None) {
      return refuse(`peer memory at ${hex(address)} would need a copy, and is never bounced`);
    }
    if (this.#isRefused) {
      return refuse(`${length} bytes at ${hex(address)} would need a copy, and must have none`);
    }
    const { base, sizeBytes } = this.#pool;
    if (base + sizeBytes > limit) return tooHigh('bounce buffers', base + sizeBytes, limit);
    if ((address & (this.#align - 1)) + length <= MAX_BOUNCE_BYTES) return null;
    const most = `at most ${this.maxRangeBytes} are sure to be`;
    return refuse(`${length} bytes at ${hex(address)} are too long to be bounced: ${most}`);
  }

  #needsCopy(): boolean {
    const { address, length, type } = this.#segments;
    if (address + length > this.plainLimit) return true;
    return length < this.#unsafeBytes && type === MapType.None && isUnsafe(length);
  }

  /** Gives back what a mapping that found no room has. */
  #giveUp(bounced: BouncedRanges): MapRefusal {
    bounced.release();
    this.#pool.counters[BounceCounter.refused]!++;
    const { usedSlots, slots } = this.#pool;
    const reason = `the bounce pool has no room: ${usedSlots} of ${slots} slots are in use`;
    return { refused: 'ENOMEM', reason };
  }
}

const refuse = (reason: string): MapRefusal => ({ refused: 'EIO', reason });

const tooHigh = (what: string, end: number, limit: number): MapRefusal =>
  refuse(`${what} up to ${hex(end)} are beyond the device's ${hex(limit)}`);
