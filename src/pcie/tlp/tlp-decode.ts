/**
 * Bytes of the transaction layer taken apart into TLPs, or into the name of what is wrong with them; never on
 * the hot path. [PCIE] 2.2, 2.3
 * @module
 */
import { bdfFromId, u64 } from '#emu/base/units.ts';
import type { TlpAttributes, TlpDescription } from './tlp-description.ts';
import type { LoggedTlp } from './tlp-encode.ts';
import {
  AddressDw,
  CompletionDw1,
  CompletionDw2,
  ConfigDw2,
  Dw0,
  Fmt,
  formOf,
  isEndEndPrefix,
  MessageDw1,
  MessageType,
  RequestDw1,
} from './tlp-header.ts';
import { brokenRule, Malformed, type RawHeader } from './tlp-rules.ts';

/** Why bytes are no TLP, with what an error log wants of them. */
export interface Malformation extends LoggedTlp {
  readonly malformed: Malformed;
}

/** What a receiver takes. */
export interface ReceiveLimits {
  /** Max_Payload_Size in force, bytes. Default 4096. */
  readonly maxPayloadBytes?: number;
  /** End-to-end prefixes supported, 0 to 4. Default 4. */
  readonly maxEndEndPrefixes?: number;
}

export const isMalformed = (result: TlpDescription | Malformation): result is Malformation =>
  'malformed' in result;

/** Takes TLPs apart; one object a TLP, so that the steps share what they found. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #limits: ReceiveLimits;
  readonly #prefixes: number[] = [];
  #words: number[] = [];

  constructor(bytes: Uint8Array, limits: ReceiveLimits) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#limits = limits;
  }

  read(): TlpDescription | Malformation {
    const fault = this.#takePrefixes();
    if (fault !== null) return this.#malformed(fault);
    const at = 4 * this.#prefixes.length;
    const left = this.#bytes.length - at;
    const first = left < 4 ? 0 : this.#view.getUint32(at);
    const headerDw = Dw0.Fmt.get(first) & 1 ? 4 : 3;
    for (let i = 0; i < headerDw && 4 * i + 4 <= left; i++) {
      this.#words.push(this.#view.getUint32(at + 4 * i));
    }
    if (left % 4 !== 0 || left < 4 * headerDw) return this.#malformed(Malformed.Truncated);
    if (Dw0.Fmt.get(first) > Fmt.Prefix) return this.#malformed(Malformed.ReservedFormat);
    const form = formOf(Dw0.FmtType.get(first));
    if (form === null) return this.#malformed(Malformed.ReservedType);
    const header = this.#header({ form, words: this.#words });
    const reason = this.#sizeFault(header, left) ?? brokenRule(header);
    if (reason !== null) return this.#malformed(reason);
    const dataAt = at + 4 * headerDw;
    const dataBytes = form.hasData ? 4 * header.lengthDw : 0;
    return describe(header, this.#attributes(), this.#bytes.slice(dataAt, dataAt + dataBytes));
  }

  #takePrefixes(): Malformed | null {
    let endEnd = 0;
    for (let at = 0; at + 4 <= this.#bytes.length; at += 4) {
      const dw = this.#view.getUint32(at);
      if (Dw0.Fmt.get(dw) !== Fmt.Prefix) break;
      this.#prefixes.push(dw);
      if (isEndEndPrefix(dw)) endEnd++;
      else if (endEnd > 0) return Malformed.PrefixOrder;
    }
    return endEnd > (this.#limits.maxEndEndPrefixes ?? 4) ? Malformed.PrefixCount : null;
  }

  #header({ form, words }: Pick<RawHeader, 'form' | 'words'>): RawHeader {
    const hasAddress = form.layout === 'memory' || form.layout === 'atomic' || form.layout === 'io';
    const low = AddressDw.Flags.put(words[words.length - 1] ?? 0, 0);
    const high = words.length === 4 ? (words[2] ?? 0) : 0;
    const lengthDw = Dw0.Length.get(words[0] ?? 0) || 1024;
    return { form, words, lengthDw, address: hasAddress ? u64(low, high) : 0 };
  }

  #sizeFault({ form, words, lengthDw }: RawHeader, left: number): Malformed | null {
    const dataBytes = form.hasData ? 4 * lengthDw : 0;
    const digestBytes = 4 * Dw0.TD.get(words[0] ?? 0);
    if (left !== 4 * words.length + dataBytes + digestBytes) return Malformed.LengthMismatch;
    return dataBytes > (this.#limits.maxPayloadBytes ?? 4096) ? Malformed.PayloadSize : null;
  }

  #attributes(): TlpAttributes {
    const dw = this.#words[0] ?? 0;
    return {
      tc: Dw0.TC.get(dw),
      relaxedOrdering: Dw0.RO.get(dw) === 1,
      idOrdering: Dw0.IDO.get(dw) === 1,
      noSnoop: Dw0.NS.get(dw) === 1,
      lightweight: Dw0.LN.get(dw) === 1,
      poisoned: Dw0.EP.get(dw) === 1,
      prefixes: this.#prefixes,
      digest: Dw0.TD.get(dw) === 1 ? this.#view.getUint32(this.#bytes.length - 4) : null,
    };
  }

  #malformed(malformed: Malformed): Malformation {
    return { malformed, header: this.#words, prefixes: this.#prefixes };
  }
}

function describe(header: RawHeader, plain: TlpAttributes, data: Uint8Array): TlpDescription {
  const { words, address } = header;
  const { type } = header.form;
  const [first = 0, second = 0, third = 0, fourth = 0] = words;
  const upperTag = (Dw0.T9.get(first) << 9) | (Dw0.T8.get(first) << 8);
  const common = {
    ...plain,
    requester: bdfFromId(RequestDw1.Requester.get(second)),
    tag: upperTag | RequestDw1.Tag.get(second),
  };
  const firstBe = RequestDw1.FirstBE.get(second);
  switch (type) {
    case 'IORd':
      return { ...common, type, address, firstBe };
    case 'IOWr':
      return { ...common, type, address, firstBe, data };
    case 'CfgRd0':
    case 'CfgRd1':
      return { ...common, type, firstBe, ...configTarget(third) };
    case 'CfgWr0':
    case 'CfgWr1':
      return { ...common, type, firstBe, ...configTarget(third), data };
    case 'Msg':
      return { ...common, type, ...messageFields(words), words: [third, fourth] };
    case 'MsgD':
      return { ...common, type, ...messageFields(words), words: [third, fourth], data };
    case 'Cpl':
    case 'CplLk':
      return { ...plain, type, ...completionFields(words, upperTag) };
    case 'CplD':
    case 'CplDLk':
      return { ...plain, type, ...completionFields(words, upperTag), data };
    case 'MRd':
    case 'MRdLk':
      return { ...common, type, ...addressed(header), lengthDw: header.lengthDw };
    default:
      return { ...common, type, ...addressed(header), data };
  }
}

const configTarget = (dw: number) => ({
  target: bdfFromId(ConfigDw2.Target.get(dw)),
  register: 4 * ConfigDw2.Register.get(dw),
});

const messageFields = ([first = 0, second = 0]: readonly number[]) => ({
  routing: MessageType.Routing.get(Dw0.Type.get(first)),
  code: MessageDw1.Code.get(second),
});

const completionFields = ([, second = 0, third = 0]: readonly number[], upperTag: number) => ({
  requester: bdfFromId(CompletionDw2.Requester.get(third)),
  tag: upperTag | CompletionDw2.Tag.get(third),
  completer: bdfFromId(CompletionDw1.Completer.get(second)),
  status: CompletionDw1.Status.get(second),
  byteCountModified: CompletionDw1.BCM.get(second) === 1,
  byteCount: CompletionDw1.ByteCount.get(second) || 4096,
  lowerAddress: CompletionDw2.LowerAddress.get(third),
});

const addressed = ({ words, address }: RawHeader) => {
  const [first = 0, second = 0] = words;
  return {
    address,
    firstBe: RequestDw1.FirstBE.get(second),
    lastBe: RequestDw1.LastBE.get(second),
    addressType: Dw0.AT.get(first),
    hint: Dw0.TH.get(first) === 1 ? AddressDw.PH.get(words[words.length - 1] ?? 0) : null,
  };
};

/**
 * Takes the bytes of one TLP apart, without framing and LCRC. Never throws: bytes that are no TLP, or break
 * a rule that receivers check, give a {@link Malformation}. The ECRC is not verified here.
 */
export const decodeTlp = (
  bytes: Uint8Array,
  limits: ReceiveLimits = {},
): TlpDescription | Malformation => new Reader(bytes, limits).read();
