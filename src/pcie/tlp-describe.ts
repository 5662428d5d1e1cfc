/**
 * A TLP of the hot path as a description, for traces and error logs: what its bytes on the wire would say.
 * [PCIE] 2.2
 * @module
 */
import { bdfFromId } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import { firstByteEnables, lastByteEnables, lengthDw } from './byte-enables.ts';
import { type Tlp, TlpKind } from './tlp.ts';
import { PLAIN, type TlpDescription } from './tlp-description.ts';

/** The payload as whole DWs, with zeros around what is enabled. */
function paddedData(tlp: Tlp, offset: number): Uint8Array {
  const data = new Uint8Array(4 * lengthDw(offset, tlp.payloadBytes));
  data.set(arena.u8.subarray(tlp.payloadAt, tlp.payloadAt + tlp.payloadBytes), offset & 3);
  return data;
}

/** A copy, good after the record has been given back. */
export function describeTlp(tlp: Tlp): TlpDescription {
  const { address, sizeBytes, kind } = tlp;
  const common = {
    ...PLAIN,
    relaxedOrdering: tlp.relaxedOrdering,
    requester: bdfFromId(tlp.requester),
    tag: tlp.tag,
  };
  const firstBe = firstByteEnables(address, sizeBytes);
  const memory = {
    ...common,
    address: address - (address & 3),
    firstBe,
    lastBe: lastByteEnables(address, sizeBytes),
    addressType: 0,
    hint: null,
  };
  const register = { target: bdfFromId(tlp.targetId), register: address & 0xffc, firstBe };
  switch (kind) {
    case TlpKind.MRd:
      return { ...memory, type: 'MRd', lengthDw: lengthDw(address, sizeBytes) };
    case TlpKind.MWr:
      return { ...memory, type: 'MWr', data: paddedData(tlp, address) };
    case TlpKind.CfgRd0:
      return { ...common, ...register, type: 'CfgRd0' };
    case TlpKind.CfgRd1:
      return { ...common, ...register, type: 'CfgRd1' };
    case TlpKind.CfgWr0:
      return { ...common, ...register, type: 'CfgWr0', data: paddedData(tlp, address) };
    case TlpKind.CfgWr1:
      return { ...common, ...register, type: 'CfgWr1', data: paddedData(tlp, address) };
    default:
      return describeCompletion(tlp);
  }
}

function describeCompletion(tlp: Tlp): TlpDescription {
  const completion = {
    ...PLAIN,
    relaxedOrdering: tlp.relaxedOrdering,
    requester: bdfFromId(tlp.targetId),
    completer: bdfFromId(tlp.completer),
    tag: tlp.tag,
    status: tlp.status,
    byteCountModified: false,
    // A zero-length read is answered with one byte that nobody looks at. [PCIE] 2.2.5
    byteCount: tlp.byteCount || 1,
    lowerAddress: tlp.lowerAddress,
  };
  if (tlp.kind === TlpKind.Cpl) return { ...completion, type: 'Cpl' };
  return { ...completion, type: 'CplD', data: paddedData(tlp, tlp.lowerAddress) };
}
