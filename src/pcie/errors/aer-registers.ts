/**
 * Offsets, bits and reset values of the Advanced Error Reporting capability, root registers included; shared by
 * the hardware and by host software. No state. [PCIE] 7.8.4
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';

/** Version of the capability. */
export const AER_VERSION = 2;

/** Offsets in the capability. [PCIE] 7.8.4 */
export const AerRegister = {
  UncorrectableStatus: 0x04,
  UncorrectableMask: 0x08,
  UncorrectableSeverity: 0x0c,
  CorrectableStatus: 0x10,
  CorrectableMask: 0x14,
  Control: 0x18,
  HeaderLog: 0x1c,
  RootCommand: 0x2c,
  RootStatus: 0x30,
  CorrectableSource: 0x34,
  UncorrectableSource: 0x36,
  PrefixLog: 0x38,
  SIZE: 0x48,
} as const;

/** Uncorrectable errors by their bit in status, mask and severity. [PCIE] 7.8.4.2 */
export const Uncorrectable = {
  DataLinkProtocol: 4,
  SurpriseDown: 5,
  PoisonedTlp: 12,
  FlowControlProtocol: 13,
  CompletionTimeout: 14,
  CompleterAbort: 15,
  UnexpectedCompletion: 16,
  ReceiverOverflow: 17,
  MalformedTlp: 18,
  Ecrc: 19,
  UnsupportedRequest: 20,
  AcsViolation: 21,
  Internal: 22,
  McBlockedTlp: 23,
  AtomicEgressBlocked: 24,
  PrefixBlocked: 25,
  PoisonedEgressBlocked: 26,
} as const;
export type Uncorrectable = (typeof Uncorrectable)[keyof typeof Uncorrectable];

/** Correctable errors by their bit in status and mask. [PCIE] 7.8.4.5 */
export const Correctable = {
  Receiver: 0,
  BadTlp: 6,
  BadDllp: 7,
  ReplayRollover: 8,
  ReplayTimeout: 12,
  AdvisoryNonFatal: 13,
  Internal: 14,
  HeaderLogOverflow: 15,
} as const;
export type Correctable = (typeof Correctable)[keyof typeof Correctable];

/** Advanced Error Capabilities and Control register. [PCIE] 7.8.4.7 */
export const AerControl = {
  FirstError: new Bits(4, 0),
  EcrcGenerationCapable: new Bits(5),
  EcrcGenerationEnable: new Bits(6),
  EcrcCheckCapable: new Bits(7),
  EcrcCheckEnable: new Bits(8),
  MultipleHeaderCapable: new Bits(9),
  MultipleHeaderEnable: new Bits(10),
  PrefixLogPresent: new Bits(11),
} as const;

/** Root Error Command register. [PCIE] 7.8.4.9 */
export const RootCommand = {
  Correctable: new Bits(0),
  NonFatal: new Bits(1),
  Fatal: new Bits(2),
} as const;

/** Root Error Status register. [PCIE] 7.8.4.10 */
export const RootStatus = {
  Correctable: new Bits(0),
  MultipleCorrectable: new Bits(1),
  Uncorrectable: new Bits(2),
  MultipleUncorrectable: new Bits(3),
  FirstFatal: new Bits(4),
  NonFatal: new Bits(5),
  Fatal: new Bits(6),
  InterruptNumber: new Bits(31, 27),
} as const;

const bitsOf = (errors: Readonly<Record<string, number>>): number =>
  Object.values(errors).reduce((mask, bit) => mask | (1 << bit), 0) >>> 0;

/** Every implemented bit. */
export const UNCORRECTABLE_BITS: number = bitsOf(Uncorrectable);
export const CORRECTABLE_BITS: number = bitsOf(Correctable);
/** Errors that are fatal until software says otherwise. [PCIE] 7.8.4.4 */
export const DEFAULT_FATAL: number = bitsOf({
  a: Uncorrectable.DataLinkProtocol,
  b: Uncorrectable.SurpriseDown,
  c: Uncorrectable.FlowControlProtocol,
  d: Uncorrectable.ReceiverOverflow,
  e: Uncorrectable.MalformedTlp,
  f: Uncorrectable.Internal,
});
/** Errors that are masked until software says otherwise. [PCIE] 7.8.4.3, 7.8.4.6 */
export const DEFAULT_UNCORRECTABLE_MASK: number = bitsOf({
  a: Uncorrectable.Internal,
  b: Uncorrectable.PoisonedEgressBlocked,
});
export const DEFAULT_CORRECTABLE_MASK: number = bitsOf({
  a: Correctable.AdvisoryNonFatal,
  b: Correctable.Internal,
  c: Correctable.HeaderLogOverflow,
});

/** What a function implements beyond the mandatory part. */
export interface AerOptions {
  /** ECRC generation and check. Default true. */
  readonly ecrc?: boolean;
  /** Headers that can wait for software; more than one is Multiple Header Recording. Default 1. */
  readonly headerRecords?: number;
}

const read32 = (name: string, offset: number): RegisterSpec => ({ name, offset, width: 32 });

/** Registers of every function, all of them sticky; offsets from the start of configuration space. */
export function aerRegisters(at: number, options: AerOptions): RegisterSpec[] {
  const ecrc = +(options.ecrc ?? true);
  const several = +((options.headerRecords ?? 1) > 1);
  const status = (name: string, offset: number, w1c: number): RegisterSpec => ({
    ...read32(name, at + offset),
    w1c,
  });
  const setting = (
    name: string,
    offset: number,
    writable: number,
    reset: number,
  ): RegisterSpec => ({ ...read32(name, at + offset), writable, reset });
  const log = (name: string, offset: number): RegisterSpec[] =>
    [0, 1, 2, 3].map((i) => read32(`${name}${i}`, at + offset + 4 * i));
  const { UncorrectableStatus, UncorrectableMask, UncorrectableSeverity } = AerRegister;
  const { CorrectableStatus, CorrectableMask } = AerRegister;
  return [
    status('UncorrectableStatus', UncorrectableStatus, UNCORRECTABLE_BITS),
    setting('UncorrectableMask', UncorrectableMask, UNCORRECTABLE_BITS, DEFAULT_UNCORRECTABLE_MASK),
    setting('UncorrectableSeverity', UncorrectableSeverity, UNCORRECTABLE_BITS, DEFAULT_FATAL),
    status('CorrectableStatus', CorrectableStatus, CORRECTABLE_BITS),
    setting('CorrectableMask', CorrectableMask, CORRECTABLE_BITS, DEFAULT_CORRECTABLE_MASK),
    setting(
      'AerControl',
      AerRegister.Control,
      AerControl.EcrcGenerationEnable.of(ecrc) |
        AerControl.EcrcCheckEnable.of(ecrc) |
        AerControl.MultipleHeaderEnable.of(several),
      AerControl.EcrcGenerationCapable.of(ecrc) |
        AerControl.EcrcCheckCapable.of(ecrc) |
        AerControl.MultipleHeaderCapable.of(several),
    ),
    ...log('HeaderLog', AerRegister.HeaderLog),
    ...log('PrefixLog', AerRegister.PrefixLog),
  ];
}

/** Root registers that stay: status and sources. @param vector interrupt message number */
export function rootErrorRegisters(at: number, vector: number): RegisterSpec[] {
  return [
    {
      name: 'RootErrorStatus',
      offset: at + AerRegister.RootStatus,
      width: 32,
      reset: RootStatus.InterruptNumber.of(vector),
      w1c: 0x7f,
    },
    { name: 'CorrectableSource', offset: at + AerRegister.CorrectableSource, width: 16 },
    { name: 'UncorrectableSource', offset: at + AerRegister.UncorrectableSource, width: 16 },
  ];
}

/** Root Error Command, which every reset clears. [PCIE] 7.8.4.9 */
export const rootCommandRegister = (at: number): RegisterSpec => ({
  name: 'RootErrorCommand',
  offset: at + AerRegister.RootCommand,
  width: 32,
  writable: 0x7,
});
