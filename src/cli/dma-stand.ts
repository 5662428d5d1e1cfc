/**
 * Ground for DMA software without a fabric: memory, an IOMMU whose registers answer at once, and a topology
 * given instead of enumerated. For conformance vectors and benchmarks of mapping alone. [RVIOMMU] 1.0
 * @module
 */
import { type Bdf, bdf, lo32, offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import type { Reserved } from '#emu/dma/iova/iova-allocator.ts';
import type {
  AddressWindow,
  HostBridgeView,
  PciFunctionView,
  PciView,
} from '#emu/dma/p2p/pci-view.ts';
import type { DmaHost } from '#emu/dma/providers/dma-provider.ts';
import { Iommu } from '#emu/iommu/iommu.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';

export const STAND_REGISTERS: PhysAddr = physAddr(0x1000_0000);
export const STAND_DOORBELL: Reserved = { base: 0x2800_0000, sizeBytes: 4096 };
const TABLES_BASE = 0x8000_0000;
const MEMORY_BYTES = 2 ** 51;

export class DmaStand implements DmaHost {
  readonly kernel: Kernel = new Kernel();
  readonly memory: SparseMemory = new SparseMemory(MEMORY_BYTES, 'dma stand');
  readonly iommu: Iommu;
  readonly #handlers: (() => void)[] = [];
  readonly #freed = new Map<number, PhysAddr[]>();
  readonly #view = new DataView(new ArrayBuffer(8));
  #next = physAddr(TABLES_BASE);

  constructor() {
    this.iommu = new Iommu(this.kernel, this.memory, {
      onInterrupt: (_address, data) => this.#handlers[data]?.(),
    });
  }

  allocate(sizeBytes: number, alignBytes: number): PhysAddr {
    const reused = this.#freed.get(sizeBytes)?.pop();
    if (reused !== undefined) return reused;
    const at = physAddr(Math.ceil(this.#next / alignBytes) * alignBytes);
    this.#next = offsetBy(at, sizeBytes);
    return at;
  }

  free(address: PhysAddr, sizeBytes: number): void {
    const freed = this.#freed.get(sizeBytes) ?? [];
    freed.push(address);
    this.#freed.set(sizeBytes, freed);
  }

  mmioRead32(address: PhysAddr): Pending<number> {
    this.iommu.mmioRead(address - STAND_REGISTERS, 4, this.#view, 0);
    const answer = this.kernel.pending<number>('register read');
    answer.complete(this.#view.getUint32(0, true));
    return answer;
  }

  mmioWrite32(address: PhysAddr, value: number): void {
    this.#view.setUint32(0, lo32(value), true);
    this.iommu.mmioWrite(address - STAND_REGISTERS, 4, this.#view, 0);
  }

  interrupt(_path: string, handler: () => void): { address: PhysAddr; data: number } {
    this.#handlers.push(handler);
    return { address: physAddr(STAND_DOORBELL.base), data: this.#handlers.length - 1 };
  }

  /** Runs a process to its end; its result. */
  finish<T>(name: string, process: Process<T>): T {
    const result = this.kernel.spawn(name, process);
    this.kernel.run();
    return result.value;
  }

  dispose(): void {
    this.memory.dispose();
  }
}

/** Requests for mappings are this function's. */
export const STAND_CLIENT: Bdf = bdf(3, 0, 0);
/** Peers by how the client reaches them: by bus address, through the host bridge, not at all. */
export const STAND_PEERS = {
  bus: bdf(4, 0, 0),
  bridge: bdf(5, 0, 0),
  refused: bdf(6, 0, 0),
} as const;
export type StandPeer = keyof typeof STAND_PEERS;

/** Host bridges are trusted with every peer but one. */
export const standPolicy = (provider: Bdf): boolean => provider !== STAND_PEERS.refused;

/** Memory of a peer. */
export interface StandBar extends AddressWindow {
  readonly peer: StandPeer;
}

/** A client and one peer below a switch, two more peers below root ports of their own. */
export class StandView implements PciView {
  readonly generation = 1;
  readonly functions: readonly PciFunctionView[];
  readonly hostBridges: readonly HostBridgeView[] = [];
  readonly windows: readonly AddressWindow[];

  constructor(bars: readonly StandBar[] = []) {
    this.windows = bars;
    const bridge = (id: Bdf, parent: Bdf | null = null): PciFunctionView => ({
      bdf: id,
      parent,
      hostBridge: 0,
      isBridge: true,
      acs: null,
      bars: [],
    });
    const peer = (kind: StandPeer, parent: Bdf): PciFunctionView => ({
      ...bridge(STAND_PEERS[kind], parent),
      isBridge: false,
      bars: bars.filter((bar) => bar.peer === kind).map((bar, index) => ({ ...bar, index })),
    });
    this.functions = [
      bridge(bdf(0, 1, 0)),
      bridge(bdf(1, 0, 0), bdf(0, 1, 0)),
      bridge(bdf(2, 0, 0), bdf(1, 0, 0)),
      bridge(bdf(2, 1, 0), bdf(1, 0, 0)),
      { ...bridge(STAND_CLIENT, bdf(2, 0, 0)), isBridge: false },
      peer('bus', bdf(2, 1, 0)),
      bridge(bdf(0, 2, 0)),
      peer('bridge', bdf(0, 2, 0)),
      bridge(bdf(0, 3, 0)),
      peer('refused', bdf(0, 3, 0)),
    ];
  }

  functionAt(address: PhysAddr): PciFunctionView | null {
    const holds = ({ base, sizeBytes }: AddressWindow): boolean =>
      address >= base && address < base + sizeBytes;
    return this.functions.find(({ bars }) => bars.some(holds)) ?? null;
  }

  /** The topology never changes. */
  *refresh(): Process<void> {}
}
