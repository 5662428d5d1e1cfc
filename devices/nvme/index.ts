/**
 * The NVMe drive: what a topology names, and what host software opens. [NVME] 2.0
 * @module
 */
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import { buildDrive, checkOptions, type NvmeOptions } from './model/drive-spec.ts';

export type { DescriptorCounts } from './driver/dispatcher.ts';
export type { IoMemory, IoRequest, NvmeDrive, TransferRequest } from './driver/drive.ts';
export type { ControllerIdentity } from './driver/identity.ts';
export type { LatencyLog } from './driver/latency-log.ts';
export { type OpenOptions, openNvme } from './driver/open.ts';
export type { NvmeResult } from './driver/result.ts';
export type { TransferResult } from './driver/transfer.ts';
export type { NvmeOptions } from './model/drive-spec.ts';
export { type NvmeTiming, TIMING, type TimingPreset } from './model/media.ts';
export { SglSupport } from './spec-identify.ts';

/** A drive for a port of the topology. @throws USAGE */
export function nvme(options: NvmeOptions): DeviceSpec {
  const checked = checkOptions(options);
  return {
    kind: 'nvme',
    ...(options.name === undefined ? {} : { name: options.name }),
    build: (fabric, path) => buildDrive(options, checked, fabric, path),
  };
}
