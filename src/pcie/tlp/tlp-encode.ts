/**
 * TLPs as the bytes of the transaction layer, big-endian DWs; for traces, error logs and tests, never on the
 * hot path. Framing, sequence number and LCRC are the link's. [PCIE] 2.2
 * @module
 */
import { hi32, lo32 } from '#emu/base/units.ts';
import type { TlpDescription } from './tlp-description.ts';
import {
  AddressDw,
  CompletionDw1,
  CompletionDw2,
  ConfigDw2,
  Dw0,
  fmtOf,
  MessageDw1,
  MessageType,
  RequestDw1,
  TLP_FORMS,
} from './tlp-header.ts';

/** Header and prefixes of a TLP as an error log keeps them. [PCIE] 7.8.4.10 */
export interface LoggedTlp {
  /** Three or four DWs, as many as arrived of a truncated one. */
  readonly header: readonly number[];
  /** Every prefix, local ones included. */
  readonly prefixes: readonly number[];
}

/** Payload, empty for types without. */
const payloadOf = (tlp: TlpDescription): Uint8Array => ('data' in tlp ? tlp.data : NO_BYTES);
const NO_BYTES = new Uint8Array(0);

/** Length field: of the data, of what a read asks for, 1 for I/O and configuration, else reserved. */
function lengthOf(tlp: TlpDescription): number {
  if ('data' in tlp) return tlp.data.length >> 2;
  if (tlp.type === 'MRd' || tlp.type === 'MRdLk') return tlp.lengthDw;
  const { layout } = TLP_FORMS[tlp.type];
  return layout === 'io' || layout === 'config' ? 1 : 0;
}

function firstWord(tlp: TlpDescription, fourDw: boolean): number {
  const { code, hasData } = TLP_FORMS[tlp.type];
  const hint = 'hint' in tlp ? tlp.hint : null;
  return (
    (Dw0.Fmt.of(fmtOf(fourDw, hasData)) |
      Dw0.Type.of('routing' in tlp ? code | MessageType.Routing.of(tlp.routing) : code) |
      Dw0.T9.of(tlp.tag >>> 9) |
      Dw0.TC.of(tlp.tc) |
      Dw0.T8.of(tlp.tag >>> 8) |
      Dw0.IDO.of(+tlp.idOrdering) |
      Dw0.LN.of(+tlp.lightweight) |
      Dw0.TH.of(+(hint !== null)) |
      Dw0.TD.of(+(tlp.digest !== null)) |
      Dw0.EP.of(+tlp.poisoned) |
      Dw0.RO.of(+tlp.relaxedOrdering) |
      Dw0.NS.of(+tlp.noSnoop) |
      Dw0.AT.of('addressType' in tlp ? tlp.addressType : 0) |
      Dw0.Length.of(lengthOf(tlp))) >>>
    0
  );
}

const requestWord = (requester: number, tag: number, lastBe: number, firstBe: number): number =>
  (RequestDw1.Requester.of(requester) |
    RequestDw1.Tag.of(tag) |
    RequestDw1.LastBE.of(lastBe) |
    RequestDw1.FirstBE.of(firstBe)) >>>
  0;

/** Everything after the first DW. */
function otherWords(tlp: TlpDescription): number[] {
  const { requester, tag } = tlp;
  switch (tlp.type) {
    case 'IORd':
    case 'IOWr':
      return [requestWord(requester, tag, 0, tlp.firstBe), lo32(tlp.address)];
    case 'CfgRd0':
    case 'CfgWr0':
    case 'CfgRd1':
    case 'CfgWr1': {
      const target = ConfigDw2.Target.of(tlp.target) | ConfigDw2.Register.of(tlp.register >> 2);
      return [requestWord(requester, tag, 0, tlp.firstBe), target >>> 0];
    }
    case 'Msg':
    case 'MsgD': {
      const own = MessageDw1.Requester.of(requester) | MessageDw1.Tag.of(tag);
      return [(own | MessageDw1.Code.of(tlp.code)) >>> 0, ...tlp.words];
    }
    case 'Cpl':
    case 'CplD':
    case 'CplLk':
    case 'CplDLk': {
      const count = CompletionDw1.ByteCount.of(tlp.byteCount);
      const flags =
        CompletionDw1.Status.of(tlp.status) | CompletionDw1.BCM.of(+tlp.byteCountModified);
      const target = CompletionDw2.Requester.of(requester) | CompletionDw2.Tag.of(tag);
      return [
        (CompletionDw1.Completer.of(tlp.completer) | flags | count) >>> 0,
        (target | CompletionDw2.LowerAddress.of(tlp.lowerAddress)) >>> 0,
      ];
    }
    default: {
      const low = AddressDw.Flags.put(lo32(tlp.address), tlp.hint ?? 0);
      const request = requestWord(requester, tag, tlp.lastBe, tlp.firstBe);
      const high = hi32(tlp.address);
      return high === 0 ? [request, low] : [request, high, low];
    }
  }
}

/** The header's three or four DWs, without prefixes. */
export function headerWords(tlp: TlpDescription): number[] {
  const others = otherWords(tlp);
  return [firstWord(tlp, others.length === 3), ...others];
}

/** What an error log keeps of a TLP. */
export const loggedTlp = (tlp: TlpDescription): LoggedTlp => ({
  header: headerWords(tlp),
  prefixes: tlp.prefixes,
});

/** Prefixes, header, data and digest as they leave. The data must be whole DWs. */
export function encodeTlp(tlp: TlpDescription): Uint8Array<ArrayBuffer> {
  const head = [...tlp.prefixes, ...headerWords(tlp)];
  const data = payloadOf(tlp);
  const digestAt = 4 * head.length + data.length;
  const bytes = new Uint8Array(digestAt + (tlp.digest === null ? 0 : 4));
  const view = new DataView(bytes.buffer);
  for (const [i, dw] of head.entries()) view.setUint32(4 * i, dw);
  bytes.set(data, 4 * head.length);
  if (tlp.digest !== null) view.setUint32(digestAt, tlp.digest);
  return bytes;
}
