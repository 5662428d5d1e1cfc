/**
 * What host software makes of the error registers of one function: a record, and the lines in which Linux would
 * print it. No state. [PCIE] 6.2.6, 7.8.4
 * @module
 */
import { type Bdf, formatBdf, type Picos } from '#emu/base/units.ts';
import { Correctable, Uncorrectable } from '#emu/pcie/errors/aer-registers.ts';

export type ErrorSeverity = 'corrected' | 'nonfatal' | 'fatal';

/** Error registers of a function as they stood when host software read them. */
export interface ErrorRegisters {
  readonly correctableStatus: number;
  readonly correctableMask: number;
  readonly uncorrectableStatus: number;
  readonly uncorrectableMask: number;
  readonly uncorrectableSeverity: number;
  /** Bit of the error that the logs belong to. */
  readonly firstError: number;
  /** Four DWs each. */
  readonly header: readonly number[];
  readonly prefixes: readonly number[];
}

/** An error as host software logs it. */
export interface ErrorRecord {
  /** When it was read. */
  readonly timePs: Picos;
  readonly path: string;
  readonly bdf: Bdf;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly severity: ErrorSeverity;
  readonly layer: 'Physical Layer' | 'Data Link Layer' | 'Transaction Layer';
  readonly agent: 'Receiver ID' | 'Requester ID' | 'Completer ID' | 'Transmitter ID';
  /** Unmasked errors in Linux's words, such as `UnsupReq` or `BadTLP`. */
  readonly errors: readonly string[];
  /** Uncorrectable errors that were reported as a correctable one. [PCIE] 6.2.3.2.4 */
  readonly advised: readonly string[];
  /** The one of them that came first, whose TLP was logged; null where there is none. */
  readonly first: string | null;
  /** Header of that TLP, four DWs; empty without. */
  readonly header: readonly number[];
  /** Its end-end prefixes. */
  readonly prefixes: readonly number[];
  /** Of the register that `severity` names. */
  readonly status: number;
  readonly mask: number;
}

/** Names as Linux prints them. */
const CORRECTABLE_NAMES: Readonly<Record<number, string>> = {
  [Correctable.Receiver]: 'RxErr',
  [Correctable.BadTlp]: 'BadTLP',
  [Correctable.BadDllp]: 'BadDLLP',
  [Correctable.ReplayRollover]: 'Rollover',
  [Correctable.ReplayTimeout]: 'Timeout',
  [Correctable.AdvisoryNonFatal]: 'NonFatalErr',
  [Correctable.Internal]: 'CorrIntErr',
  [Correctable.HeaderLogOverflow]: 'HeaderOF',
};
const UNCORRECTABLE_NAMES: Readonly<Record<number, string>> = {
  [Uncorrectable.DataLinkProtocol]: 'DLP',
  [Uncorrectable.SurpriseDown]: 'SDES',
  [Uncorrectable.PoisonedTlp]: 'TLP',
  [Uncorrectable.FlowControlProtocol]: 'FCP',
  [Uncorrectable.CompletionTimeout]: 'CmpltTO',
  [Uncorrectable.CompleterAbort]: 'CmpltAbrt',
  [Uncorrectable.UnexpectedCompletion]: 'UnxCmplt',
  [Uncorrectable.ReceiverOverflow]: 'RxOF',
  [Uncorrectable.MalformedTlp]: 'MalfTLP',
  [Uncorrectable.Ecrc]: 'ECRC',
  [Uncorrectable.UnsupportedRequest]: 'UnsupReq',
  [Uncorrectable.AcsViolation]: 'ACSViol',
  [Uncorrectable.Internal]: 'UncorrIntErr',
  [Uncorrectable.McBlockedTlp]: 'BlockedTLP',
  [Uncorrectable.AtomicEgressBlocked]: 'AtomicOpBlocked',
  [Uncorrectable.PrefixBlocked]: 'TLPBlockedErr',
  [Uncorrectable.PoisonedEgressBlocked]: 'PoisonTLPBlocked',
};

const maskOf = (...bits: readonly number[]): number =>
  bits.reduce((mask, bit) => mask | (1 << bit), 0) >>> 0;

const namesOf = (bits: number, names: Readonly<Record<number, string>>): string[] =>
  Array.from({ length: 32 }, (_, bit) => bit)
    .filter((bit) => (bits >>> bit) & 1)
    .map((bit) => names[bit] ?? `bit ${bit}`);

const { ReplayRollover, ReplayTimeout, BadTlp, BadDllp, AdvisoryNonFatal } = Correctable;
const REPLAYS = maskOf(ReplayRollover, ReplayTimeout);
const LINK_ERRORS = maskOf(BadTlp, BadDllp, ReplayRollover, ReplayTimeout);
const REQUESTER = maskOf(Uncorrectable.CompletionTimeout, Uncorrectable.UnsupportedRequest);

/** Who a record is about. */
export type ErrorSource = Pick<ErrorRecord, 'timePs' | 'path' | 'bdf' | 'vendorId' | 'deviceId'>;

/** The logged TLP, where the first error is one of `bits`. */
function logOf(
  { firstError, header, prefixes }: ErrorRegisters,
  bits: number,
): Pick<ErrorRecord, 'first' | 'header' | 'prefixes'> {
  if (((bits >>> firstError) & 1) === 0) return { first: null, header: [], prefixes: [] };
  return {
    first: UNCORRECTABLE_NAMES[firstError] ?? null,
    header: header.some((dw) => dw !== 0) ? header : [],
    prefixes: prefixes.filter((dw) => dw !== 0),
  };
}

/** The record of the correctable errors, or null where there are none that are not masked. */
export function correctedRecord(
  source: ErrorSource,
  registers: ErrorRegisters,
): ErrorRecord | null {
  const { correctableStatus: status, correctableMask: mask } = registers;
  const bits = (status & ~mask) >>> 0;
  if (bits === 0) return null;
  const { uncorrectableStatus, uncorrectableMask, uncorrectableSeverity } = registers;
  const isAdvisory = (bits >>> AdvisoryNonFatal) & 1;
  const advised = isAdvisory
    ? (uncorrectableStatus & ~uncorrectableMask & ~uncorrectableSeverity) >>> 0
    : 0;
  const isPhysical = bits & maskOf(Correctable.Receiver);
  return {
    ...source,
    severity: 'corrected',
    layer: isPhysical
      ? 'Physical Layer'
      : bits & LINK_ERRORS
        ? 'Data Link Layer'
        : 'Transaction Layer',
    agent: bits & REPLAYS ? 'Transmitter ID' : 'Receiver ID',
    errors: namesOf(bits, CORRECTABLE_NAMES),
    advised: namesOf(advised, UNCORRECTABLE_NAMES),
    ...logOf(registers, advised),
    status,
    mask,
  };
}

/** The record of the uncorrectable errors, or null where there are none that are not masked. */
export function uncorrectedRecord(
  source: ErrorSource,
  registers: ErrorRegisters,
): ErrorRecord | null {
  const { uncorrectableStatus: status, uncorrectableMask: mask } = registers;
  const bits = (status & ~mask) >>> 0;
  if (bits === 0) return null;
  const isAbort = bits & maskOf(Uncorrectable.CompleterAbort);
  return {
    ...source,
    severity: bits & registers.uncorrectableSeverity ? 'fatal' : 'nonfatal',
    layer: bits & maskOf(Uncorrectable.DataLinkProtocol) ? 'Data Link Layer' : 'Transaction Layer',
    agent: isAbort ? 'Completer ID' : bits & REQUESTER ? 'Requester ID' : 'Receiver ID',
    errors: namesOf(bits, UNCORRECTABLE_NAMES),
    advised: [],
    ...logOf(registers, bits),
    status,
    mask,
  };
}

const hex8 = (value: number): string => value.toString(16).padStart(8, '0');
const SEVERITY_TEXT: Readonly<Record<ErrorSeverity, string>> = {
  corrected: 'Correctable',
  nonfatal: 'Uncorrectable (Non-Fatal)',
  fatal: 'Uncorrectable (Fatal)',
};

/** The lines that Linux would print, without its time stamps. */
export function errorLines(record: ErrorRecord): readonly string[] {
  const id = [record.vendorId, record.deviceId].map((one) => one.toString(16).padStart(4, '0'));
  const { severity, layer, agent, first } = record;
  const isFirst = (name: string): string => (name === first ? ' (First)' : '');
  const name = formatBdf(record.bdf);
  return [
    `${name}: PCIe Bus Error: severity=${SEVERITY_TEXT[severity]}, type=${layer}, (${agent})`,
    `${name}:   device [${id.join(':')}] error status/mask=${hex8(record.status)}/${hex8(record.mask)}`,
    ...[...record.errors, ...record.advised].map(
      (error) => `${name}:    ${error}${isFirst(error)}`,
    ),
    ...(record.header.length === 0
      ? []
      : [`${name}:   TLP Header: ${record.header.map(hex8).join(' ')}`]),
  ];
}
