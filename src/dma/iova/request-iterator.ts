/**
 * How block drivers map: vector by vector, every vector of a request of one kind. Peers below a common bridge are reached
 * on the bus; else the whole request gets one range of I/O virtual addresses where its vectors fit
 * together, or every vector one of its own. All by the calls that anybody makes: lists or two-step. [DMAAPI], [P2PDMA]
 * @module
 */
import type { EmuError } from '#emu/base/errors.ts';
import { type DmaAddr, dmaAddr, offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import { admission, checkCall } from '#emu/dma/admission.ts';
import { misuse } from '#emu/dma/checker/dma-misuse.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import { PhyRangeList, phyCursor } from '#emu/dma/lists/phy-range-list.ts';
import type { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import {
  Direction,
  type DmaMapping,
  isRefusal,
  type MapRefusal,
  MapType,
} from '#emu/dma/mapping.ts';
import { DEFAULT_LIMITS } from '#emu/dma/providers/dma-provider.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { IovaState } from './iova-state.ts';

/** How the vectors of a request get their addresses. */
export const RequestStyle = {
  /** Bus addresses, each for itself; no address is taken. */
  Bus: 'bus',
  /** One range for all. */
  Iova: 'iova',
  /** Each for itself. */
  Vectors: 'vectors',
} as const;
export type RequestStyle = (typeof RequestStyle)[keyof typeof RequestStyle];

const ZERO = dmaAddr(0);

export class RequestIterator {
  /** The current piece for the device. Valid after {@link next} returned true. */
  address: DmaAddr = ZERO;
  length = 0;
  /** Why {@link start} or {@link next} returned false, or null at the end. */
  refusal: MapRefusal | null = null;
  style: RequestStyle = RequestStyle.Vectors;
  mapType: MapType = MapType.None;
  readonly #device: DmaDevice;
  readonly #kernel: Kernel;
  readonly #maxSegment: number;
  readonly #state: IovaState;
  readonly #vectors = phyCursor();
  readonly #mappings: DmaMapping[] = [];
  #list: PhyRangeList | null = null;
  #direction: Direction = Direction.Bidirectional;
  #attrs = 0;
  /** The vector being collected, and what of it has been handed out; none when `#left` is 0. */
  #at: PhysAddr = physAddr(0);
  #left = 0;
  #hasAhead = false;
  /** Bytes linked to the one range. */
  #linked = 0;

  constructor(device: DmaDevice, kernel: Kernel, maxSegment = DEFAULT_LIMITS.maxSegmentBytes) {
    this.#device = device;
    this.#kernel = kernel;
    this.#maxSegment = Math.min(maxSegment, device.maxRangeBytes);
    this.#state = new IovaState(device);
  }

  /**
   * Begins a request. Peer memory and host memory, or two providers, do not mix in one: EINVAL, as for memory out of
   * reach. From here to the end of {@link unmap} the list is mapped, and its pin or lease counts that.
   * @throws CHECKER when the request before has not been unmapped; USAGE for anything but a list, a direction and attributes
   */
  start(list: PhyRangeList, direction: Direction, attrs = 0): boolean {
    if (this.#list !== null)
      throw this.#misuse('start of a request before the last one is unmapped');
    PhyRangeList.check(list, 'request');
    checkCall('request', direction, attrs);
    this.length = 0;
    this.#left = 0;
    this.refusal = admission(list, direction, attrs, this.#device.traits) ?? this.#classify(list);
    if (this.refusal !== null) return false;
    this.#list = list;
    this.#direction = direction;
    this.#attrs = attrs;
    list.mapped();
    list.open(this.#vectors);
    this.#hasAhead = this.#vectors.next();
    return this.style !== RequestStyle.Iova || this.#linkAll(list);
  }

  /** Moves to the next piece; false at the end, or with a refusal, after which the caller unmaps. */
  next(): boolean {
    if (this.#list === null || this.refusal !== null) return false;
    if (this.style === RequestStyle.Iova) return this.#whole();
    return this.#nextVector() && this.#mapVector();
  }

  /** Ends the request, iterated to its end or not. Completes when no access is possible. @throws CHECKER without one */
  unmap(): Pending<void> {
    const list = this.#list;
    if (list === null) throw this.#misuse('unmap without a request');
    this.#list = null;
    const done = this.#state.isAllocated ? this.#state.destroy(this.#linked) : this.#unmapAll();
    done.onDone(() => list.unmapped());
    return done;
  }

  #unmapAll(): Pending<void> {
    const done = this.#kernel.pending<void>('request unmap');
    const mappings = this.#mappings.splice(0);
    let left = mappings.length;
    if (left === 0) done.complete();
    const ended = (): void => {
      left--;
      if (left === 0) done.complete();
    };
    const failed = (error: EmuError): void => {
      if (!done.done) done.fail(error);
    };
    for (const mapping of mappings) this.#device.unmap(mapping).onDone(ended, failed);
    return done;
  }

  /** Decides how the vectors get their addresses. */
  #classify(list: PhyRangeList): MapRefusal | null {
    if (list.count === 0) return { refused: 'EINVAL', reason: 'the request is empty' };
    const { domain } = this.#device;
    const { segments } = domain;
    this.style = RequestStyle.Vectors;
    const gaps = this.#walk(segments, list);
    if (typeof gaps !== 'number') return gaps;
    if (this.mapType === MapType.BusAddress) {
      this.style = RequestStyle.Bus;
    } else if (domain instanceof IommuDomain && (gaps & (domain.granuleBytes - 1)) === 0) {
      if (this.#tryAlloc(list)) this.style = RequestStyle.Iova;
    }
    return null;
  }

  /** Looks at every vector; low bits of the addresses at which one does not continue the one before. */
  #walk(segments: SegmentCursor | undefined, list: PhyRangeList): number | MapRefusal {
    this.mapType = MapType.None;
    if (!segments) return 0;
    segments.open(list);
    let gaps = 0;
    let bar = -1;
    let end = -1;
    while (segments.next()) {
      const { type, address, length } = segments;
      if (type === MapType.NotSupported) {
        return { refused: 'EINVAL', reason: segments.refusal().reason };
      }
      if (end < 0) {
        this.mapType = type;
        bar = segments.barBase;
      } else if (segments.barBase !== bar) {
        return { refused: 'EINVAL', reason: 'a request of several kinds of memory' };
      } else if (end !== address) {
        gaps |= end | address;
      }
      end = address + length;
    }
    return gaps;
  }

  #tryAlloc(list: PhyRangeList): boolean {
    return this.#state.tryAlloc(list.address(0), list.sizeBytes);
  }

  #linkAll(list: PhyRangeList): boolean {
    this.#linked = 0;
    while (this.#nextVector()) {
      const refusal = this.#link(list, this.length);
      if (refusal !== null) {
        this.refusal = refusal;
        return false;
      }
      this.#linked += this.length;
    }
    this.#state.sync(0, list.sizeBytes);
    this.length = 0;
    return true;
  }

  #link(list: PhyRangeList, sizeBytes: number): MapRefusal | null {
    const [direction, attrs] = [this.#direction, this.#attrs];
    return this.#state.link(this.#at, this.#linked, sizeBytes, direction, attrs, list);
  }

  #whole(): boolean {
    if (this.length > 0) return false;
    this.address = this.#state.address;
    this.length = this.#linked;
    return true;
  }

  /** Collects the next vector: physically contiguous ranges are one, up to the longest segment. */
  #nextVector(): boolean {
    this.#at = offsetBy(this.#at, this.length);
    if (this.#left === 0) {
      if (!this.#hasAhead) return false;
      this.#at = this.#vectors.address;
      do {
        this.#left += this.#vectors.length;
        this.#hasAhead = this.#vectors.next();
      } while (this.#hasAhead && this.#at + this.#left === this.#vectors.address);
    }
    // Longer vectors are cut where both sides still start a page.
    const longest = this.style === RequestStyle.Iova ? this.#left : this.#longest();
    this.length = Math.min(this.#left, longest);
    this.#left -= this.length;
    return true;
  }

  #longest(): number {
    const offset = this.#at % 4096;
    return this.#maxSegment > 4096
      ? this.#maxSegment - (this.#maxSegment % 4096) - offset
      : this.#maxSegment;
  }

  #mapVector(): boolean {
    const vector = PhyRangeList.of(this.#at, this.length);
    vector.hold = this.#list?.hold ?? null;
    const mapping = this.#device.map(vector, this.#direction, this.#attrs);
    if (isRefusal(mapping)) {
      this.refusal = mapping;
      return false;
    }
    this.#mappings.push(mapping);
    this.address = mapping.ranges.address(0);
    return true;
  }

  #misuse(what: string): EmuError {
    return misuse(this.#device, 'order', what, null);
  }
}
