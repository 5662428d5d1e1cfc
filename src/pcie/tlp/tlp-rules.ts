/**
 * What makes a received TLP malformed, as a table of rules over its raw header. Requests that are well formed
 * but that nobody supports are the completer's business. [PCIE] 2.2.2, 2.2.5, 2.2.7, 2.2.8, 2.3
 * @module
 */
import { ADDR_LIMIT, hi32, PAGE_SIZE, pageOffset } from '#emu/base/units.ts';
import { byteEnablesValid } from './byte-enables.ts';
import {
  Dw0,
  MessageDw1,
  MessageType,
  RequestDw1,
  type TlpForm,
  type TlpLayout,
} from './tlp-header.ts';
import { messageRule } from './tlp-messages.ts';

/** Ways in which a TLP can be malformed. */
export const Malformed = {
  /** Fewer bytes than the shortest header, or not whole DWs. */
  Truncated: 'truncated',
  ReservedFormat: 'reserved-format',
  ReservedType: 'reserved-type',
  /** A local prefix after an end-to-end one. [PCIE] 2.2.10 */
  PrefixOrder: 'prefix-order',
  /** More end-to-end prefixes than the receiver supports. [PCIE] 2.2.10.2 */
  PrefixCount: 'prefix-count',
  /** Header, data by the length field and digest do not add up to the TLP. */
  LengthMismatch: 'length-mismatch',
  /** More data than Max_Payload_Size. */
  PayloadSize: 'payload-size',
  PageCrossing: 'page-crossing',
  ByteEnables: 'byte-enables',
  /** An I/O or configuration request of more than one DW. */
  RequestLength: 'request-length',
  TrafficClass: 'traffic-class',
  Attributes: 'attributes',
  AddressType: 'address-type',
  AtomicLength: 'atomic-length',
  AtomicAlignment: 'atomic-alignment',
  /** Model: four header DWs for an address below 4 GiB, which the specification leaves undefined. */
  WideAddress: 'wide-address',
  /** Model: an address of 2^52 or more, which no component here decodes. */
  AddressRange: 'address-range',
  MessageRouting: 'message-routing',
} as const;
export type Malformed = (typeof Malformed)[keyof typeof Malformed];

/** A header as it arrived. */
export interface RawHeader {
  readonly form: TlpForm;
  /** Three or four DWs. */
  readonly words: readonly number[];
  /** 1 to 1024, whatever the type. */
  readonly lengthDw: number;
  /** Of memory, atomic and I/O requests; else 0. May exceed 2^52. */
  readonly address: number;
}

interface Rule {
  readonly reason: Malformed;
  readonly broken: (header: RawHeader) => boolean;
}

const word = ({ words }: RawHeader, index: number): number => words[index] ?? 0;

const wideAddress: Rule = {
  reason: Malformed.WideAddress,
  broken: (header) => header.words.length === 4 && hi32(header.address) === 0,
};
const addressRange: Rule = {
  reason: Malformed.AddressRange,
  broken: ({ address }) => address >= ADDR_LIMIT,
};
const pageCrossing: Rule = {
  reason: Malformed.PageCrossing,
  broken: ({ address, lengthDw }) => pageOffset(address) + 4 * lengthDw > PAGE_SIZE,
};
/** Non-posted requests with a processing hint carry a steering tag there instead. [PCIE] 2.2.7.1 */
const byteEnables: Rule = {
  reason: Malformed.ByteEnables,
  broken: (header) => {
    const first = RequestDw1.FirstBE.get(word(header, 1));
    const last = RequestDw1.LastBE.get(word(header, 1));
    const hinted = header.form.type !== 'MWr' && Dw0.TH.get(word(header, 0)) === 1;
    return !hinted && !byteEnablesValid(header.address, header.lengthDw, first, last);
  },
};
const oneDw: Rule = {
  reason: Malformed.RequestLength,
  broken: ({ lengthDw }) => lengthDw !== 1,
};
const noLastBe: Rule = {
  reason: Malformed.ByteEnables,
  broken: (header) => RequestDw1.LastBE.get(word(header, 1)) !== 0,
};
const trafficClass0: Rule = {
  reason: Malformed.TrafficClass,
  broken: (header) => Dw0.TC.get(word(header, 0)) !== 0,
};
const noAttributes: Rule = {
  reason: Malformed.Attributes,
  broken: (header) => (Dw0.RO.get(word(header, 0)) | Dw0.NS.get(word(header, 0))) !== 0,
};
const untranslated: Rule = {
  reason: Malformed.AddressType,
  broken: (header) => Dw0.AT.get(word(header, 0)) !== 0,
};

/** DWs that an atomic may carry, by its type. [PCIE] 2.2.7 */
const ATOMIC_DW: Readonly<Record<string, readonly number[]>> = {
  FetchAdd: [1, 2],
  Swap: [1, 2],
  CAS: [2, 4, 8],
};
const atomicLength: Rule = {
  reason: Malformed.AtomicLength,
  broken: ({ form, lengthDw }) => ATOMIC_DW[form.type]?.includes(lengthDw) !== true,
};
/** Bytes of one operand of an atomic; a CAS carries two. [PCIE] 2.2.7 */
export const operandBytes = (type: string, lengthDw: number): number =>
  type === 'CAS' ? 2 * lengthDw : 4 * lengthDw;
const atomicAlignment: Rule = {
  reason: Malformed.AtomicAlignment,
  broken: ({ form, lengthDw, address }) => address % operandBytes(form.type, lengthDw) !== 0,
};

const messageOf = (header: RawHeader) => messageRule(MessageDw1.Code.get(word(header, 1)));
const messageTc: Rule = {
  reason: Malformed.TrafficClass,
  broken: (header) => messageOf(header)?.tc0 === true && Dw0.TC.get(word(header, 0)) !== 0,
};
const messageRouting: Rule = {
  reason: Malformed.MessageRouting,
  broken: (header) => {
    const rule = messageOf(header);
    const routing = MessageType.Routing.get(Dw0.Type.get(word(header, 0)));
    return rule !== null && rule.routing !== routing;
  },
};

/** Bit 18 (IDO) is reserved there, and receivers do not check reserved bits. [PCIE] 2.2.7 */
const SINGLE_DW: readonly Rule[] = [oneDw, noLastBe, trafficClass0, noAttributes, untranslated];
const RULES: Readonly<Record<TlpLayout, readonly Rule[]>> = {
  memory: [addressRange, wideAddress, pageCrossing, byteEnables],
  atomic: [addressRange, wideAddress, atomicLength, atomicAlignment],
  io: SINGLE_DW,
  config: SINGLE_DW,
  message: [messageTc, messageRouting],
  completion: [],
};

/** The first rule that a header breaks, or null. */
export const brokenRule = (header: RawHeader): Malformed | null =>
  RULES[header.form.layout].find((rule) => rule.broken(header))?.reason ?? null;
