/**
 * The GPU: what a topology names and what a scenario opens.
 * [AMDGPU]
 * @module
 */

import { usage } from '#emu/base/errors.ts';
import { checkKeys, type KeysOf } from '#emu/base/known-keys.ts';
import { ns } from '#emu/base/units.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import type { EngineTiming } from './model/engine.ts';
import { GpuModel } from './model/gpu-model.ts';
import type { VramTiming } from './model/vram-port.ts';

export type { GpuCopy, GpuDevice, GpuFill, GpuWrite } from './driver/gpu-device.ts';
export type { GpuVram } from './driver/gpu-vram.ts';
export type { GpuLocation } from './driver/location-cursor.ts';
export { type GpuOpenOptions, openGpu } from './driver/open-gpu.ts';
export type { GpuFault } from './driver/queue-setup.ts';
export { GpuStatus } from './driver/sdma-driver.ts';
export { GpuModel } from './model/gpu-model.ts';
export type { CompletedPacket, PacketProbe } from './model/sdma-queue.ts';

export interface GpuTiming {
  /** The copy engine: latency of a packet, and what it has under way. Default 20 ns, 16 pieces of 8 KiB. */
  readonly engine?: Partial<EngineTiming>;
  /** VRAM as the copy engine reaches it. Default 250 ns, 800 GB/s. */
  readonly vram?: Partial<VramTiming>;
}

export interface GpuOptions {
  readonly name?: string;
  /** A power of two from 1 MiB to 1 TiB; BAR0 is as large. Default 1 GiB. */
  readonly vramBytes?: number;
  readonly timing?: GpuTiming;
}

const DEFAULT_VRAM_BYTES: number = 2 ** 30;
const ENGINE: EngineTiming = { packetPs: ns(20), pieces: 16, pieceBytes: 8192 };
const VRAM: VramTiming = { latencyPs: ns(250), bytesPerSecond: 800e9 };

const KEYS: KeysOf<GpuOptions> = { name: true, vramBytes: true, timing: true };

/** A GPU for a topology. @throws USAGE */
export function gpu(options: GpuOptions = {}): DeviceSpec {
  checkKeys('gpu', options, KEYS);
  const { name, vramBytes = DEFAULT_VRAM_BYTES, timing = {} } = options;
  const engine = { ...ENGINE, ...timing.engine };
  const vram = { ...VRAM, ...timing.vram };
  checkPower('vramBytes', vramBytes, 2 ** 20, 2 ** 40);
  checkPower('timing.engine.pieces', engine.pieces, 1, 256);
  checkPower('timing.engine.pieceBytes', engine.pieceBytes, 64, 2 ** 20);
  return {
    kind: 'gpu',
    ...(name === undefined ? {} : { name }),
    build: (fabric, path) => new GpuModel(fabric, path, { vramBytes, engine, vram }).endpoint,
  };
}

function checkPower(key: string, value: number, min: number, max: number): void {
  for (let power = min; power <= max; power *= 2) if (power === value) return;
  throw usage(`gpu ${key}: expected a power of two from ${min} to ${max}, got ${value}`);
}
