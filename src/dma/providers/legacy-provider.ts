/**
 * A provider as they were before range lists: its domains map scatterlists and nothing else, with the addresses that
 * the direct or the IOMMU provider gives; drivers reach it through the wrapper. [DMAAPI], [PHYR]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { Bdf, DmaAddr, PhysAddr } from '#emu/base/units.ts';
import { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaTraits } from '#emu/dma/dma-traits.ts';
import { DmaFlag, type DmaRangeList, dmaCursor } from '#emu/dma/lists/dma-range-list.ts';
import type { ScatterList } from '#emu/dma/lists/scatter-list.ts';
import { SegmentCursor } from '#emu/dma/lists/segment-cursor.ts';
import { type Direction, isRefusal, type MapRefusal } from '#emu/dma/mapping.ts';
import type { PciView } from '#emu/dma/p2p/pci-view.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { Process } from '#emu/sim/process.ts';
import type { DmaDomain, DmaLimits, DmaProvider, HostBridgePolicy } from './dma-provider.ts';
import { type HasPages, ListWrapper } from './list-wrapper.ts';
import type { ScatterlistDomain } from './scatterlist-domain.ts';

export interface LegacyProviderOptions {
  readonly kernel: Kernel;
  readonly view: PciView;
  /** Whose addresses it gives. */
  readonly addresses: DmaProvider;
  /** Default: never allowed. */
  readonly hostBridgeAllowed?: HostBridgePolicy;
  /** Which peer memory a scatterlist can name; default none. */
  readonly hasPages?: HasPages;
}

export class LegacyProvider implements DmaProvider {
  readonly name = 'legacy';
  readonly #options: LegacyProviderOptions;

  constructor(options: LegacyProviderOptions) {
    this.#options = options;
  }

  start(): Process<void> {
    return this.#options.addresses.start();
  }

  device(client: Bdf, limits?: Partial<DmaLimits>, traits?: Partial<DmaTraits>): DmaDevice {
    const { kernel, view, addresses, hostBridgeAllowed = () => false, hasPages } = this.#options;
    const pending = (): Pending<void> => kernel.pending<void>('dma unmap after a refusal');
    const wrapper = new ListWrapper({
      below: new LegacyDomain(addresses.device(client, limits, traits).domain, pending),
      segments: new SegmentCursor(view, client, hostBridgeAllowed),
      pending,
      ...(hasPages && { hasPages }),
    });
    return new DmaDevice(kernel, client, wrapper, traits);
  }
}

/** Scatterlists for one function. */
export class LegacyDomain implements ScatterlistDomain {
  readonly #addresses: DmaDomain;
  readonly #pending: () => Pending<void>;

  /** @param pending for unmaps that nobody waits for */
  constructor(addresses: DmaDomain, pending: () => Pending<void>) {
    this.#addresses = addresses;
    this.#pending = pending;
  }

  /** Refuses with EIO what the entries have no room to say. @throws CHECKER for a scatterlist that is mapped */
  mapScatterlist(scatter: ScatterList, direction: Direction, attrs = 0): MapRefusal | null {
    if (scatter.mapping !== null) throw misuse('map of a scatterlist that is mapped');
    const mapping = this.#addresses.map(scatter.cpuList(), direction, attrs);
    if (isRefusal(mapping)) return mapping;
    mapping.attrs = attrs;
    if (!hasRoom(scatter, mapping.ranges)) {
      this.#addresses.unmap(mapping, this.#pending());
      const reason = `${scatter.count} entries ${scatter.layout.name} have no room for the device's side`;
      return { refused: 'EIO', reason };
    }
    fill(scatter, mapping.ranges);
    scatter.mapping = mapping;
    return null;
  }

  /** @throws CHECKER for a scatterlist that is not mapped, or in another direction */
  unmapScatterlist(scatter: ScatterList, direction: Direction, done: Pending<void>): void {
    const { mapping } = scatter;
    if (mapping?.domain !== this.#addresses)
      throw misuse('unmap of a scatterlist that is not mapped');
    if (mapping.direction !== direction)
      throw misuse('unmap of a scatterlist in another direction');
    scatter.mapping = null;
    scatter.mappedCount = 0;
    this.#addresses.unmap(mapping, done);
  }

  get coherentLimit(): number | undefined {
    return this.#addresses.coherentLimit;
  }

  cutOff(): void {
    this.#addresses.cutOff?.();
  }

  detach(done: Pending<void>): void {
    if (this.#addresses.detach) this.#addresses.detach(done);
    else done.complete();
  }

  mapDoorbell(address: PhysAddr): DmaAddr {
    return this.#addresses.mapDoorbell(address);
  }
}

/** Whether the entries can say it: those of 24 bytes know neither joined ranges nor bus addresses. */
function hasRoom(scatter: ScatterList, ranges: DmaRangeList): boolean {
  if (ranges.count > scatter.count) return false;
  if (scatter.layout.hasDmaLength) return true;
  const entries = scatter.cursor();
  const cursor = dmaCursor();
  for (ranges.open(cursor); cursor.next(); ) {
    entries.advance();
    if (cursor.length !== entries.length || (cursor.flags & DmaFlag.BusAddress) !== 0) return false;
  }
  return true;
}

function fill(scatter: ScatterList, ranges: DmaRangeList): void {
  const entries = scatter.cursor();
  const cursor = dmaCursor();
  for (ranges.open(cursor); cursor.next(); ) {
    entries.advance();
    entries.setDma(cursor.address, cursor.length, (cursor.flags & DmaFlag.BusAddress) !== 0);
  }
  scatter.mappedCount = ranges.count;
}

const misuse = (what: string): EmuError => new EmuError('CHECKER', what);
