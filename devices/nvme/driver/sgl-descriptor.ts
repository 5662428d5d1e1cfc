/**
 * One SGL descriptor, as it stands in a command or in a segment. [NVME] 4.1.2.1
 * @module
 */
import { SglDescriptor, SglId } from '#devices/nvme/spec.ts';
import type { DmaAddr } from '#emu/base/units.ts';

/** Writes a descriptor with an address, reserved bytes as zeros. [NVME] 4.1.2.1 */
export function putDescriptor(
  view: DataView,
  at: number,
  address: DmaAddr,
  length: number,
  type: number,
): void {
  SglDescriptor.address.set(view, at, address);
  SglDescriptor.length.set(view, at, length);
  view.setUint32(at + SglDescriptor.SIZE - 4, 0);
  SglDescriptor.id.set(view, at, SglId.TYPE.of(type));
}
