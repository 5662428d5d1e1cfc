/**
 * The properties of one controller: the shared table with what this one is capable of. [NVME] 3.1.3
 * @module
 */

import { CapCss, CapHi, CapLo, CRMS_CRWMS, Crto, Property } from '#devices/nvme/spec.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';

/** Largest CC.MPS: pages of 64 KiB. */
export const MPS_MAX = 4;
/** Units of 500 ms in which the controller is certainly ready. */
const READY_TIMEOUT = 10;

/** Rows for a register file of a controller whose queues hold up to `maxQueueEntries`. */
export function propertyTable(maxQueueEntries: number): RegisterSpec[] {
  const capLo = CapLo.MQES.of(maxQueueEntries - 1) | CapLo.CQR.of(1) | CapLo.TO.of(READY_TIMEOUT);
  const capHi =
    CapHi.CSS.of(CapCss.Nvm | CapCss.IoCommandSets) |
    CapHi.MPSMAX.of(MPS_MAX) |
    CapHi.CRMS.of(CRMS_CRWMS);
  const { CapLo: lo, CapHi: hi, Crto: crto, ...rest } = Property;
  return [
    { ...lo, reset: capLo >>> 0 },
    { ...hi, reset: capHi >>> 0 },
    { ...crto, reset: Crto.CRWMT.of(READY_TIMEOUT) },
    ...Object.values(rest),
  ];
}
