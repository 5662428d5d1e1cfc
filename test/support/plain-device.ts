/**
 * A device with the BARs one asks for and nothing behind them, for tests of topologies. Builds; asserts nothing.
 * @module
 */
import type { BarSpec } from '#emu/pcie/config/config-header.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import { type BarHandler, Endpoint, type EndpointSpec } from '#emu/pcie/endpoint/endpoint.ts';

const IDENTITY = { vendorId: 0x1234, deviceId: 0x11e8, classCode: 0x00ff00 };

/** Registers that read their own offset and remember what was written last. */
export class EchoRegisters implements BarHandler {
  readonly writes: [offset: number, size: number, value: number][] = [];
  mmioRead(offset: number, size: number, out: DataView, at: number): void {
    for (let i = 0; i < size; i++) out.setUint8(at + i, (offset + i) & 0xff);
  }
  mmioWrite(offset: number, size: number, data: DataView, at: number): void {
    this.writes.push([offset, size, size === 4 ? data.getUint32(at, true) : data.getUint8(at)]);
  }
}

/** `bars` default to one of 16 KiB; `spec` replaces parts of the endpoint's. */
export function plainDevice(
  name?: string,
  bars: readonly BarSpec[] = [{ index: 0, sizeBytes: 16384, width: 64 }],
  spec: Partial<EndpointSpec> = {},
): DeviceSpec {
  return {
    kind: 'plain',
    ...(name === undefined ? {} : { name }),
    build(fabric, path) {
      const registers = new EchoRegisters();
      const targets = bars.map((bar) => ({ ...bar, target: registers }));
      const endpoint = new Endpoint(fabric, path, { identity: IDENTITY, bars: targets, ...spec });
      endpoint.model = registers;
      return endpoint;
    },
  };
}
