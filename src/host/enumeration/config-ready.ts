/**
 * Waits for a function that answers configuration requests with Request Retry Status, as after a reset, and lets
 * software see that it does. [PCIE] 2.3.2, 6.6.1
 * @module
 */
import { CapabilityId, Header, Pcie, RootCap, RootCtl } from '#emu/pcie/config/config-registers.ts';
import { RETRY_VENDOR_ID } from '#emu/pcie/config/config-retry.ts';
import { delay, type Process } from '#emu/sim/process.ts';
import type { ConfigIo } from './config-io.ts';
import type { PciNode } from './pci-node.ts';

/** A function that is not ready after so long is broken. [PCIE] 6.6.1 */
const LONGEST_PS = 1e12;
const POLL_PS = 1e9;

/** Makes a root port show retries in the vendor ID, where it can: whoever waits need not hold a request open then. */
export function* showRetries(io: ConfigIo, { capabilities }: PciNode): Process<void> {
  const at = capabilities.get(CapabilityId.Pcie);
  if (at === undefined) return;
  if (RootCap.CrsVisibility.get(yield* io.read(at + Pcie.RootCap, 2)) === 0) return;
  yield* io.update16(at + Pcie.RootCtl, [RootCtl.CrsVisibility, 1]);
}

/**
 * Whether the function answers within the time that it may take. A virtual function has no vendor ID, so its absence
 * does not show.
 */
export function* waitReady(io: ConfigIo, isVirtual: boolean): Process<boolean> {
  for (let waitedPs = 0; waitedPs <= LONGEST_PS; waitedPs += POLL_PS) {
    const vendor = (yield* io.read(Header.VendorId, 4)) & 0xffff;
    const isAbsent = vendor === 0xffff && !isVirtual;
    if (vendor !== RETRY_VENDOR_ID && !isAbsent) return true;
    yield* delay(POLL_PS);
  }
  return false;
}
