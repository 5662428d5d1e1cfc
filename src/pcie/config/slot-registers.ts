/**
 * Fields of the slot registers in the PCI Express Capability, shared by the hardware and by host software. No state.
 * [PCIE] 7.5.3.9
 * @module
 */
import { Bits } from '#emu/base/layout.ts';

/** Slot Capabilities register. [PCIE] 7.5.3.9 */
export const SlotCap = {
  AttentionButton: new Bits(0),
  PowerController: new Bits(1),
  AttentionIndicator: new Bits(3),
  PowerIndicator: new Bits(4),
  HotPlugSurprise: new Bits(5),
  HotPlugCapable: new Bits(6),
  SlotNumber: new Bits(31, 19),
} as const;

/** Slot Control register; an indicator is 1 on, 2 blinking, 3 off, and `PowerOff` 1 takes power away. [PCIE] 7.5.3.10 */
export const SlotCtl = {
  AttentionEnable: new Bits(0),
  PresenceEnable: new Bits(3),
  CommandEnable: new Bits(4),
  InterruptEnable: new Bits(5),
  AttentionIndicator: new Bits(7, 6),
  PowerIndicator: new Bits(9, 8),
  PowerOff: new Bits(10),
  LinkStateEnable: new Bits(12),
} as const;

/** Slot Status register. [PCIE] 7.5.3.11 */
export const SlotSta = {
  AttentionPressed: new Bits(0),
  PresenceChanged: new Bits(3),
  CommandCompleted: new Bits(4),
  PresenceDetect: new Bits(6),
  LinkStateChanged: new Bits(8),
} as const;
