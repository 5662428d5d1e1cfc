/**
 * Costs of flit mode: the fixed 256-byte flit and the size that a TLP has in it. [PCIE] 2.2.1.2, 4.2.3
 * @module
 */
import { ALL_BYTES } from '#emu/pcie/tlp/byte-enables.ts';
import { pasidOf } from '#emu/pcie/tlp/pasid-prefix.ts';
import type { TlpDescription } from '#emu/pcie/tlp/tlp-description.ts';
import { headerWords } from '#emu/pcie/tlp/tlp-encode.ts';

/** One flit on the wire. [PCIE] 4.2.3 */
export const FLIT_BYTES = 256;
/** Its part for TLPs. */
export const FLIT_TLP_BYTES = 236;
/** Its parts for acknowledgement and flow control, CRC and error correction. */
export const FLIT_DLP_BYTES = 6;
export const FLIT_CRC_BYTES = 8;
export const FLIT_FEC_BYTES = 6;

/** Raw bytes per ns on one lane at 64 GT/s. */
const LANE_BYTES_PER_NS = 8;

/** Time of one flit, ps. */
export const flitPs = (width: number): number => (1000 * FLIT_BYTES) / (LANE_BYTES_PER_NS * width);

/** Flits that `bytes` of TLPs fill, the last one with NOPs. */
export const flitsFor = (bytes: number): number => Math.ceil(bytes / FLIT_TLP_BYTES);

const DW = 4;
const usual = (lengthDw: number): number => (lengthDw === 1 ? 0 : ALL_BYTES);

/** DWs of orthogonal header content of kind A, 0 or 1, by type. [PCIE] 2.2.1.2 */
function contentA(tlp: TlpDescription): number {
  const hasPasid = pasidOf(tlp) !== null;
  switch (tlp.type) {
    case 'IORd':
    case 'IOWr':
    case 'CfgRd0':
    case 'CfgRd1':
    case 'CfgWr0':
    case 'CfgWr1':
      return 1;
    case 'Cpl':
    case 'CplLk':
    case 'CplD':
    case 'CplDLk':
      return tlp.status !== 0 || (tlp.lowerAddress & 3) !== 0 ? 1 : 0;
    case 'Msg':
    case 'MsgD':
      return hasPasid ? 1 : 0;
    case 'FetchAdd':
    case 'Swap':
    case 'CAS':
      return hasPasid ? 1 : 0;
    default: {
      const lengthDw = 'data' in tlp ? tlp.data.length / DW : tlp.lengthDw;
      const plain = tlp.firstBe === ALL_BYTES && tlp.lastBe === usual(lengthDw);
      return hasPasid || !plain ? 1 : 0;
    }
  }
}

/** DWs of orthogonal header content of kind B: processing hints. [PCIE] 2.2.1.2 */
const contentB = (tlp: TlpDescription): number => ('hint' in tlp && tlp.hint !== null ? 1 : 0);

/**
 * Bytes that a TLP takes in flit mode: header base, orthogonal content where its fields need some, data, and a
 * trailer for the digest. The PASID is content there, not a prefix; other prefixes are not carried.
 */
export function flitTlpBytes(tlp: TlpDescription): number {
  const headerDw = headerWords(tlp).length + contentA(tlp) + contentB(tlp);
  const dataBytes = 'data' in tlp ? tlp.data.length : 0;
  return DW * headerDw + dataBytes + (tlp.digest === null ? 0 : DW);
}
