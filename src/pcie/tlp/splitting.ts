/**
 * How requests and completions are cut: pure functions of address, size and limits.
 * [PCIE] 2.2.7, 2.3.1.1
 * @module
 */
import { PAGE_SIZE, pageOffset } from '#emu/base/units.ts';

/**
 * Bytes of the next request at `address`: never across 4 KiB, and at most `limitBytes` (MPS or MRRS) counted in the
 * whole DWs that they lie in, as Length does. [PCIE] 2.2.2
 */
export function requestBytes(address: number, remaining: number, limitBytes: number): number {
  const toPage = PAGE_SIZE - pageOffset(address);
  const most = Math.min(limitBytes - (address & 3), toPage);
  return Math.min(remaining, most);
}

/**
 * Bytes of the next completion at `address`: at most `maxPayloadBytes`, ending on a multiple of
 * `rcbBytes` (the read completion boundary, a power of two) unless it is the last.
 */
export function completionBytes(
  address: number,
  remaining: number,
  maxPayloadBytes: number,
  rcbBytes: number,
): number {
  const full = maxPayloadBytes - (address & (rcbBytes - 1));
  return Math.min(remaining, full);
}
