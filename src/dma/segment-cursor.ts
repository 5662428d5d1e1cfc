/**
 * Walks a physical list in segments of one kind: host memory, or one BAR of a peer, with how the client
 * reaches it. Nothing is allocated per segment; answers are cached until the view changes. [P2PDMA]
 * @module
 */
import { type Bdf, formatBdf, hex, offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import type { HostBridgePolicy } from './dma-provider.ts';
import { type MapRefusal, MapType } from './mapping.ts';
import { mapType, type P2pRoute } from './p2p.ts';
import type { PciFunctionView, PciView } from './pci-view.ts';
import { type PhyRangeList, phyCursor } from './phy-range-list.ts';

const ZERO = physAddr(0);

export class SegmentCursor {
  /** The current segment. Valid after {@link next} returned true. */
  address: PhysAddr = ZERO;
  length = 0;
  type: MapType = MapType.None;
  /** What to add to the address for the bus: 0 for host memory, and where the host bridge has no offset. */
  busOffset = 0;
  readonly #view: PciView;
  readonly #client: Bdf;
  readonly #policy: HostBridgePolicy;
  readonly #ranges = phyCursor();
  /** What is left of the current range. */
  #at = 0;
  #left = 0;
  /** Addresses that the latest classification holds for. */
  #spanBase = 0;
  #spanLimit = 0;
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
    this.#spanLimit = 0;
  }

  /** Moves to the next segment; false at the end. */
  next(): boolean {
    if (this.#left === 0) {
      if (!this.#ranges.next()) return false;
      this.#at = this.#ranges.address;
      this.#left = this.#ranges.length;
    }
    const at = this.#at;
    if (at < this.#spanBase || at >= this.#spanLimit) this.#classify(at);
    this.address = offsetBy(ZERO, at);
    this.length = Math.min(this.#left, this.#spanLimit - at);
    this.#at = at + this.length;
    this.#left -= this.length;
    return true;
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

  /** Finds what `address` belongs to and how far that reaches. */
  #classify(address: number): void {
    this.busOffset = 0;
    this.#spanBase = 0;
    this.#spanLimit = Number.POSITIVE_INFINITY;
    for (const { base, sizeBytes } of this.#view.windows) {
      if (address >= base + sizeBytes) {
        this.#spanBase = Math.max(this.#spanBase, base + sizeBytes);
      } else if (address < base) {
        this.#spanLimit = Math.min(this.#spanLimit, base);
      } else {
        this.#classifyDevice(physAddr(address));
        return;
      }
    }
    this.type = MapType.None;
  }

  #classifyDevice(address: PhysAddr): void {
    const owner = this.#view.functionAt(address);
    const bar = owner?.bars.find(
      ({ base, sizeBytes }) => address >= base && address < base + sizeBytes,
    );
    if (!owner || !bar) {
      this.type = MapType.NotSupported;
      this.#spanBase = address;
      this.#spanLimit = address + 1;
      return;
    }
    this.type = this.#route(owner).type;
    this.busOffset = bar.busBase - bar.base;
    this.#spanBase = bar.base;
    this.#spanLimit = bar.base + bar.sizeBytes;
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
