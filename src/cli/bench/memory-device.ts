/**
 * The device of the fabric benchmark: memory behind a BAR, and memory to move data from and to.
 * @module
 */
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { DeviceSpec } from '#emu/pcie/device-spec.ts';
import { Endpoint } from '#emu/pcie/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { Random } from '#emu/sim/random.ts';

const MIN_BAR = 2 ** 20;

export class MemoryDevice {
  readonly endpoint: Endpoint;
  /** What BAR 0 shows. */
  readonly shown: SparseMemory;
  /** What the device's own transfers use: random bytes, different for every device. */
  readonly own: SparseMemory;

  constructor(fabric: Fabric, path: string, sizeBytes: number) {
    this.shown = new SparseMemory(Math.max(sizeBytes, MIN_BAR), `${path} bar`);
    this.own = new SparseMemory(sizeBytes, `${path} own`);
    const bytes = new Uint8Array(sizeBytes);
    new Random(1, path).fill(bytes);
    this.own.write(0, bytes);
    this.endpoint = new Endpoint(fabric, path, {
      identity: { vendorId: 0x1234, deviceId: 0x0001, classCode: 0x058000 },
      bars: [
        {
          index: 0,
          sizeBytes: this.shown.sizeBytes,
          width: 64,
          prefetchable: true,
          target: this.shown,
        },
      ],
    });
    this.endpoint.model = this;
    this.endpoint.onDispose = () => {
      this.shown.dispose();
      this.own.dispose();
    };
  }
}

/** A memory device with `sizeBytes` to move, a power of two. */
export const memoryDevice = (name: string, sizeBytes: number): DeviceSpec => ({
  kind: 'memory',
  name,
  build: (fabric, path) => new MemoryDevice(fabric, path, sizeBytes).endpoint,
});
