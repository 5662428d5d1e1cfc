/**
 * The teaching device, the template for one's own: what a topology names and what a scenario opens.
 * [EDU]
 * @module
 */

import { usage } from '#emu/base/errors.ts';
import { checkKeys, type KeysOf } from '#emu/base/known-keys.ts';
import { ns } from '#emu/base/units.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import { EduModel } from './model/edu-model.ts';
import { DMA_MASK_BITS, MAX_DMA_MASK_BITS } from './spec.ts';

export { type EduDevice, type EduOpenOptions, openEdu } from './driver/edu-device.ts';

export interface EduOptions {
  readonly name?: string;
  /** Width of the addresses that the DMA engine drives, 1 to 52. Default 28, as documented. */
  readonly dmaMaskBits?: number;
  /** Simulated time of one multiplication of the factorial. Default 10 ns. */
  readonly multiplyPs?: number;
}

const KEYS: KeysOf<EduOptions> = { name: true, dmaMaskBits: true, multiplyPs: true };

/** An `edu` device for a topology. @throws USAGE */
export function edu(options: EduOptions = {}): DeviceSpec {
  checkKeys('edu', options, KEYS);
  const { name, dmaMaskBits = DMA_MASK_BITS, multiplyPs = ns(10) } = options;
  if (!Number.isInteger(dmaMaskBits) || dmaMaskBits < 1 || dmaMaskBits > MAX_DMA_MASK_BITS) {
    const expected = `an integer from 1 to ${MAX_DMA_MASK_BITS}`;
    throw usage(`edu dmaMaskBits: expected ${expected}, got ${dmaMaskBits}`);
  }
  return {
    kind: 'edu',
    ...(name === undefined ? {} : { name }),
    build: (fabric, path) => new EduModel(fabric, path, { dmaMaskBits, multiplyPs }).endpoint,
  };
}
