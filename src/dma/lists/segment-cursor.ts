/**
 * Walks a physical list in segments of one kind: host memory, or one BAR of a peer, with how the client
 * reaches it. Nothing is allocated per segment; answers are cached until the view changes. [P2PDMA]
 * @module
 */
import {
  type Bdf,
  formatBdf,
  hex,
  offsetBy,
  PAGE_SIZE,
  type PhysAddr,
  physAddr,
} from '#emu/base/units.ts';
import { type MapRefusal, MapType } from '#emu/dma/mapping.ts';
import { mapType, type P2pRoute } from '#emu/dma/p2p/p2p.ts';
import type { PciFunctionView, PciView } from '#emu/dma/p2p/pci-view.ts';
import type { HostBridgePolicy } from '#emu/dma/providers/dma-provider.ts';
import { type PhyRangeList, phyCursor } from './phy-range-list.ts';
import { MAX_RANGE_BYTES } from './range-chain.ts';

const ZERO = physAddr(0);
/** Ranges cut at the largest length are this long at least: they end on a page. */
const LONGEST_CUT = MAX_RANGE_BYTES - PAGE_SIZE + 1;

export class SegmentCursor {
  /** The current segment. Valid after {@link next} returned true. */
  address: PhysAddr = ZERO;
  length = 0;
  type: MapType = MapType.None;
  /** Whether it goes on where the one before was cut only because a range can be no longer. */
  continues = false;
  /** What to add to the address for the bus: 0 for host memory, and where the host bridge has no offset. */
  busOffset = 0;
  readonly #view: PciView;
  readonly #client: Bdf;
  readonly #policy: HostBridgePolicy;
  readonly #ranges = phyCursor();
  /** What is left of the current range. */
  #at = 0;
  #left = 0;
  /** Host memory around the latest host address, and the latest BAR with how it is reached. */
  #hostBase = 0;
  #hostLimit = 0;
  #barBase = 0;
  #barLimit = 0;
  #barType: MapType = MapType.NotSupported;
  #barOffset = 0;
  #generation = -1;
  readonly #routes = new Map<Bdf, P2pRoute>();

  constructor(view: PciView, client: Bdf, policy: HostBridgePolicy) {
    this.#view = view;
    this.#client = client;
    this.#policy = policy;
  }

  /** Stands before the first segment of `list`. */
  open(list: PhyRangeList): void {
    list.open(this.#ranges);
    this.#left = 0;
    if (this.#view.generation === this.#generation) return;
    this.#generation = this.#view.generation;
    this.#routes.clear();
    this.#hostLimit = 0;
    this.#barLimit = 0;
  }

  /** Moves to the next segment; false at the end. */
  next(): boolean {
    this.continues = false;
    if (this.#left === 0) {
      const isCut = this.#ranges.length >= LONGEST_CUT;
      if (!this.#ranges.next()) return false;
      this.continues = isCut && this.#ranges.address === this.#at;
      this.#at = this.#ranges.address;
      this.#left = this.#ranges.length;
    }
    const at = this.#at;
    let limit = this.#hostLimit;
    if (at >= this.#hostBase && at < limit) {
      this.type = MapType.None;
    } else {
      if (at < this.#barBase || at >= this.#barLimit) this.#classify(at);
      limit = this.#setKind(at);
    }
    const length = Math.min(this.#left, limit - at);
    this.address = offsetBy(ZERO, at);
    this.length = length;
    this.#at = at + length;
    this.#left -= length;
    return true;
  }

  /** First address of the BAR that the current segment lies in, or -1 for host memory. */
  get barBase(): number {
    return this.type === MapType.None ? -1 : this.#barBase;
  }

  /** Why the current segment, of type NOT_SUPPORTED, cannot be mapped. */
  refusal(): MapRefusal {
    const owner = this.#view.functionAt(this.address);
    if (!owner) {
      return { refused: 'EINVAL', reason: `no function decodes ${hex(this.address)}` };
    }
    const { distance, acsRedirect } = this.#route(owner);
    const why =
      distance < 0
        ? 'one of them is not in the topology'
        : acsRedirect.length > 0
          ? `ACS redirects at ${acsRedirect.map(formatBdf).join(', ')} and the host bridge is not allowed`
          : 'they share no upstream bridge and the host bridge is not allowed';
    const pair = `${formatBdf(this.#client)} cannot reach memory of ${formatBdf(owner.bdf)}`;
    return { refused: 'EREMOTEIO', reason: `${pair}: ${why}` };
  }

  /** Takes the kind of `at` from what {@link #classify} found; returns where that ends. */
  #setKind(at: number): number {
    const isHost = at >= this.#hostBase && at < this.#hostLimit;
    this.type = isHost ? MapType.None : this.#barType;
    this.busOffset = isHost ? 0 : this.#barOffset;
    return isHost ? this.#hostLimit : this.#barLimit;
  }

  /** Finds what `address` belongs to and how far that reaches. */
  #classify(address: number): void {
    let base = 0;
    let limit = Number.POSITIVE_INFINITY;
    for (const window of this.#view.windows) {
      const end = window.base + window.sizeBytes;
      if (address >= end) base = Math.max(base, end);
      else if (address < window.base) limit = Math.min(limit, window.base);
      else return this.#classifyDevice(physAddr(address));
    }
    this.#hostBase = base;
    this.#hostLimit = limit;
  }

  #classifyDevice(address: PhysAddr): void {
    const owner = this.#view.functionAt(address);
    const bar = owner?.bars.find(
      ({ base, sizeBytes }) => address >= base && address < base + sizeBytes,
    );
    if (!owner || !bar) {
      this.#barType = MapType.NotSupported;
      this.#barBase = address;
      this.#barLimit = address + 1;
      return;
    }
    this.#barType = this.#route(owner).type;
    this.#barOffset = bar.busBase - bar.base;
    this.#barBase = bar.base;
    this.#barLimit = bar.base + bar.sizeBytes;
  }

  #route(owner: PciFunctionView): P2pRoute {
    const known = this.#routes.get(owner.bdf);
    if (known) return known;
    const isAllowed = this.#policy(owner.bdf, this.#client);
    const route = mapType(this.#view, owner.bdf, this.#client, isAllowed);
    this.#routes.set(owner.bdf, route);
    return route;
  }
}
