/**
 * A host for DMA software without a fabric: memory, an allocator that counts, MMIO straight to an IOMMU, and
 * a topology written down instead of enumerated. Builds; asserts nothing. @module
 */
import { EmuError } from '#emu/base/errors.ts';
import {
  type Bdf,
  bdf,
  bdfFromId,
  type DmaAddr,
  dmaAddr,
  offsetBy,
  type PhysAddr,
  physAddr,
} from '#emu/base/units.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { type Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import type {
  AddressWindow,
  HostBridgeView,
  PciFunctionView,
  PciView,
} from '#emu/dma/p2p/pci-view.ts';
import type { DmaHost, DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { IommuProvider, type IommuProviderOptions } from '#emu/dma/providers/iommu-provider.ts';
import { Iommu, type IommuOptions } from '#emu/iommu/iommu.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { newTranslation } from '#emu/pcie/translator.ts';
import { type EventArg, Kernel, type Target } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';

export const REGISTERS = physAddr(0x1000_0000);
export const DOORBELL = { base: 0x2800_0000, sizeBytes: 4096 } as const;
/** Host-bridge window of all fake topologies; bus addresses are `BUS_OFFSET` higher. */
export const WINDOW = { base: physAddr(2 ** 40), sizeBytes: 2 ** 38 } as const;
export const BUS_OFFSET: number = 2 ** 39;
const MMIO_PS = 50_000;

interface Waiter {
  readonly offset: number;
  readonly pending: Pending<number>;
}

export class FakeHost implements DmaHost, Target {
  readonly path = 'host';
  readonly kernel = new Kernel();
  readonly memory = new SparseMemory(2 ** 48, 'host');
  readonly iommu: Iommu;
  /** Sizes of live allocations, by address. */
  readonly live = new Map<number, number>();
  /** Allocations that still succeed. */
  budget = Number.POSITIVE_INFINITY;
  readonly #handlers: (() => void)[] = [];
  readonly #view = new DataView(new ArrayBuffer(8));
  #next = 0x8000_0000;

  constructor(options: IommuOptions = {}) {
    const onInterrupt = (address: number, data: number): void => {
      if (address === DOORBELL.base) this.kernel.schedule(MMIO_PS, this, -2, data);
    };
    this.iommu = new Iommu(this.kernel, this.memory, { onInterrupt, ...options });
  }

  allocate(sizeBytes: number, alignBytes: number): PhysAddr {
    if (this.budget-- <= 0) throw new EmuError('NO_MEMORY', 'the fake host has no memory left');
    const at = Math.ceil(this.#next / alignBytes) * alignBytes;
    this.#next = at + sizeBytes;
    this.live.set(at, sizeBytes);
    return physAddr(at);
  }

  free(address: PhysAddr, sizeBytes: number): void {
    if (this.live.get(address) !== sizeBytes) throw new Error(`free of ${address}`);
    this.live.delete(address);
    this.memory.discard(address, sizeBytes);
  }

  mmioRead32(address: PhysAddr): Pending<number> {
    const pending = this.kernel.pending<number>('mmio read');
    const waiter: Waiter = { offset: address - REGISTERS, pending };
    this.kernel.schedule(MMIO_PS, this, -1, waiter);
    return pending;
  }

  mmioWrite32(address: PhysAddr, value: number): void {
    this.#view.setUint32(0, value, true);
    this.iommu.mmioWrite(address - REGISTERS, 4, this.#view, 0);
  }

  interrupt(_path: string, handler: () => void): { address: PhysAddr; data: number } {
    this.#handlers.push(handler);
    return { address: physAddr(DOORBELL.base), data: this.#handlers.length - 1 };
  }

  handle(op: number, arg: EventArg): void {
    if (op === -2) return this.#handlers[Number(arg)]?.();
    const { offset, pending } = arg as Waiter;
    this.iommu.mmioRead(offset, 4, this.#view, 0);
    pending.complete(this.#view.getUint32(0, true));
  }
}

export interface FakeFunction {
  readonly bdf: Bdf;
  readonly parent?: Bdf;
  readonly acs?: number;
  /** Address of BAR 0 from the window's base on, and its size. */
  readonly bar?: readonly [offset: number, sizeBytes: number];
  readonly isBridge?: boolean;
  /** Position among the view's host bridges; default 0. */
  readonly hostBridge?: number;
}

/** A topology as given, with one host-bridge window. */
export class FakeView implements PciView {
  generation = 1;
  functions: readonly PciFunctionView[] = [];
  hostBridges: readonly HostBridgeView[] = [];
  readonly windows: readonly AddressWindow[];
  readonly #busOffset: number;

  constructor(functions: readonly FakeFunction[], busOffset: number = BUS_OFFSET) {
    this.#busOffset = busOffset;
    this.windows = [{ ...WINDOW, busBase: dmaAddr(WINDOW.base + busOffset) }];
    this.set(functions);
  }

  set(functions: readonly FakeFunction[]): void {
    this.generation++;
    this.functions = functions.map((fn) => ({
      bdf: fn.bdf,
      parent: fn.parent ?? null,
      hostBridge: fn.hostBridge ?? 0,
      isBridge: fn.isBridge ?? fn.bar === undefined,
      acs: fn.acs ?? null,
      bars: fn.bar
        ? [
            {
              index: 0,
              base: offsetBy(WINDOW.base, fn.bar[0]),
              busBase: dmaAddr(WINDOW.base + fn.bar[0] + this.#busOffset),
              sizeBytes: fn.bar[1],
            },
          ]
        : [],
    }));
  }

  functionAt(address: PhysAddr): PciFunctionView | null {
    const decodes = ({ bars }: PciFunctionView): boolean =>
      bars.some(({ base, sizeBytes }) => address >= base && address < base + sizeBytes);
    return this.functions.find(decodes) ?? null;
  }

  *refresh(): Process<void> {}
}

/** Functions of the topology below: a client and a peer under one switch, and two more root ports. */
export const CLIENT: Bdf = bdf(3, 0, 0);
export const NEAR: Bdf = bdf(4, 0, 0);
export const FAR: Bdf = bdf(5, 0, 0);
export const BANNED: Bdf = bdf(6, 0, 0);
const BAR_BYTES = 2 ** 34;
/** Peer memory by how the client reaches it. */
export const PEER = {
  /** By bus address: under the same switch. */
  near: WINDOW.base,
  /** Through the host bridge: below another root port. */
  far: offsetBy(WINDOW.base, BAR_BYTES),
  /** Not at all: the policy says no. */
  banned: offsetBy(WINDOW.base, 2 * BAR_BYTES),
  /** In the window, but no BAR. */
  nobody: offsetBy(WINDOW.base, 3 * BAR_BYTES),
} as const;
export const BAR_SIZE = BAR_BYTES;

/** Root port 00:01.0 with a switch (01:00.0, ports 02:00.0 and 02:01.0), root ports 00:02.0 and 00:03.0. */
export const threePorts = (acs?: number): readonly FakeFunction[] => {
  const port = acs === undefined ? {} : { acs };
  return [
    { bdf: bdf(0, 1, 0) },
    { bdf: bdf(1, 0, 0), parent: bdf(0, 1, 0) },
    { bdf: bdf(2, 0, 0), parent: bdf(1, 0, 0), ...port },
    { bdf: bdf(2, 1, 0), parent: bdf(1, 0, 0), ...port },
    { bdf: CLIENT, parent: bdf(2, 0, 0), isBridge: false },
    { bdf: NEAR, parent: bdf(2, 1, 0), bar: [0, BAR_BYTES] },
    { bdf: bdf(0, 2, 0) },
    { bdf: FAR, parent: bdf(0, 2, 0), bar: [BAR_BYTES, BAR_BYTES] },
    { bdf: bdf(0, 3, 0) },
    { bdf: BANNED, parent: bdf(0, 3, 0), bar: [2 * BAR_BYTES, BAR_BYTES] },
  ];
};

export const exceptBanned = (provider: Bdf): boolean => provider !== BANNED;

/** A started IOMMU provider and the client's domain. */
export class IommuDriverRig {
  readonly host: FakeHost;
  readonly view: FakeView;
  readonly provider: IommuProvider;
  readonly device;
  readonly domain: IommuDomain;

  constructor(
    limits: Partial<DmaLimits> = {},
    options: Partial<IommuProviderOptions> = {},
    hardware: IommuOptions = {},
  ) {
    this.host = new FakeHost(hardware);
    this.view = new FakeView(threePorts());
    this.provider = new IommuProvider({
      host: this.host,
      view: this.view,
      registers: REGISTERS,
      doorbell: DOORBELL,
      hostBridgeAllowed: exceptBanned,
      ...options,
    });
    const started = this.host.kernel.spawn('start', this.provider.start());
    this.host.kernel.run();
    started.value;
    this.device = this.provider.device(CLIENT, limits);
    if (!(this.device.domain instanceof IommuDomain)) throw new Error('no IOMMU domain');
    this.domain = this.device.domain;
  }

  /** Maps, or throws with the reason of the refusal. */
  map(list: PhyRangeList, direction: Direction): DmaMapping {
    const result = this.device.map(list, direction);
    if (isRefusal(result)) throw new Error(`${result.refused}: ${result.reason}`);
    return result;
  }

  /** What the IOMMU makes of an access by the client: the physical address, or -1. */
  access(address: number, write = false, requester: Bdf = CLIENT): number {
    const out = newTranslation();
    this.host.iommu.translate(bdfFromId(requester), dmaAddr(address), write, out);
    return out.fault ? -1 : out.address;
  }

  dispose(): void {
    this.host.memory.dispose();
  }
}

/** Ranges as plain records. */
export const rangesOf = (
  list: Iterable<{ address: PhysAddr | DmaAddr; length: number; flags: number }>,
): { address: number; length: number; flags: number }[] =>
  [...list].map(({ address, length, flags }) => ({ address, length, flags }));
