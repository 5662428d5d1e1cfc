/**
 * How a transfer is cut into pieces: at multiples of the piece size of one side's address, so that
 * all pieces but the outer two make whole TLPs there.
 * @module
 */

/**
 * Bytes of the next piece of a transfer of `sizeBytes` at `address`, of which `done` are issued from its
 * beginning, or from its end when `backwards`. `limit` is a power of two up to 2^31.
 */
export function pieceBytes(
  address: number,
  sizeBytes: number,
  done: number,
  backwards: boolean,
  limit: number,
): number {
  const left = sizeBytes - done;
  const mask = limit - 1;
  const toBoundary = backwards
    ? ((address + left - 1) & mask) + 1
    : limit - ((address + done) & mask);
  return Math.min(left, toBoundary);
}
