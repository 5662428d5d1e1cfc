/**
 * The part of host software that makes memory accessible to devices: translation hardware when the machine has
 * it, and the provider that drives it or does without. [DMAAPI], [RVIOMMU] 1.0
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { alignUp, hex, type PhysAddr } from '#emu/base/units.ts';
import type { DmaTraits } from '#emu/dma/dma-traits.ts';
import type { FaultLog } from '#emu/dma/iommu-driver/fault-log.ts';
import { hostBridgePolicy } from '#emu/dma/p2p/host-bridge-list.ts';
import {
  BouncePool,
  DEFAULT_POOL_BYTES,
  MAX_BOUNCE_BYTES,
} from '#emu/dma/providers/bounce-pool.ts';
import { BounceProvider } from '#emu/dma/providers/bounce-provider.ts';
import { DirectProvider, type DirectProviderOptions } from '#emu/dma/providers/direct-provider.ts';
import type { DmaHost, DmaProvider } from '#emu/dma/providers/dma-provider.ts';
import { IommuProvider } from '#emu/dma/providers/iommu-provider.ts';
import { LegacyProvider } from '#emu/dma/providers/legacy-provider.ts';
import { PassthroughProvider } from '#emu/dma/providers/passthrough-provider.ts';
import type { PciTree } from '#emu/host/enumeration/pci-tree.ts';
import type { HostMemory } from '#emu/host/memory/mm.ts';
import type { PeerMemory } from '#emu/host/peer/peer-memory.ts';
import type { Interrupts } from '#emu/host/services/interrupts.ts';
import { Iommu } from '#emu/iommu/iommu.ts';
import type { RootComplex } from '#emu/pcie/root/root-complex.ts';
import type { MachineSpec, PhysicalMap, Span } from './machine-spec.ts';

const FOUR_GIB = 2 ** 32;

/** What DMA software stands on. */
export interface DmaGround {
  readonly root: RootComplex;
  readonly mm: HostMemory;
  readonly interrupts: Interrupts;
  readonly pci: PciTree;
  readonly map: PhysicalMap;
  /** Complete by the first mapping. */
  readonly peerMemory: PeerMemory;
}

/** What a machine has for DMA. */
export interface DmaSoftware {
  readonly provider: DmaProvider;
  /** Translation hardware, or null. */
  readonly iommu: Iommu | null;
  /** The log of its faults; null without, and where it lets everything pass. */
  readonly faults: FaultLog | null;
  /** Memory for copies, or null. */
  readonly bounce: BouncePool | null;
}

/** Builds translation hardware if the machine has it, and its driver; `provider.start()` turns it on. */
export function dmaSoftware(ground: DmaGround, spec: MachineSpec): DmaSoftware {
  const iommu = addIommu(ground, spec);
  const name = spec.dma?.provider ?? 'auto';
  const isTranslated = iommu !== null && name !== 'direct' && name !== 'bounce';
  const addresses = isTranslated
    ? translated(ground, spec, iommu)
    : untranslated(ground, spec, iommu);
  if (name !== 'legacy') return addresses;
  // What has no pages now may have some later.
  const hasPages = (address: PhysAddr, sizeBytes: number): boolean =>
    ground.peerMemory.hasPages(address, sizeBytes);
  const options = { ...believed(ground, spec), addresses: addresses.provider, hasPages };
  return { ...addresses, provider: new LegacyProvider(options) };
}

/** What the platform says of a function. */
export function dmaTraits({ dma }: MachineSpec, name: string): Partial<DmaTraits> {
  const { coherent = true, untrusted = false } = dma?.devices?.[name] ?? {};
  return { isCoherent: coherent, isUntrusted: untrusted };
}

/** What every provider works with. */
function believed({ root, pci }: DmaGround, spec: MachineSpec): DirectProviderOptions {
  // What software believes; whether the root complex forwards is another matter.
  const hostBridgeAllowed = hostBridgePolicy(pci, spec.hostBridgeAllowList, spec.cpu);
  return { kernel: root.fabric.kernel, view: pci, hostBridgeAllowed };
}

function translated(ground: DmaGround, spec: MachineSpec, iommu: Iommu): DmaSoftware {
  const copies = new Copies(ground);
  const provider = new IommuProvider({
    ...believed(ground, spec),
    host: dmaHost(ground),
    registers: ground.map.iommu.base,
    doorbell: ground.map.doorbell,
    pool: () => copies.take(),
    path: iommu.path,
    ...(typeof spec.iommu === 'object' && spec.iommu.flush && { flush: spec.iommu.flush }),
    reservesWindows: typeof spec.iommu !== 'object' || spec.iommu.reserveWindows !== false,
  });
  return {
    provider,
    iommu,
    faults: provider.faults,
    get bounce() {
      return copies.pool;
    },
  };
}

function untranslated(ground: DmaGround, spec: MachineSpec, iommu: Iommu | null): DmaSoftware {
  const options = believed(ground, spec);
  const { provider: name, forceBounce = false } = spec.dma ?? {};
  const bounce = name === 'bounce' ? bouncePool(ground, spec) : null;
  const plain =
    bounce === null
      ? new DirectProvider(options)
      : new BounceProvider({ ...options, pool: bounce, isForced: forceBounce });
  if (iommu === null) return { provider: plain, iommu, faults: null, bounce };
  const provider = new PassthroughProvider(dmaHost(ground), ground.map.iommu.base, plain);
  return { provider, iommu, faults: null, bounce };
}

/** Memory for the copies that translation needs, which may lie anywhere; taken when the first one is made. */
class Copies {
  pool: BouncePool | null = null;
  readonly #mm: HostMemory;
  readonly #sizeBytes: number;

  constructor({ mm, map }: DmaGround) {
    const share = alignUp(map.dram.sizeBytes / 16, MAX_BOUNCE_BYTES);
    this.#mm = mm;
    this.#sizeBytes = Math.min(DEFAULT_POOL_BYTES, share);
  }

  /** @throws NO_MEMORY */
  take(): BouncePool {
    const [mm, sizeBytes] = [this.#mm, this.#sizeBytes];
    this.pool ??= new BouncePool(mm.memory, mm.allocate(sizeBytes, MAX_BOUNCE_BYTES), sizeBytes);
    return this.pool;
  }
}

/** Takes the pool before anyone else takes memory, and so from the low end. */
function bouncePool({ mm }: DmaGround, { dma = {} }: MachineSpec): BouncePool {
  const sizeBytes = dma.bounceBytes ?? DEFAULT_POOL_BYTES;
  const base = mm.allocate(sizeBytes, MAX_BOUNCE_BYTES);
  invariant(base + sizeBytes <= FOUR_GIB, `a bounce pool at ${hex(base)}`);
  return new BouncePool(mm.memory, base, sizeBytes);
}

/** Puts an IOMMU between the root ports and memory; it is off until its driver turns it on. */
function addIommu(ground: DmaGround, spec: MachineSpec): Iommu | null {
  const { root, interrupts, map, mm } = ground;
  if (spec.iommu === undefined || spec.iommu === false) return null;
  const { flush: _, reserveWindows: _reserves, ...options } = spec.iommu === true ? {} : spec.iommu;
  const onInterrupt = (address: PhysAddr, data: number): void => {
    if (contains(map.doorbell, address)) interrupts.raise(data);
  };
  const iommu = new Iommu(root.fabric.kernel, mm.memory, {
    ...options,
    path: `${root.path}.iommu0`,
    onInterrupt,
  });
  root.addInternal(map.iommu.base, map.iommu.sizeBytes, iommu);
  root.translator = iommu;
  iommu.drainedAt = () => root.drainedAt();
  return iommu;
}

const contains = ({ base, sizeBytes }: Span, address: PhysAddr): boolean =>
  address >= base && address < base + sizeBytes;

/** The host as DMA software uses it. */
const dmaHost = ({ root, mm, interrupts }: DmaGround): DmaHost => ({
  kernel: root.fabric.kernel,
  memory: mm.memory,
  allocate: (sizeBytes, alignBytes) => mm.allocate(sizeBytes, alignBytes),
  free: (address, sizeBytes) => mm.free(address, sizeBytes),
  mmioRead32: (address) => root.mmioRead(address, 4),
  mmioWrite32: (address, value) => root.mmioWrite(address, 4, value),
  interrupt: (path, handler) => interrupts.allocate(path, handler),
});
