/**
 * Offsets and bits of the Downstream Port Containment capability, without root port extensions; shared by the
 * hardware and by host software. No state. [PCIE] 7.9.14
 * @module
 */
import { Bits } from '#emu/base/layout.ts';
import type { RegisterSpec } from '#emu/base/registers.ts';

/** Version of the capability. */
export const DPC_VERSION = 1;

/** Offsets in the capability. [PCIE] 7.9.14 */
export const DpcRegister = {
  Capability: 0x04,
  Control: 0x06,
  Status: 0x08,
  Source: 0x0a,
  SIZE: 0x0c,
} as const;

/** DPC Capability register. [PCIE] 7.9.14.2 */
export const DpcCapability = {
  InterruptNumber: new Bits(4, 0),
  PoisonedEgressBlocking: new Bits(6),
  SoftwareTrigger: new Bits(7),
} as const;

/** DPC Control register. [PCIE] 7.9.14.3 */
export const DpcControl = {
  /** {@link DpcTrigger} */
  Trigger: new Bits(1, 0),
  /** Answer to requests that cannot go down: 0 Completer Abort, 1 Unsupported Request. */
  Completion: new Bits(2),
  InterruptEnable: new Bits(3),
  CorrectableEnable: new Bits(4),
  PoisonedEgressBlocking: new Bits(5),
  SoftwareTrigger: new Bits(6),
} as const;

/** What triggers containment. [PCIE] 7.9.14.3 */
export const DpcTrigger = { Off: 0, Fatal: 1, NonFatal: 2 } as const;

/** DPC Status register. [PCIE] 7.9.14.4 */
export const DpcStatus = {
  Triggered: new Bits(0),
  /** {@link DpcReason} */
  Reason: new Bits(2, 1),
  Interrupt: new Bits(3),
  ReasonExtension: new Bits(6, 5),
} as const;

/** Why containment began; `Extended` with extension 1 is software. [PCIE] 7.9.14.4 */
export const DpcReason = { OwnError: 0, NonFatalMessage: 1, FatalMessage: 2, Extended: 3 } as const;
export type DpcReason = (typeof DpcReason)[keyof typeof DpcReason];
export const DPC_SOFTWARE = 1;

/** Registers that every reset clears. */
export function dpcSettings(at: number, vector: number): RegisterSpec[] {
  return [
    {
      name: 'DpcCapability',
      offset: at + DpcRegister.Capability,
      width: 16,
      reset:
        DpcCapability.InterruptNumber.of(vector) |
        DpcCapability.PoisonedEgressBlocking.of(1) |
        DpcCapability.SoftwareTrigger.of(1),
    },
    { name: 'DpcControl', offset: at + DpcRegister.Control, width: 16, writable: 0x7f },
  ];
}

/** Registers that only power clears. */
export const dpcState = (at: number): RegisterSpec[] => [
  {
    name: 'DpcStatus',
    offset: at + DpcRegister.Status,
    width: 16,
    w1c: DpcStatus.Triggered.mask | DpcStatus.Interrupt.mask,
  },
  { name: 'DpcSource', offset: at + DpcRegister.Source, width: 16 },
];
