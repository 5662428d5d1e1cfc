/**
 * The cyclic redundancy checks of the data link layer: LCRC of a TLP and the CRC of a DLLP, a table step a
 * byte. The end-to-end one is in ecrc.ts. [PCIE] 3.6.2.1, 3.6.3.1
 * @module
 */

/** 0x04C11DB7 with its bits in the order in which they leave: bit 0 of each byte first. [PCIE] 3.6.3.1 */
const TLP_POLYNOMIAL = 0xedb8_8320;
/** 0x100B in the same order. [PCIE] 3.6.2.1 */
const DLLP_POLYNOMIAL = 0xd008;

function crcTable(polynomial: number): Int32Array {
  const table = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? polynomial : 0);
    table[byte] = value;
  }
  return table;
}

const TLP_TABLE = crcTable(TLP_POLYNOMIAL);
const DLLP_TABLE = crcTable(DLLP_POLYNOMIAL);

/** Seed of a running 32-bit check. */
export const CRC32_SEED = -1;

/** One byte more of a running 32-bit check. */
export const crc32Byte = (crc: number, byte: number): number =>
  (crc >>> 8) ^ (TLP_TABLE[(crc ^ byte) & 0xff] ?? 0);

/** A finished 32-bit check as the big-endian DW that stands on the wire: complemented, bits of each byte mirrored. */
export function crc32Wire(crc: number): number {
  const done = ~crc;
  return (
    (((done & 0xff) << 24) | ((done & 0xff00) << 8) | ((done >>> 8) & 0xff00) | (done >>> 24)) >>> 0
  );
}

/**
 * LCRC of a TLP with its sequence number, as the big-endian DW that follows the TLP.
 * @param sequence 0 to 4095
 * @param tlp prefixes, header, payload and digest
 */
export function lcrc(sequence: number, tlp: Uint8Array): number {
  let crc = crc32Byte(CRC32_SEED, (sequence >>> 8) & 0xf);
  crc = crc32Byte(crc, sequence & 0xff);
  for (const byte of tlp) crc = crc32Byte(crc, byte);
  return crc32Wire(crc);
}

/** CRC of a DLLP's four bytes, as the big-endian 16-bit word that follows them. [PCIE] 3.6.2.1 */
export function dllpCrc(dllp: Uint8Array): number {
  let crc = 0xffff;
  for (const byte of dllp) crc = (crc >>> 8) ^ (DLLP_TABLE[(crc ^ byte) & 0xff] ?? 0);
  const done = ~crc & 0xffff;
  return ((done & 0xff) << 8) | (done >>> 8);
}
