/**
 * What a topology names where a device stands; made by the factories of `devices/`.
 * @module
 */

import type { Fabric } from '#emu/pcie/fabric.ts';
import type { Endpoint } from './endpoint.ts';

export interface DeviceSpec {
  /** Kind of device in lower case, such as `nvme`; with a number it is the default name. */
  readonly kind: string;
  /** Name in paths and reports, unique in its machine. */
  readonly name?: string;
  /** Builds the model behind a fresh endpoint; `path` is its component path. */
  build(fabric: Fabric, path: string): Endpoint;
}
