/**
 * What host software writes so that functions report errors and ports contain them. [PCIE] 6.2.5, 6.2.11, 7.5.3.4
 * @module
 */

import { ConfigIo, type ConfigPort } from '#emu/host/enumeration/config-io.ts';
import type { PciNode } from '#emu/host/enumeration/pci-node.ts';
import {
  BridgeControl,
  CapabilityId,
  DevCtl,
  ExtendedId,
  Pcie,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import {
  AerRegister,
  CORRECTABLE_BITS,
  UNCORRECTABLE_BITS,
} from '#emu/pcie/errors/aer-registers.ts';
import { DpcControl, DpcRegister, DpcTrigger } from '#emu/pcie/errors/dpc-registers.ts';
import type { Process } from '#emu/sim/process.ts';

/** Errors on which ports cut off what is below them. */
export type Containment = 'off' | 'fatal' | 'nonfatal';

/** Errors that Device Status can have detected. */
const DETECTED = 0xf;

/** Offset of a function's AER capability, or 0. */
export const aerOf = (node: PciNode): number => node.extendedCapabilities.get(ExtendedId.Aer) ?? 0;
/** Offset of a function's DPC capability, or 0. */
export const dpcOf = (node: PciNode): number => node.extendedCapabilities.get(ExtendedId.Dpc) ?? 0;

/** Forgets what enumeration has left, then has a function report everything, and a bridge pass it on. */
export function* enableReporting(port: ConfigPort, node: PciNode): Process<void> {
  const io = new ConfigIo(port, node.bdf);
  const pcie = node.capabilities.get(CapabilityId.Pcie);
  if (pcie === undefined) return;
  const aer = aerOf(node);
  if (aer !== 0) {
    yield* io.write(aer + AerRegister.UncorrectableStatus, 4, UNCORRECTABLE_BITS);
    yield* io.write(aer + AerRegister.CorrectableStatus, 4, CORRECTABLE_BITS);
  }
  yield* io.write(pcie + Pcie.DevSta, 2, DETECTED);
  yield* io.update16(
    pcie + Pcie.DevCtl,
    [DevCtl.CorrectableReporting, 1],
    [DevCtl.NonFatalReporting, 1],
    [DevCtl.FatalReporting, 1],
    [DevCtl.UnsupportedReporting, 1],
  );
  if (node.isBridge) yield* io.update16(Type1.BridgeControl, [BridgeControl.SERR, 1]);
}

/** Has a port with the DPC capability contain errors, and interrupt when it does. */
export function* enableContainment(
  port: ConfigPort,
  node: PciNode,
  containment: Containment,
): Process<void> {
  const trigger = containment === 'off' ? DpcTrigger.Off : TRIGGERS[containment];
  yield* new ConfigIo(port, node.bdf).update16(
    dpcOf(node) + DpcRegister.Control,
    [DpcControl.Trigger, trigger],
    [DpcControl.InterruptEnable, 1],
  );
}

const TRIGGERS = { fatal: DpcTrigger.Fatal, nonfatal: DpcTrigger.NonFatal } as const;
