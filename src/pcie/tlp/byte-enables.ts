/**
 * First and last DW byte enables: made from an address range, judged, and turned back into byte runs, lower
 * address and byte count. Pure functions of four-bit masks. [PCIE] 2.2.5, 2.3.1.1
 * @module
 */

/** All four bytes of a DW. */
export const ALL_BYTES = 0xf;

/** DWs that `sizeBytes` from `address` touch; a zero-length request still names one. [PCIE] 2.2.5 */
export const lengthDw = (address: number, sizeBytes: number): number =>
  sizeBytes === 0 ? 1 : ((address & 3) + sizeBytes + 3) >> 2;

/** First DW byte enables of a contiguous range; 0 for a zero-length request. [PCIE] 2.2.5 */
export function firstByteEnables(address: number, sizeBytes: number): number {
  const offset = address & 3;
  const last = Math.min(4, offset + sizeBytes);
  return (ALL_BYTES << offset) & (ALL_BYTES >> (4 - last)) & ALL_BYTES;
}

/** Last DW byte enables of a contiguous range; 0 when the range stays in one DW. [PCIE] 2.2.5 */
export function lastByteEnables(address: number, sizeBytes: number): number {
  if (lengthDw(address, sizeBytes) === 1) return 0;
  const over = ((address & 3) + sizeBytes) & 3;
  return over === 0 ? ALL_BYTES : ALL_BYTES >> (4 - over);
}

/** Enabled bytes reach the top of the DW without a gap. */
const endsFull = (enables: number): boolean =>
  enables === 0xf || enables === 0xe || enables === 0xc || enables === 0x8;
/** Enabled bytes begin at the bottom of the DW without a gap. */
const startsFull = (enables: number): boolean =>
  enables === 0xf || enables === 0x7 || enables === 0x3 || enables === 0x1;

/**
 * Whether a memory request may carry these byte enables: one DW has no last enables; more have both; gaps
 * only in one DW, or in two that are aligned to 8 bytes. [PCIE] 2.2.5
 */
export function byteEnablesValid(
  address: number,
  dwords: number,
  first: number,
  last: number,
): boolean {
  if (dwords === 1) return last === 0;
  if (first === 0 || last === 0) return false;
  const aligned = (address & 7) === 0;
  return (dwords === 2 && aligned) || (endsFull(first) && startsFull(last));
}

/** A run of enabled bytes, relative to the first byte of the first DW. */
export interface ByteRun {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Maximal runs of enabled bytes in address order; none for a zero-length request. */
export function byteRuns(dwords: number, first: number, last: number): ByteRun[] {
  const runs: ByteRun[] = [];
  let start = -1;
  const visit = (offset: number, enabled: boolean): void => {
    if (enabled && start < 0) start = offset;
    if (enabled || start < 0) return;
    runs.push({ offset: start, sizeBytes: offset - start });
    start = -1;
  };
  for (let i = 0; i < 4; i++) visit(i, ((first >> i) & 1) === 1);
  const lastAt = 4 * (dwords - 1);
  if (dwords > 2) visit(4, true);
  if (dwords > 1) for (let i = 0; i < 4; i++) visit(lastAt + i, ((last >> i) & 1) === 1);
  visit(4 * dwords, false);
  return runs;
}

const leadingGap = (enables: number): number =>
  enables === 0 ? 0 : 31 - Math.clz32(enables & -enables);
const trailingGap = (enables: number): number =>
  enables === 0 ? 0 : Math.clz32(enables & ALL_BYTES) - 28;

/** Lower Address of a read's first completion: bits 6:0 of its first enabled byte. [PCIE] 2.3.1.1 */
export const lowerAddress = (address: number, first: number): number =>
  (address & 0x7c) | leadingGap(first);

/**
 * Byte Count of a read's first completion: from the first to the last enabled byte, gaps included; 1 for a
 * zero-length read. [PCIE] 2.3.1.1
 */
export function byteCount(dwords: number, first: number, last: number): number {
  if (dwords === 1 && first === 0) return 1;
  return 4 * dwords - leadingGap(first) - trailingGap(dwords === 1 ? first : last);
}
