/**
 * The oldest way to map: one contiguous piece of memory at a time, known by its address alone, so that the driver keeps size,
 * direction and attributes and has to say them again. [DMAAPI]
 * @module
 */
import type { EmuError } from '#emu/base/errors.ts';
import { ADDR_LIMIT, type DmaAddr, dmaAddr, hex, type PhysAddr } from '#emu/base/units.ts';
import type { CheckerClass } from '#emu/dma/checker/checker-class.ts';
import { misuse } from '#emu/dma/checker/dma-misuse.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { Owner } from '#emu/dma/dma-sync.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { type Direction, type DmaMapping, isRefusal, type MapRefusal } from '#emu/dma/mapping.ts';
import type { Pending } from '#emu/sim/pending.ts';

/** The address of what could not be mapped: no address at all. */
export const MAPPING_ERROR: DmaAddr = dmaAddr(ADDR_LIMIT);

/** A live mapping. */
interface Single {
  readonly mapping: DmaMapping;
  /** Whether {@link SingleMapper.mappingError} was asked. */
  isChecked: boolean;
}

export class SingleMapper {
  readonly #device: DmaDevice;
  /** By address: without an IOMMU the same memory may be mapped several times. */
  readonly #live = new Map<DmaAddr, Single[]>();
  #refusal: MapRefusal | null = null;

  constructor(device: DmaDevice) {
    this.#device = device;
  }

  /**
   * Maps memory; its address for the device, or {@link MAPPING_ERROR}, which {@link mappingError} tells apart. @throws USAGE
   * for no memory, no direction or attributes that no mapping has
   */
  map(physical: PhysAddr, sizeBytes: number, direction: Direction, attrs = 0): DmaAddr {
    const list = PhyRangeList.of(physical, sizeBytes);
    const mapping = this.#device.map(list, direction, attrs);
    if (isRefusal(mapping)) {
      this.#refusal = mapping;
      return MAPPING_ERROR;
    }
    const address = mapping.ranges.address(0);
    const same = this.#live.get(address) ?? [];
    same.push({ mapping, isChecked: false });
    this.#live.set(address, same);
    return address;
  }

  /** Why the latest map gave no address, or null for an address: to be asked of every one. */
  mappingError(address: DmaAddr): MapRefusal | null {
    if (address === MAPPING_ERROR) return this.#refusal;
    for (const single of this.#live.get(address) ?? []) single.isChecked = true;
    return null;
  }

  /**
   * Ends a mapping, of those of one address the one that fits best. As DmaDevice's.
   * @throws CHECKER for an address not mapped in this way, and for what the mapping is not
   */
  unmap(address: DmaAddr, sizeBytes: number, direction: Direction, attrs = 0): Pending<void> {
    const single = this.#find('unmap', address, sizeBytes, direction);
    const { mapping } = single;
    if (!single.isChecked) {
      throw this.#misuse(
        'unchecked',
        `unmap of ${hex(address)}, never asked for an error`,
        mapping,
      );
    }
    const done = this.#device.unmap(mapping, { sizeBytes, direction, attrs });
    const same = this.#live.get(address)!;
    same.splice(same.indexOf(single), 1);
    if (same.length === 0) this.#live.delete(address);
    return done;
  }

  /** Gives the first bytes of a mapping to the CPU or back to the function. As DmaDevice's. @throws CHECKER as unmap */
  sync(address: DmaAddr, sizeBytes: number, direction: Direction, owner: Owner): void {
    const { mapping } = this.#find(`sync for the ${owner}`, address, sizeBytes, direction);
    this.#device.sync(mapping, owner, { offsetBytes: 0, sizeBytes }, { direction });
  }

  /** Size decides first, then direction. [DMAAPI] */
  #find(what: string, address: DmaAddr, sizeBytes: number, direction: Direction): Single {
    if (address === MAPPING_ERROR) {
      throw this.#misuse('invalid-address', `${what} of what could not be mapped`, null);
    }
    const same = this.#live.get(address) ?? [];
    const ofSize = same.filter(({ mapping }) => mapping.source.sizeBytes === sizeBytes);
    const best = ofSize.find(({ mapping }) => mapping.direction === direction) ?? ofSize[0];
    const found = best ?? same[0];
    if (found) return found;
    const other = this.#device.watch?.at(address) ?? null;
    const [kind, text] = other?.isLive
      ? (['wrong-function', 'which another way to map has mapped'] as const)
      : (['not-mapped', 'which is not mapped'] as const);
    throw this.#misuse(kind, `${what} of ${hex(address)}, ${text}`, other?.subject ?? null);
  }

  #misuse(kind: CheckerClass, what: string, subject: object | null): EmuError {
    return misuse(this.#device, kind, what, subject);
  }
}
