/**
 * A machine with an IOMMU whose software does without it: the unit is told to let every address pass, and another
 * provider makes the mappings. [RVIOMMU] 5.5
 * @module
 */
import type { Bdf, PhysAddr } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaTraits } from '#emu/dma/dma-traits.ts';
import { IommuPort } from '#emu/dma/iommu-driver/iommu-port.ts';
import { DdtMode, Ddtp, Reg } from '#emu/iommu/spec.ts';
import type { Process } from '#emu/sim/process.ts';
import type { DmaHost, DmaLimits, DmaProvider } from './dma-provider.ts';

export class PassthroughProvider implements DmaProvider {
  readonly name: string;
  readonly #port: IommuPort;
  readonly #mappings: DmaProvider;

  /** @param registers physical address of the unit's register page */
  constructor(host: DmaHost, registers: PhysAddr, mappings: DmaProvider) {
    this.name = mappings.name;
    this.#port = new IommuPort(host, registers);
    this.#mappings = mappings;
  }

  *start(): Process<void> {
    this.#port.writeAddress(Reg.ddtp, Ddtp.iommuMode.of(DdtMode.Bare));
    const inUse = Ddtp.busy.mask | Ddtp.iommuMode.mask;
    yield* this.#port.poll(Reg.ddtp, inUse, Ddtp.iommuMode.of(DdtMode.Bare));
    yield* this.#mappings.start();
  }

  device(client: Bdf, limits?: Partial<DmaLimits>, traits?: Partial<DmaTraits>): DmaDevice {
    return this.#mappings.device(client, limits, traits);
  }
}
