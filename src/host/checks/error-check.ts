/**
 * What a machine says about errors: its defaults, and refusals of what cannot be.
 * @module
 */

import type { Containment } from '#emu/host/services/error-enable.ts';
import type { ErrorOptions } from '#emu/pcie/errors/error-registers.ts';
import { expected } from './spec-fields.ts';

/** Error reporting: what functions have, and what host software does with it. */
export interface ErrorSpec extends ErrorOptions {
  /** Host software has functions report, and reads what they do into `machine.errors`; default true. */
  readonly service?: boolean;
  /** Errors on which host software has ports cut off what is below them; default `off`. [PCIE] 6.2.11 */
  readonly containment?: Containment;
}

const CONTAINMENTS: readonly Containment[] = ['off', 'fatal', 'nonfatal'];
const MAX_HEADERS = 32;

/** `false` leaves the service out, the registers in. */
export const errorSpecOf = (errors: boolean | ErrorSpec = true): ErrorSpec =>
  typeof errors === 'boolean' ? { service: errors } : errors;

/** @throws USAGE */
export function checkErrors(errors: boolean | ErrorSpec | undefined): void {
  if (errors === undefined || typeof errors === 'boolean') return;
  if (errors === null || typeof errors !== 'object') {
    throw expected('errors', 'true, false or a specification object', errors);
  }
  for (const key of ['service', 'dpc'] as const) {
    const value = errors[key];
    if (value !== undefined && typeof value !== 'boolean') {
      throw expected(`errors.${key}`, 'true or false', value);
    }
  }
  const { containment = 'off', aer, dpc } = errors;
  if (!CONTAINMENTS.includes(containment)) {
    throw expected('errors.containment', `one of ${CONTAINMENTS.join(', ')}`, containment);
  }
  if (containment !== 'off' && dpc === false) {
    throw expected('errors.containment', `'off' without errors.dpc`, containment);
  }
  checkAer(aer);
}

function checkAer(aer: ErrorOptions['aer']): void {
  if (aer === undefined || typeof aer === 'boolean') return;
  if (aer === null || typeof aer !== 'object') {
    throw expected('errors.aer', 'true, false or options', aer);
  }
  const { headerRecords: records = 1, ecrc = true } = aer;
  if (!Number.isInteger(records) || records < 1 || records > MAX_HEADERS) {
    throw expected('errors.aer.headerRecords', `1 to ${MAX_HEADERS}`, records);
  }
  if (typeof ecrc !== 'boolean') throw expected('errors.aer.ecrc', 'true or false', ecrc);
}
