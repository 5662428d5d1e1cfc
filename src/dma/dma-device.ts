/**
 * A function's DMA interface: checks what its driver asks, and keeps account of its mappings. Addresses are
 * the domain's business. [DMAAPI]
 * @module
 */
import { EmuError, usage } from '#emu/base/errors.ts';
import { type Bdf, type DmaAddr, formatBdf, type PhysAddr } from '#emu/base/units.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type { DmaDomain } from './dma-provider.ts';
import { Direction, type DmaMapping, isRefusal, type MapRefusal } from './mapping.ts';
import { MappingRecord, MappingState } from './mapping-record.ts';
import { PhyRangeList } from './phy-range-list.ts';

export class DmaDevice {
  readonly bdf: Bdf;
  readonly domain: DmaDomain;
  readonly #kernel: Kernel;
  #live = 0;

  constructor(kernel: Kernel, bdf: Bdf, domain: DmaDomain) {
    this.#kernel = kernel;
    this.bdf = bdf;
    this.domain = domain;
  }

  /** Mappings not yet unmapped. */
  get liveMappings(): number {
    return this.#live;
  }

  /**
   * Makes `list` accessible to the function until {@link unmap}. Takes no simulated time. The list is not
   * changed, and all of it is mapped or nothing. @throws USAGE for anything but a list and a direction
   */
  map(list: PhyRangeList, direction: Direction): DmaMapping | MapRefusal {
    PhyRangeList.check(list, 'map');
    if (!(direction >= Direction.ToDevice && direction <= Direction.Bidirectional)) {
      throw usage(`map: expected a Direction, got ${direction}`);
    }
    if (list.count === 0) return { refused: 'EINVAL', reason: 'the list is empty' };
    const result = this.domain.map(list, direction);
    if (!isRefusal(result)) this.#live++;
    return result;
  }

  /**
   * Ends a mapping. Completes when the function can no longer reach the memory: until then it
   * must not be used for anything else. @throws CHECKER for a mapping that is not this function's or not live
   */
  unmap(mapping: DmaMapping): Pending<void> {
    if (!(mapping instanceof MappingRecord) || mapping.domain !== this.domain) {
      throw this.#misuse('unmap of a mapping that this function did not make');
    }
    if (mapping.state !== MappingState.Live)
      throw this.#misuse('unmap of a mapping not live any more');
    mapping.state = MappingState.Unmapping;
    this.#live--;
    const done = this.#kernel.pending<void>('dma unmap');
    this.domain.unmap(mapping, done);
    return done;
  }

  /** Address at which the function reaches an interrupt doorbell; the same for every call. */
  mapDoorbell(address: PhysAddr): DmaAddr {
    return this.domain.mapDoorbell(address);
  }

  #misuse(what: string): EmuError {
    return new EmuError('CHECKER', `${formatBdf(this.bdf)}: ${what}`, { bdf: this.bdf });
  }
}
