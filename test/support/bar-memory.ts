/**
 * A device whose BAR 0 is memory and that copies to and from a local memory of its own: for tests of routes. Builds;
 * asserts nothing. @module
 */
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';

const IDENTITY = { vendorId: 0x1234, deviceId: 0x11e9, classCode: 0x058000 };

/** What stands behind the endpoint. */
export class BarMemory {
  /** Behind BAR 0. */
  readonly shown: SparseMemory;
  /** Where its transfers start and end. */
  readonly local: SparseMemory;

  constructor(path: string, sizeBytes: number) {
    this.shown = new SparseMemory(sizeBytes, `${path} BAR`);
    this.local = new SparseMemory(sizeBytes, `${path} local`);
  }
}

/** @param width 32 puts the BAR into the 32-bit window, 64 into the other */
export function barMemory(name: string, sizeBytes: number, width: 32 | 64 = 64): DeviceSpec {
  return {
    kind: 'memory',
    name,
    build(fabric, path) {
      const model = new BarMemory(path, sizeBytes);
      const endpoint = new Endpoint(fabric, path, {
        identity: IDENTITY,
        bars: [{ index: 0, sizeBytes, width, prefetchable: width === 64, target: model.shown }],
        msi: { vectors: 1 },
      });
      endpoint.model = model;
      endpoint.onDispose = () => {
        model.shown.dispose();
        model.local.dispose();
      };
      return endpoint;
    },
  };
}
