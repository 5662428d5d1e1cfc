/**
 * What a root complex makes of Request Retry Status: it asks again, unless software wants to see it in a read of the
 * vendor ID. [PCIE] 2.3.2
 * @module
 */
import { CapabilityId, Header, Pcie, RootCtl } from './config-registers.ts';
import type { ConfigSpace } from './config-space.ts';

/** Model: the time until a root complex repeats a configuration request, which no specification says, ps. */
export const CONFIG_RETRY_PS = 10e6;

/** Vendor ID that says that the function is there and not ready. [PCIE] 2.3.2 */
export const RETRY_VENDOR_ID = 0x0001;

/** Value that a read gives at once, or -1 when the request is to be repeated. @param bridge the root port */
export function visibleRetry(
  bridge: ConfigSpace,
  isRead: boolean,
  offset: number,
  size: 1 | 2 | 4,
): number {
  const at = bridge.capability(CapabilityId.Pcie);
  const isVisible = at !== 0 && RootCtl.CrsVisibility.get(bridge.read(at + Pcie.RootCtl, 2)) === 1;
  if (!isVisible || !isRead || offset !== Header.VendorId || size === 1) return -1;
  return size === 2 ? RETRY_VENDOR_ID : 0xffff_0000 + RETRY_VENDOR_ID;
}
