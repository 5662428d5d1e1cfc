/**
 * The part of host software that makes memory accessible to devices: translation hardware when the machine has
 * it, and the provider that drives it or does without. [DMAAPI], [RVIOMMU] 1.0
 * @module
 */
import type { PhysAddr } from '#emu/base/units.ts';
import { DirectProvider } from '#emu/dma/direct-provider.ts';
import type { DmaHost, DmaProvider } from '#emu/dma/dma-provider.ts';
import type { FaultLog } from '#emu/dma/fault-log.ts';
import { hostBridgePolicy } from '#emu/dma/host-bridge-list.ts';
import { IommuProvider } from '#emu/dma/iommu-provider.ts';
import { Iommu } from '#emu/iommu/iommu.ts';
import type { RootComplex } from '#emu/pcie/root-complex.ts';
import type { Interrupts } from './interrupts.ts';
import type { MachineSpec, PhysicalMap, Span } from './machine-spec.ts';
import type { HostMemory } from './mm.ts';
import type { PciTree } from './pci-tree.ts';

/** What DMA software stands on. */
export interface DmaGround {
  readonly root: RootComplex;
  readonly mm: HostMemory;
  readonly interrupts: Interrupts;
  readonly pci: PciTree;
  readonly map: PhysicalMap;
}

/** What a machine has for DMA. */
export interface DmaSoftware {
  readonly provider: DmaProvider;
  /** Translation hardware and the log of its faults, or null. */
  readonly iommu: Iommu | null;
  readonly faults: FaultLog | null;
}

/** Builds translation hardware if the machine has it, and its driver; `provider.start()` turns it on. */
export function dmaSoftware(ground: DmaGround, spec: MachineSpec): DmaSoftware {
  const { root, pci, map } = ground;
  // What software believes; whether the root complex forwards is another matter.
  const hostBridgeAllowed = hostBridgePolicy(pci, spec.hostBridgeAllowList, spec.cpu);
  const iommu = addIommu(ground, spec);
  if (iommu === null) {
    const { kernel } = root.fabric;
    const provider = new DirectProvider({ kernel, view: pci, hostBridgeAllowed });
    return { provider, iommu, faults: null };
  }
  const provider = new IommuProvider({
    host: dmaHost(ground),
    view: pci,
    registers: map.iommu.base,
    doorbell: map.doorbell,
    hostBridgeAllowed,
    path: iommu.path,
  });
  return { provider, iommu, faults: provider.faults };
}

/** Puts an IOMMU between the root ports and memory; it is off until its driver turns it on. */
function addIommu(ground: DmaGround, spec: MachineSpec): Iommu | null {
  const { root, interrupts, map, mm } = ground;
  if (spec.iommu === undefined || spec.iommu === false) return null;
  const options = spec.iommu === true ? {} : spec.iommu;
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
