/** Message codes and their rules against the specification's tables. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf } from '#emu/base/units.ts';
import {
  errorMessage,
  interruptMessage,
  MessageCode,
  MessageRouting,
  messageRule,
} from '#emu/pcie/tlp/tlp-messages.ts';

/** Name, code, routing (null: any), whether only traffic class 0 will do. */
const TABLE: readonly (readonly [keyof typeof MessageCode, number, number | null, boolean])[] = [
  ['Unlock', 0x00, 3, true],
  ['InvalidateRequest', 0x01, 2, false],
  ['InvalidateCompletion', 0x02, 2, false],
  ['PageRequest', 0x04, 0, false],
  ['PrgResponse', 0x05, 2, false],
  ['LTR', 0x10, 4, true],
  ['OBFF', 0x12, 4, true],
  ['PM_Active_State_Nak', 0x14, 4, true],
  ['PM_PME', 0x18, 0, true],
  ['PME_Turn_Off', 0x19, 3, true],
  ['PME_TO_Ack', 0x1b, 5, true],
  ['Assert_INTA', 0x20, 4, true],
  ['Assert_INTB', 0x21, 4, true],
  ['Assert_INTC', 0x22, 4, true],
  ['Assert_INTD', 0x23, 4, true],
  ['Deassert_INTA', 0x24, 4, true],
  ['Deassert_INTB', 0x25, 4, true],
  ['Deassert_INTC', 0x26, 4, true],
  ['Deassert_INTD', 0x27, 4, true],
  ['ERR_COR', 0x30, 0, true],
  ['ERR_NONFATAL', 0x31, 0, true],
  ['ERR_FATAL', 0x33, 0, true],
  ['Set_Slot_Power_Limit', 0x50, 4, true],
  ['PTM_Request', 0x52, 4, true],
  ['PTM_Response', 0x53, 4, true],
  ['Vendor_Defined_0', 0x7e, null, false],
  ['Vendor_Defined_1', 0x7f, null, false],
];

describe('messages', () => {
  it('have their code, routing and class', () => {
    assert.equal(Object.keys(MessageCode).length, TABLE.length);
    for (const [name, code, routing, tc0] of TABLE) {
      assert.equal(MessageCode[name], code, name);
      assert.deepEqual(messageRule(code), routing === null ? null : { routing, tc0 }, name);
    }
    for (const unknown of [0x03, 0x1f, 0x28, 0x32, 0xff]) assert.equal(messageRule(unknown), null);
  });

  it('count six routings', () => {
    assert.deepEqual(Object.values(MessageRouting), [0, 1, 2, 3, 4, 5]);
  });

  it('for interrupts and errors follow their rules', () => {
    const requester = bdf(1, 2, 3);
    for (const [pin, code] of [0x20, 0x21, 0x22, 0x23].entries()) {
      assert.equal(interruptMessage(requester, pin, true).code, code);
      assert.equal(interruptMessage(requester, pin, false).code, code + 4);
    }
    for (const message of [interruptMessage(requester, 0, true), errorMessage(requester, 0x31)]) {
      assert.equal(message.routing, messageRule(message.code)?.routing);
      assert.deepEqual([message.requester, message.tc], [requester, 0]);
    }
  });
});
