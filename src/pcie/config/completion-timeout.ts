/**
 * Completion timeout of a function by the code in its Device Control 2. Watching requests is the requester's.
 * [PCIE] 2.8, 7.5.3.16
 * @module
 */
import { DevCtl2 } from './config-registers.ts';

/** The upper end of each range, ps. */
const TIMEOUT_PS: Readonly<Record<number, number>> = {
  1: 100e6,
  2: 10e9,
  5: 55e9,
  6: 210e9,
  9: 900e9,
  10: 3.5e12,
  13: 13e12,
  14: 64e12,
};
/** The range of code 0, and of reserved ones. */
export const DEFAULT_TIMEOUT_PS = 50e9;

/** Time until a request without its completion has failed, ps; 0 when the timeout is disabled. */
export const completionTimeoutPs = (devCtl2: number): number =>
  DevCtl2.TimeoutDisable.get(devCtl2)
    ? 0
    : (TIMEOUT_PS[DevCtl2.TimeoutValue.get(devCtl2)] ?? DEFAULT_TIMEOUT_PS);
