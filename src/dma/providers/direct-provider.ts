/**
 * No translation: devices use physical addresses, and bus addresses of peers below a common bridge.
 * [DMAAPI], [P2PDMA]
 * @module
 */
import { type Bdf, type DmaAddr, dmaAddr, hex, type PhysAddr } from '#emu/base/units.ts';
import { DmaDevice } from '#emu/dma/dma-device.ts';
import { type DmaTraits, isUnsafe, unsafeLimit } from '#emu/dma/dma-traits.ts';
import { DmaFlag, DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import { Direction, type MapRefusal, MapType } from '#emu/dma/mapping.ts';
import { MappingRecord, MappingState } from '#emu/dma/mapping-record.ts';
import type { PciView } from '#emu/dma/p2p/pci-view.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';
import type { Bouncer } from './bouncer.ts';
import {
  DEFAULT_LIMITS,
  type DmaDomain,
  type DmaLimits,
  type DmaProvider,
  type HostBridgePolicy,
} from './dma-provider.ts';

export interface DirectProviderOptions {
  readonly kernel: Kernel;
  readonly view: PciView;
  /** Default: never allowed. */
  readonly hostBridgeAllowed?: HostBridgePolicy;
}

export class DirectProvider implements DmaProvider {
  readonly name = 'direct';
  readonly #options: DirectProviderOptions;

  constructor(options: DirectProviderOptions) {
    this.#options = options;
  }

  /** There is no hardware to bring up. */
  *start(): Process<void> {}

  device(client: Bdf, limits: Partial<DmaLimits> = {}, traits: Partial<DmaTraits> = {}): DmaDevice {
    const { kernel, view, hostBridgeAllowed = () => false } = this.#options;
    const segments = new SegmentCursor(view, client, hostBridgeAllowed);
    const domain = new DirectDomain(segments, { ...DEFAULT_LIMITS, ...limits }, null, traits);
    return new DmaDevice(kernel, client, domain, traits);
  }
}

/** One function's addresses without translation. */
export class DirectDomain implements DmaDomain {
  readonly segments: SegmentCursor;
  readonly #limits: DmaLimits;
  readonly #bouncer: Bouncer | null;
  /** Exclusive bound of addresses that need no second look. */
  readonly #plainLimit: number;
  readonly #isCoherent: boolean;

  /** @param bouncer copies what the device must not use as it is; without one that is refused */
  constructor(
    segments: SegmentCursor,
    limits: DmaLimits,
    bouncer: Bouncer | null = null,
    { isCoherent = true }: Partial<DmaTraits> = {},
  ) {
    this.#isCoherent = isCoherent;
    this.segments = segments;
    this.#limits = limits;
    this.#bouncer = bouncer;
    this.#plainLimit = bouncer?.plainLimit ?? limits.addressLimit;
  }

  get coherentLimit(): number {
    return this.#limits.addressLimit;
  }

  get maxRangeBytes(): number {
    return this.#bouncer?.maxRangeBytes ?? Number.POSITIVE_INFINITY;
  }

  map(list: PhyRangeList, direction: Direction, attrs = 0): MappingRecord | MapRefusal {
    const segments = this.segments;
    const plainLimit = this.#plainLimit;
    const unsafeBytes = unsafeLimit(this.#isCoherent, direction === Direction.ToDevice);
    let peerType: MapType = MapType.None;
    let isIdentity = true;
    segments.open(list);
    while (segments.next()) {
      const { type, address, length } = segments;
      if (type === MapType.NotSupported) return segments.refusal();
      const isBus = type === MapType.BusAddress;
      const end = address + length + (isBus ? segments.busOffset : 0);
      if (end > plainLimit) return this.#bounce(list, direction, attrs, end);
      if (length < unsafeBytes && type === MapType.None && isUnsafe(length)) {
        return this.#bounce(list, direction, attrs, end);
      }
      if (isBus) isIdentity = false;
      if (peerType === MapType.None) peerType = type;
    }
    // Addresses are equal on both sides: the result shares the storage of the list. [PHYR]
    const ranges = isIdentity ? new DmaRangeList(list.share()) : this.#translate(list);
    const mapping = new MappingRecord(this, list, direction, ranges);
    mapping.mapType = peerType;
    return mapping;
  }

  /** The list lies below {@link coherentLimit}, and so is never bounced. */
  mapCoherent(list: PhyRangeList): MappingRecord {
    return new MappingRecord(this, list, Direction.Bidirectional, new DmaRangeList(list.share()));
  }

  unmap(mapping: MappingRecord, done: Pending<void>): void {
    const { bounced, source } = mapping;
    if (bounced !== null) {
      if (mapping.isCopiedBack) bounced.copyOut(0, source.sizeBytes);
      bounced.release();
    }
    mapping.state = MappingState.Gone;
    done.complete();
  }

  unmapPart(mapping: MappingRecord, start: number, end: number): void {
    const { bounced, ended } = mapping;
    if (bounced === null) return;
    if (mapping.isCopiedBack) bounced.copyOut(start, end);
    bounced.releasePart(start, end, ended!);
  }

  mapDoorbell(address: PhysAddr): DmaAddr {
    return dmaAddr(address);
  }

  /** For a list with a segment, that ends at `end`, which the device must not use as it is. */
  #bounce(
    list: PhyRangeList,
    direction: Direction,
    attrs: number,
    end: number,
  ): MappingRecord | MapRefusal {
    if (this.#bouncer !== null) return this.#bouncer.map(this, list, direction, attrs);
    const { addressLimit } = this.#limits;
    const reason =
      end > addressLimit
        ? `addresses up to ${hex(end)} are beyond the device's ${hex(addressLimit)}`
        : `what ends at ${hex(end)} may share a cache line, which the device does not see`;
    return { refused: 'EIO', reason };
  }

  /** One range for each segment; nothing is joined. */
  #translate(list: PhyRangeList): DmaRangeList {
    const segments = this.segments;
    const ranges = new DmaRangeList(list.layout);
    segments.open(list);
    while (segments.next()) {
      const { address, length, type, busOffset } = segments;
      if (type === MapType.BusAddress) {
        ranges.appendApart(dmaAddr(address + busOffset), length, DmaFlag.BusAddress);
      } else {
        ranges.appendApart(dmaAddr(address), length);
      }
    }
    return ranges;
  }
}
