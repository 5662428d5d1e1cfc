/**
 * A physical function with virtual ones: each has a BAR of registers that read who they are, memory, and DMA of its
 * own. For tests; builds, and asserts nothing.
 * @module
 */
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { BarSpec } from '#emu/pcie/config/config-header.ts';
import type { SriovOptions } from '#emu/pcie/config/sriov.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import { type BarHandler, Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';

const IDENTITY = { vendorId: 0x1234, deviceId: 0x5f00, classCode: 0x020000 };
export const VF_DEVICE_ID = 0x5f01;
/** What the registers of the physical function read; those of a virtual one read its index. */
export const PHYSICAL = 0xffff;

/** What stands behind one function, physical or virtual. */
export class VfModel implements BarHandler {
  readonly endpoint: Endpoint;
  readonly memory: SparseMemory;
  /** Status of each transfer that has ended. */
  readonly ended: number[] = [];
  resets = 0;
  readonly #index: number;

  constructor(fabric: Fabric, path: string, index: number, more: object, bars: readonly BarSpec[]) {
    this.#index = index;
    this.memory = new SparseMemory(65536, path);
    this.endpoint = new Endpoint(fabric, path, {
      identity: IDENTITY,
      bars: bars.map((bar) => ({ ...bar, target: this })),
      msix: { vectors: 2, bar: bars[0]?.index ?? 0, tableOffset: 0x800, pbaOffset: 0xc00 },
      ...more,
    });
    this.endpoint.model = this;
    this.endpoint.onReset = () => this.resets++;
    this.endpoint.onDispose = () => this.memory.dispose();
  }

  mmioRead(_offset: number, size: number, out: DataView, at: number): void {
    for (let i = 0; i < size; i++) out.setUint8(at + i, (this.#index >>> (8 * i)) & 0xff);
  }
  mmioWrite(): void {}

  dmaDone(status: number): void {
    this.ended.push(status);
  }
}

const BAR: BarSpec = { index: 0, sizeBytes: 4096, width: 64, prefetchable: true };

/** A device of `totalVfs` virtual functions behind one physical. */
export const vfDevice = (
  name: string,
  totalVfs: number,
  options: Partial<SriovOptions> = {},
): DeviceSpec => ({
  kind: 'vfs',
  name,
  build(fabric, path) {
    const vfBars = options.vfBars ?? [BAR];
    const sriov: SriovOptions = {
      totalVfs,
      vfDeviceId: VF_DEVICE_ID,
      vfBars,
      buildVf: (vfPath, index, vfOf) =>
        new VfModel(fabric, vfPath, index, { vfOf }, vfBars).endpoint,
      ...options,
    };
    return new VfModel(fabric, path, PHYSICAL, { sriov }, [BAR]).endpoint;
  },
});

/** @throws TypeError for an endpoint of another device */
export function vfModel({ model, path }: Endpoint): VfModel {
  if (model instanceof VfModel) return model;
  throw new TypeError(`${path} is no function of a vfDevice`);
}
