/**
 * End-to-end CRC: over everything from the first end-to-end prefix to the last data byte, with the bits that
 * switches change taken as 1. The link's checks are in crc.ts. [PCIE] 2.7.1
 * @module
 */
import { CRC32_SEED, crc32Byte, crc32Wire } from './crc.ts';
import type { TlpDescription } from './tlp-description.ts';
import { encodeTlp } from './tlp-encode.ts';
import { Dw0, Fmt, isEndEndPrefix } from './tlp-header.ts';

/** Bit 0 of the type turns with type 1 to type 0 configuration requests, EP with poisoning on the way. */
const VARIANT = Dw0.EP.mask | 0x0100_0000;

/** ECRC of a TLP given without its digest, as the big-endian DW on the wire. */
export function ecrc(tlp: Uint8Array): number {
  const view = new DataView(tlp.buffer, tlp.byteOffset, tlp.byteLength);
  let start = -1;
  let headerAt = 0;
  for (; headerAt + 4 <= tlp.length; headerAt += 4) {
    const dw = view.getUint32(headerAt);
    if (Dw0.Fmt.get(dw) !== Fmt.Prefix) break;
    if (start < 0 && isEndEndPrefix(dw)) start = headerAt;
  }
  let crc = CRC32_SEED;
  for (let at = start < 0 ? headerAt : start; at < tlp.length; at++) {
    const inDw = at - headerAt;
    const variant = inDw >= 0 && inDw < 4 ? (VARIANT >>> (24 - 8 * inDw)) & 0xff : 0;
    crc = crc32Byte(crc, (tlp[at] ?? 0) | variant);
  }
  return crc32Wire(crc);
}

/** The same TLP with a digest that fits. */
export function withEcrc<T extends TlpDescription>(tlp: T): T {
  const bytes = encodeTlp({ ...tlp, digest: 0 });
  return { ...tlp, digest: ecrc(bytes.subarray(0, bytes.length - 4)) };
}

/** Whether a TLP's digest fits; true without one. */
export function ecrcMatches(tlp: TlpDescription): boolean {
  return tlp.digest === null || withEcrc(tlp).digest === tlp.digest;
}
