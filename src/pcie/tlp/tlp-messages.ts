/**
 * Message codes with their routing and rules, and the two kinds of message that the fabric makes itself:
 * legacy interrupts and errors. [PCIE] 2.2.8
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import { type Message, PLAIN } from './tlp-description.ts';

/** How a message finds its receiver. [PCIE] 2.2.8 */
export const MessageRouting = {
  ToRoot: 0,
  ByAddress: 1,
  ById: 2,
  Broadcast: 3,
  Local: 4,
  Gather: 5,
} as const;
export type MessageRouting = (typeof MessageRouting)[keyof typeof MessageRouting];

/** Message codes, spelled as the specification prints them. [PCIE] 2.2.8, 10.3, 10.4 */
export const MessageCode = {
  Unlock: 0x00,
  InvalidateRequest: 0x01,
  InvalidateCompletion: 0x02,
  PageRequest: 0x04,
  PrgResponse: 0x05,
  LTR: 0x10,
  OBFF: 0x12,
  PM_Active_State_Nak: 0x14,
  PM_PME: 0x18,
  PME_Turn_Off: 0x19,
  PME_TO_Ack: 0x1b,
  Assert_INTA: 0x20,
  Assert_INTB: 0x21,
  Assert_INTC: 0x22,
  Assert_INTD: 0x23,
  Deassert_INTA: 0x24,
  Deassert_INTB: 0x25,
  Deassert_INTC: 0x26,
  Deassert_INTD: 0x27,
  ERR_COR: 0x30,
  ERR_NONFATAL: 0x31,
  ERR_FATAL: 0x33,
  Set_Slot_Power_Limit: 0x50,
  PTM_Request: 0x52,
  PTM_Response: 0x53,
  Vendor_Defined_0: 0x7e,
  Vendor_Defined_1: 0x7f,
} as const;
export type MessageCode = (typeof MessageCode)[keyof typeof MessageCode];

/** What receivers require of a message with a known code. */
export interface MessageRule {
  readonly routing: MessageRouting;
  /** Any other traffic class makes it malformed. */
  readonly tc0: boolean;
}

const { ToRoot, ById, Broadcast, Local, Gather } = MessageRouting;
const tc0 = (routing: MessageRouting): MessageRule => ({ routing, tc0: true });
const anyTc = (routing: MessageRouting): MessageRule => ({ routing, tc0: false });

const RULES: Readonly<Record<number, MessageRule>> = {
  [MessageCode.Unlock]: tc0(Broadcast),
  [MessageCode.InvalidateRequest]: anyTc(ById),
  [MessageCode.InvalidateCompletion]: anyTc(ById),
  [MessageCode.PageRequest]: anyTc(ToRoot),
  [MessageCode.PrgResponse]: anyTc(ById),
  [MessageCode.LTR]: tc0(Local),
  [MessageCode.OBFF]: tc0(Local),
  [MessageCode.PM_Active_State_Nak]: tc0(Local),
  [MessageCode.PM_PME]: tc0(ToRoot),
  [MessageCode.PME_Turn_Off]: tc0(Broadcast),
  [MessageCode.PME_TO_Ack]: tc0(Gather),
  [MessageCode.ERR_COR]: tc0(ToRoot),
  [MessageCode.ERR_NONFATAL]: tc0(ToRoot),
  [MessageCode.ERR_FATAL]: tc0(ToRoot),
  [MessageCode.Set_Slot_Power_Limit]: tc0(Local),
  [MessageCode.PTM_Request]: tc0(Local),
  [MessageCode.PTM_Response]: tc0(Local),
};

/** Rules of a message code; null for vendor-defined and unknown codes. [PCIE] 2.2.8 */
export const messageRule = (code: number): MessageRule | null =>
  code >= MessageCode.Assert_INTA && code <= MessageCode.Deassert_INTD
    ? tc0(Local)
    : (RULES[code] ?? null);

const message = (requester: Bdf, code: number, routing: MessageRouting): Message => ({
  ...PLAIN,
  type: 'Msg',
  requester,
  tag: 0,
  routing,
  code,
  words: [0, 0],
});

/** Error message of a function, for the root complex. [PCIE] 2.2.8.3 */
export const errorMessage = (
  requester: Bdf,
  code: typeof MessageCode.ERR_COR | typeof MessageCode.ERR_NONFATAL | typeof MessageCode.ERR_FATAL,
): Message => message(requester, code, ToRoot);

/**
 * Legacy interrupt message, which ends at the other side of the link.
 * @param pin 0 to 3 for INTA to INTD
 * [PCIE] 2.2.8.1
 */
export const interruptMessage = (requester: Bdf, pin: number, asserted: boolean): Message =>
  message(
    requester,
    (asserted ? MessageCode.Assert_INTA : MessageCode.Deassert_INTA) + (pin & 3),
    Local,
  );
