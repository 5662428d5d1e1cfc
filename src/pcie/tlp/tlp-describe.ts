/**
 * A TLP of the hot path as a description, and as the bytes that are on the wire: for traces and error logs.
 * [PCIE] 2.2, 2.7
 * @module
 */
import { bdfFromId } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import { firstByteEnables, lastByteEnables, lengthDw } from './byte-enables.ts';
import { withEcrc } from './ecrc.ts';
import { pasidPrefix } from './pasid-prefix.ts';
import { addressType, isRelaxed, type Tlp, TlpFlag, TlpKind, trafficClass } from './tlp.ts';
import { decodeTlp, isMalformed, type Malformation } from './tlp-decode.ts';
import { PLAIN, type TlpAttributes, type TlpDescription } from './tlp-description.ts';
import { encodeTlp, type LoggedTlp, loggedTlp } from './tlp-encode.ts';
import { MessageDw2 } from './tlp-header.ts';

/** A description that fits a record, whatever bits of it were damaged on the way. A copy. */
export function describeTlp(tlp: Tlp): TlpDescription {
  const plain = describeKind(tlp);
  if ((tlp.flags & TlpFlag.TD) === 0) return plain;
  const sealed = withEcrc(plain);
  const isBad = (tlp.flags & TlpFlag.BadDigest) !== 0;
  return isBad ? { ...sealed, digest: ((sealed.digest ?? 0) ^ 1) >>> 0 } : sealed;
}

/**
 * The bytes of the transaction layer. Those of a TLP with {@link TlpFlag.Malformed} break a rule: its own, where
 * its fields do already, else by a type that nobody knows.
 */
export function wireTlp(tlp: Tlp): Uint8Array {
  const bytes = encodeTlp(describeTlp(tlp));
  const isSpoilt = (tlp.flags & TlpFlag.Malformed) !== 0 && !isMalformed(decodeTlp(bytes));
  if (isSpoilt) bytes[4 * prefixesOf(tlp).length] = RESERVED_TYPE;
  return bytes;
}
/** Format 3 DW without data, reserved type. [PCIE] 2.2.1 */
const RESERVED_TYPE = 0x1f;

/** Which rule a TLP with {@link TlpFlag.Malformed} breaks at its receiver; null without that flag. */
export function malformationOf(tlp: Tlp): Malformation | null {
  if ((tlp.flags & TlpFlag.Malformed) === 0) return null;
  const found = decodeTlp(wireTlp(tlp));
  return isMalformed(found) ? found : null;
}

/** Header and prefixes as an error log keeps them. [PCIE] 6.2.4.2 */
export const loggedRecord = (tlp: Tlp): LoggedTlp =>
  malformationOf(tlp) ?? loggedTlp(describeTlp(tlp));

function describeKind(tlp: Tlp): TlpDescription {
  if (tlp.kind >= TlpKind.Cpl) return describeCompletion(tlp);
  if (tlp.kind >= TlpKind.Msg) return describeMessage(tlp);
  return tlp.kind <= TlpKind.CAS ? describeMemory(tlp) : describeSingle(tlp);
}

function attributes(tlp: Tlp): TlpAttributes {
  const { flags } = tlp;
  return {
    ...PLAIN,
    tc: trafficClass(tlp),
    relaxedOrdering: isRelaxed(tlp),
    idOrdering: (flags & TlpFlag.IDO) !== 0,
    noSnoop: (flags & TlpFlag.NS) !== 0,
    poisoned: (flags & TlpFlag.EP) !== 0,
    prefixes: prefixesOf(tlp),
  };
}

function prefixesOf({ flags, pasid }: Tlp): readonly number[] {
  if ((flags & TlpFlag.Pasid) === 0) return PLAIN.prefixes;
  const execute = (flags & TlpFlag.Execute) !== 0;
  return [pasidPrefix({ pasid, execute, privileged: (flags & TlpFlag.Privileged) !== 0 })];
}

const request = (tlp: Tlp) => ({
  ...attributes(tlp),
  requester: bdfFromId(tlp.requester),
  tag: tlp.tag,
});

/** The payload as whole DWs, with zeros around what is enabled; a zero-length one is a DW too. */
function paddedData(tlp: Tlp, offset: number): Uint8Array {
  const data = new Uint8Array(4 * lengthDw(offset, tlp.payloadBytes));
  data.set(arena.u8.subarray(tlp.payloadAt, tlp.payloadAt + tlp.payloadBytes), offset & 3);
  return data;
}

function describeMemory(tlp: Tlp): TlpDescription {
  const { address, sizeBytes, kind } = tlp;
  const memory = {
    ...request(tlp),
    address: address - (address & 3),
    firstBe: firstByteEnables(address, sizeBytes),
    lastBe: lastByteEnables(address, sizeBytes),
    addressType: addressType(tlp),
    hint: null,
  };
  if (kind === TlpKind.MRd) {
    return { ...memory, type: 'MRd', lengthDw: lengthDw(address, sizeBytes) };
  }
  const data = paddedData(tlp, address);
  if (kind === TlpKind.MWr) return { ...memory, type: 'MWr', data };
  // Byte enables of an atomic are reserved. [PCIE] 2.2.7
  const atomic = { ...memory, firstBe: 0, lastBe: 0, data };
  if (kind === TlpKind.FetchAdd) return { ...atomic, type: 'FetchAdd' };
  return { ...atomic, type: kind === TlpKind.Swap ? 'Swap' : 'CAS' };
}

/** Requests of one DW: I/O and configuration. */
function describeSingle(tlp: Tlp): TlpDescription {
  const { address, kind } = tlp;
  const common = { ...request(tlp), firstBe: firstByteEnables(address, tlp.sizeBytes) };
  const io = { ...common, address: address - (address & 3) };
  const config = { ...common, target: bdfFromId(tlp.targetId), register: address & 0xffc };
  switch (kind) {
    case TlpKind.IORd:
      return { ...io, type: 'IORd' };
    case TlpKind.IOWr:
      return { ...io, type: 'IOWr', data: paddedData(tlp, address) };
    case TlpKind.CfgRd0:
      return { ...config, type: 'CfgRd0' };
    case TlpKind.CfgRd1:
      return { ...config, type: 'CfgRd1' };
    default: {
      const type = kind === TlpKind.CfgWr0 ? 'CfgWr0' : 'CfgWr1';
      return { ...config, type, data: paddedData(tlp, address) };
    }
  }
}

function describeMessage(tlp: Tlp): TlpDescription {
  const { routing, messageCode: code, thirdWord, fourthWord, targetId } = tlp;
  const third = targetId === 0 ? thirdWord : MessageDw2.Target.put(thirdWord, targetId);
  const message = { ...request(tlp), routing, code, words: [third, fourthWord] as const };
  if (tlp.kind === TlpKind.Msg) return { ...message, type: 'Msg' };
  return { ...message, type: 'MsgD', data: paddedData(tlp, 0) };
}

function describeCompletion(tlp: Tlp): TlpDescription {
  const completion = {
    ...attributes(tlp),
    requester: bdfFromId(tlp.targetId),
    completer: bdfFromId(tlp.completer),
    tag: tlp.tag,
    status: tlp.status,
    byteCountModified: false,
    byteCount: tlp.byteCount,
    lowerAddress: tlp.lowerAddress,
  };
  if (tlp.kind === TlpKind.Cpl) return { ...completion, type: 'Cpl' };
  return { ...completion, type: 'CplD', data: paddedData(tlp, tlp.lowerAddress) };
}
