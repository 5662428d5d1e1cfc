/**
 * Error reporting of a function without Advanced Error Reporting: Device Status, and the messages that Device
 * Control and Command let go. No state. [PCIE] 6.2.1, 6.2.3.2.4, 6.2.5
 * @module
 */

import { DevSta } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { type ErrorMessages, type ErrorRole, isAdvisory } from './aer.ts';
import { DEFAULT_FATAL, Uncorrectable } from './aer-registers.ts';
import {
  ErrorMessage,
  noteSystemError,
  reportsCorrectable,
  reportsUncorrectable,
} from './error-message.ts';

const NOTHING: ErrorMessages = [];

/** Takes an uncorrectable error of the severity that it has by default; advisory ones send nothing. */
export function baselineUncorrectable(
  config: ConfigSpace,
  error: Uncorrectable,
  role: ErrorRole,
): ErrorMessages {
  const isUnsupported = error === Uncorrectable.UnsupportedRequest;
  const unsupported = DevSta.Unsupported.of(+isUnsupported);
  const isFatal = ((DEFAULT_FATAL >>> error) & 1) === 1;
  if (!isFatal && isAdvisory(error, role)) {
    config.setDeviceStatus(DevSta.Correctable.mask | unsupported);
    return NOTHING;
  }
  config.setDeviceStatus((isFatal ? DevSta.Fatal.mask : DevSta.NonFatal.mask) | unsupported);
  const message = isFatal ? ErrorMessage.Fatal : ErrorMessage.NonFatal;
  if (!reportsUncorrectable(config, message, isUnsupported)) return NOTHING;
  noteSystemError(config);
  return [message];
}

/** Takes a correctable error. */
export function baselineCorrectable(config: ConfigSpace): ErrorMessages {
  config.setDeviceStatus(DevSta.Correctable.mask);
  return reportsCorrectable(config, false) ? [ErrorMessage.Correctable] : NOTHING;
}
