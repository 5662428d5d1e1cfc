/**
 * Which error messages a function may send and which a bridge lets pass upstream, as software has set it in
 * Device Control, Command and Bridge Control. [PCIE] 6.2.5, 6.2.6
 * @module
 */
import {
  BridgeControl,
  CapabilityId,
  Command,
  DevCtl,
  Header,
  Pcie,
  Status,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { MessageCode } from '#emu/pcie/tlp/tlp-messages.ts';

/** Error messages, as their message codes. [PCIE] 2.2.8.3 */
export const ErrorMessage = {
  Correctable: MessageCode.ERR_COR,
  NonFatal: MessageCode.ERR_NONFATAL,
  Fatal: MessageCode.ERR_FATAL,
} as const;
export type ErrorMessage = (typeof ErrorMessage)[keyof typeof ErrorMessage];

const deviceControl = (config: ConfigSpace): number => {
  const at = config.capability(CapabilityId.Pcie);
  return at === 0 ? 0 : config.read(at + Pcie.DevCtl, 2);
};
const systemErrors = (config: ConfigSpace): boolean =>
  Command.SERR.get(config.read(Header.Command, 2)) === 1;

/** Whether a correctable error, or an advisory one, is reported. */
export function reportsCorrectable(config: ConfigSpace, isUnsupportedRequest: boolean): boolean {
  const control = deviceControl(config);
  if (isUnsupportedRequest && !DevCtl.UnsupportedReporting.get(control)) return false;
  return DevCtl.CorrectableReporting.get(control) === 1;
}

const deviceReports = (config: ConfigSpace, message: ErrorMessage): boolean => {
  const field = message === ErrorMessage.Fatal ? DevCtl.FatalReporting : DevCtl.NonFatalReporting;
  return field.get(deviceControl(config)) === 1;
};

/** Whether an uncorrectable error is reported: by Device Control, or by System Error Enable alone. */
export function reportsUncorrectable(
  config: ConfigSpace,
  message: ErrorMessage,
  isUnsupportedRequest: boolean,
): boolean {
  if (systemErrors(config)) return true;
  const unreported =
    isUnsupportedRequest && !DevCtl.UnsupportedReporting.get(deviceControl(config));
  return !unreported && deviceReports(config, message);
}

/** Notes in Status that a message was sent although only System Error Enable may have asked for it. */
export function noteSystemError(config: ConfigSpace): void {
  if (systemErrors(config)) config.setStatus(Header.Status, Status.SignaledSystemError.mask);
}

/**
 * Takes an error message that came from below a bridge and tells whether it goes on: Bridge Control must
 * allow it, and an uncorrectable one needs Command or Device Control too. Model: the specification's diagram
 * leaves the last of these open.
 */
export function passesErrorUp(config: ConfigSpace, message: ErrorMessage): boolean {
  const isUncorrectable = message !== ErrorMessage.Correctable;
  // The same bit as in Status, where it says "signaled".
  if (isUncorrectable) config.setStatus(Type1.SecondaryStatus, Status.SignaledSystemError.mask);
  if (!BridgeControl.SERR.get(config.read(Type1.BridgeControl, 2))) return false;
  return !isUncorrectable || reportsUncorrectable(config, message, false);
}
