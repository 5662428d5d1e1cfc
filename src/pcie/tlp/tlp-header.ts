/**
 * Layout of TLP headers in non-flit mode: the fields of each big-endian DW, and every format and type with
 * the header it has. No encoding loop, no rules. [PCIE] 2.2
 * @module
 */
import { Bits } from '#emu/base/layout.ts';

/** First DW of every TLP. [PCIE] 2.2.1 */
export const Dw0 = {
  Fmt: new Bits(31, 29),
  Type: new Bits(28, 24),
  /** Format and type together, the first byte on the wire. */
  FmtType: new Bits(31, 24),
  T9: new Bits(23),
  TC: new Bits(22, 20),
  T8: new Bits(19),
  IDO: new Bits(18),
  LN: new Bits(17),
  TH: new Bits(16),
  TD: new Bits(15),
  EP: new Bits(14),
  RO: new Bits(13),
  NS: new Bits(12),
  AT: new Bits(11, 10),
  /** In DW; 0 is 1024. */
  Length: new Bits(9, 0),
} as const;

/** Second DW of memory, I/O, configuration and atomic requests. [PCIE] 2.2.7 */
export const RequestDw1 = {
  Requester: new Bits(31, 16),
  Tag: new Bits(15, 8),
  LastBE: new Bits(7, 4),
  FirstBE: new Bits(3, 0),
} as const;

/** Second DW of messages. [PCIE] 2.2.8 */
export const MessageDw1 = {
  Requester: new Bits(31, 16),
  Tag: new Bits(15, 8),
  Code: new Bits(7, 0),
} as const;

/** Second DW of completions; `ByteCount` 0 is 4096. [PCIE] 2.2.9 */
export const CompletionDw1 = {
  Completer: new Bits(31, 16),
  Status: new Bits(15, 13),
  BCM: new Bits(12),
  ByteCount: new Bits(11, 0),
} as const;

/** Third DW of completions. [PCIE] 2.2.9 */
export const CompletionDw2 = {
  Requester: new Bits(31, 16),
  Tag: new Bits(15, 8),
  LowerAddress: new Bits(6, 0),
} as const;

/** Third DW of configuration requests; `Register` counts DWs, extended number included. [PCIE] 2.2.7.1 */
export const ConfigDw2 = { Target: new Bits(31, 16), Register: new Bits(11, 2) } as const;

/** Last header DW of memory, I/O and atomic requests. [PCIE] 2.2.4.1, 2.2.7.1 */
export const AddressDw = { Flags: new Bits(1, 0), PH: new Bits(1, 0) } as const;

/** Third DW of a message routed by ID. [PCIE] 2.2.8 */
export const MessageDw2 = { Target: new Bits(31, 16) } as const;

/** Header formats. [PCIE] 2.2.1 */
export const Fmt = {
  ThreeDw: 0,
  FourDw: 1,
  ThreeDwData: 2,
  FourDwData: 3,
  Prefix: 4,
} as const;

/** Whether a prefix goes all the way, instead of to the next port only. [PCIE] 2.2.10 */
export const isEndEndPrefix = (prefix: number): boolean => (Dw0.Type.get(prefix) & 0x10) !== 0;

/** How the DWs after the first are laid out, and which rules hold. */
export type TlpLayout = 'memory' | 'atomic' | 'io' | 'config' | 'message' | 'completion';

/** What a format and type stand for. */
export interface TlpForm {
  readonly type: TlpType;
  readonly layout: TlpLayout;
  /** Type field; of a message with routing 0. */
  readonly code: number;
  readonly hasData: boolean;
}

const form = <T extends string, L extends TlpLayout>(
  type: T,
  layout: L,
  code: number,
  hasData: boolean,
) => ({ type, layout, code, hasData }) as const;

/** Every type, under the name that the specification prints. [PCIE] 2.2.1 */
export const TLP_FORMS = {
  MRd: form('MRd', 'memory', 0x00, false),
  MRdLk: form('MRdLk', 'memory', 0x01, false),
  MWr: form('MWr', 'memory', 0x00, true),
  DMWr: form('DMWr', 'memory', 0x1b, true),
  IORd: form('IORd', 'io', 0x02, false),
  IOWr: form('IOWr', 'io', 0x02, true),
  CfgRd0: form('CfgRd0', 'config', 0x04, false),
  CfgWr0: form('CfgWr0', 'config', 0x04, true),
  CfgRd1: form('CfgRd1', 'config', 0x05, false),
  CfgWr1: form('CfgWr1', 'config', 0x05, true),
  Msg: form('Msg', 'message', 0x10, false),
  MsgD: form('MsgD', 'message', 0x10, true),
  Cpl: form('Cpl', 'completion', 0x0a, false),
  CplD: form('CplD', 'completion', 0x0a, true),
  CplLk: form('CplLk', 'completion', 0x0b, false),
  CplDLk: form('CplDLk', 'completion', 0x0b, true),
  FetchAdd: form('FetchAdd', 'atomic', 0x0c, true),
  Swap: form('Swap', 'atomic', 0x0d, true),
  CAS: form('CAS', 'atomic', 0x0e, true),
} as const;
export type TlpType = keyof typeof TLP_FORMS;

/** Type field of a message: 10 and the routing. [PCIE] 2.2.8 */
export const MessageType = { Prefix: new Bits(4, 3), Routing: new Bits(2, 0) } as const;

const takesFormat = (layout: TlpLayout, fourDw: boolean): boolean => {
  if (layout === 'memory' || layout === 'atomic') return true;
  return fourDw === (layout === 'message');
};

/** Forms by format and type together; null where the combination is reserved. */
const BY_FMT_TYPE: readonly (TlpForm | null)[] = Array.from({ length: 128 }, (_, fmtType) => {
  const fmt = fmtType >>> 5;
  const code = fmtType & 0x1f;
  const hasData = fmt >= Fmt.ThreeDwData;
  const found = Object.values(TLP_FORMS).find(
    ({ layout, code: own, hasData: data }) =>
      data === hasData && (layout === 'message' ? own === (code & 0x18) : own === code),
  );
  return found && takesFormat(found.layout, (fmt & 1) === 1) ? found : null;
});

/** What the first byte of a header says, or null when it is reserved or a prefix. [PCIE] 2.2.1 */
export const formOf = (fmtType: number): TlpForm | null => BY_FMT_TYPE[fmtType] ?? null;

/** Format field for a header of three or four DWs. */
export const fmtOf = (fourDw: boolean, hasData: boolean): number =>
  (fourDw ? Fmt.FourDw : Fmt.ThreeDw) + (hasData ? Fmt.ThreeDwData : 0);
