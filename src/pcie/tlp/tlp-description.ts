/**
 * A TLP as a readonly record in sane units, for traces, error logs and tests. The records on the hot path are
 * in tlp.ts, the bytes in tlp-codec.ts. [PCIE] 2.2
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';

/** Whether an address is already translated. [PCIE] 10.2.1 */
export const AddressType = { Untranslated: 0, TranslationRequest: 1, Translated: 2 } as const;

/** What every TLP carries beside its type. */
export interface TlpAttributes {
  /** Traffic class, 0 to 7. */
  readonly tc: number;
  readonly relaxedOrdering: boolean;
  readonly idOrdering: boolean;
  readonly noSnoop: boolean;
  /** Lightweight notification. */
  readonly lightweight: boolean;
  /** EP: the data is known to be bad. */
  readonly poisoned: boolean;
  /** Prefix DWs in wire order. */
  readonly prefixes: readonly number[];
  /** ECRC as the big-endian DW on the wire, or null without TLP digest. */
  readonly digest: number | null;
}

/** Attributes of a TLP that wants nothing special. */
export const PLAIN: TlpAttributes = {
  tc: 0,
  relaxedOrdering: false,
  idOrdering: false,
  noSnoop: false,
  lightweight: false,
  poisoned: false,
  prefixes: [],
  digest: null,
};

interface Request extends TlpAttributes {
  readonly requester: Bdf;
  /** 0 to 1023; T9 and T8 are its upper bits. */
  readonly tag: number;
}

interface AddressedRequest extends Request {
  /** Multiple of 4, below 2^52; the header has four DWs from 4 GiB on. */
  readonly address: number;
  readonly firstBe: number;
  readonly lastBe: number;
  /** {@link AddressType}, or the reserved 3. */
  readonly addressType: number;
  /**
   * Processing hint 0 to 3, or null without TLP hints. With a hint the steering tag stands in the byte enables
   * of a non-posted request and in the tag of a posted one. [PCIE] 2.2.7.1
   */
  readonly hint: number | null;
}

export interface MemoryRead extends AddressedRequest {
  readonly type: 'MRd' | 'MRdLk';
  /** 1 to 1024. */
  readonly lengthDw: number;
}

export interface MemoryWrite extends AddressedRequest {
  readonly type: 'MWr' | 'DMWr';
  /** Whole DWs, 4 to 4096 bytes, lowest address first. */
  readonly data: Uint8Array;
}

/** Byte enables of an atomic are reserved; receivers do not look at them. */
export interface AtomicRequest extends AddressedRequest {
  readonly type: 'FetchAdd' | 'Swap' | 'CAS';
  /** One operand, or compare then swap value of a CAS. [PCIE] 2.2.7 */
  readonly data: Uint8Array;
}

interface IoRequest extends Request {
  /** Multiple of 4, below 2^32. */
  readonly address: number;
  readonly firstBe: number;
}

export interface IoRead extends IoRequest {
  readonly type: 'IORd';
}

export interface IoWrite extends IoRequest {
  readonly type: 'IOWr';
  /** 4 bytes. */
  readonly data: Uint8Array;
}

interface ConfigRequest extends Request {
  readonly target: Bdf;
  /** Byte offset of the register's DW, 0 to 4092. */
  readonly register: number;
  readonly firstBe: number;
}

export interface ConfigRead extends ConfigRequest {
  readonly type: 'CfgRd0' | 'CfgRd1';
}

export interface ConfigWrite extends ConfigRequest {
  readonly type: 'CfgWr0' | 'CfgWr1';
  /** 4 bytes. */
  readonly data: Uint8Array;
}

interface AnyMessage extends Request {
  /** How it finds its receiver, 0 to 7. */
  readonly routing: number;
  readonly code: number;
  /** Third and fourth DW, whose meaning depends on the code. */
  readonly words: readonly [number, number];
}

export interface Message extends AnyMessage {
  readonly type: 'Msg';
}

export interface MessageWithData extends AnyMessage {
  readonly type: 'MsgD';
  /** Whole DWs. */
  readonly data: Uint8Array;
}

interface AnyCompletion extends Request {
  readonly completer: Bdf;
  /** 0 to 7. */
  readonly status: number;
  /** Byte Count Modified, set by PCI-X completers only. */
  readonly byteCountModified: boolean;
  /** Bytes still to come with this completion's, 1 to 4096. */
  readonly byteCount: number;
  /** 0 to 127. */
  readonly lowerAddress: number;
}

export interface Completion extends AnyCompletion {
  readonly type: 'Cpl' | 'CplLk';
}

export interface CompletionWithData extends AnyCompletion {
  readonly type: 'CplD' | 'CplDLk';
  /** Whole DWs. */
  readonly data: Uint8Array;
}

/** Any TLP, told apart by `type`. */
export type TlpDescription =
  | MemoryRead
  | MemoryWrite
  | AtomicRequest
  | IoRead
  | IoWrite
  | ConfigRead
  | ConfigWrite
  | Message
  | MessageWithData
  | Completion
  | CompletionWithData;
