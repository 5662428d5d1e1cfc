/**
 * No translation: devices use physical addresses, and bus addresses of peers below a common bridge.
 * [DMAAPI], [P2PDMA]
 * @module
 */
import { type Bdf, type DmaAddr, dmaAddr, hex, type PhysAddr } from '#emu/base/units.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';
import { DmaDevice } from './dma-device.ts';
import {
  DEFAULT_LIMITS,
  type DmaDomain,
  type DmaLimits,
  type DmaProvider,
  type HostBridgePolicy,
} from './dma-provider.ts';
import { DmaFlag, DmaRangeList } from './dma-range-list.ts';
import { type Direction, type MapRefusal, MapType } from './mapping.ts';
import { MappingRecord, MappingState } from './mapping-record.ts';
import type { PciView } from './pci-view.ts';
import type { PhyRangeList } from './phy-range-list.ts';
import { SegmentCursor } from './segment-cursor.ts';

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

  device(client: Bdf, limits: Partial<DmaLimits> = {}): DmaDevice {
    const { kernel, view, hostBridgeAllowed = () => false } = this.#options;
    const segments = new SegmentCursor(view, client, hostBridgeAllowed);
    const domain = new DirectDomain(segments, { ...DEFAULT_LIMITS, ...limits });
    return new DmaDevice(kernel, client, domain);
  }
}

class DirectDomain implements DmaDomain {
  readonly #segments: SegmentCursor;
  readonly #limits: DmaLimits;

  constructor(segments: SegmentCursor, limits: DmaLimits) {
    this.#segments = segments;
    this.#limits = limits;
  }

  map(list: PhyRangeList, direction: Direction): MappingRecord | MapRefusal {
    const segments = this.#segments;
    const { addressLimit } = this.#limits;
    let peerType: MapType = MapType.None;
    let isIdentity = true;
    segments.open(list);
    while (segments.next()) {
      const { type, address, length } = segments;
      if (type === MapType.NotSupported) return segments.refusal();
      const isBus = type === MapType.BusAddress;
      const end = address + length + (isBus ? segments.busOffset : 0);
      if (end > addressLimit) return beyond(end, addressLimit);
      if (isBus) isIdentity = false;
      if (peerType === MapType.None) peerType = type;
    }
    // Addresses are equal on both sides: the result shares the storage of the list. [PHYR]
    const ranges = isIdentity ? new DmaRangeList(list.share()) : this.#translate(list);
    const mapping = new MappingRecord(this, list, direction, ranges);
    mapping.mapType = peerType;
    return mapping;
  }

  unmap(mapping: MappingRecord, done: Pending<void>): void {
    mapping.state = MappingState.Gone;
    done.complete();
  }

  mapDoorbell(address: PhysAddr): DmaAddr {
    return dmaAddr(address);
  }

  /** One range for each segment; nothing is joined. */
  #translate(list: PhyRangeList): DmaRangeList {
    const segments = this.#segments;
    const ranges = new DmaRangeList();
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

const beyond = (end: number, limit: number): MapRefusal => ({
  refused: 'EIO',
  reason: `addresses up to ${hex(end)} are beyond the device's ${hex(limit)}`,
});
