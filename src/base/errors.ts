/**
 * Errors that mean the simulation is wrong or its user is; never "the hardware said no", which is a value.
 * @module
 */

/**
 * `USAGE`: the user's input is wrong. `INVARIANT`: a model broke its own rule. `ADDR_RANGE`: an address
 * beyond 2^52 or its memory. `STALLED`: something awaited can never complete. `CHECKER`: the DMA checker caught wrong use.
 */
export type EmuErrorCode =
  | 'USAGE'
  | 'INVARIANT'
  | 'ADDR_RANGE'
  | 'STALLED'
  | 'NO_MEMORY'
  | 'CHECKER'
  | 'SCENARIO';
export type ErrorDetail = Readonly<Record<string, number | string>>;

/** The one error class of the framework. */
export class EmuError extends Error {
  override readonly name = 'EmuError';
  readonly code: EmuErrorCode;
  detail: ErrorDetail;
  constructor(
    code: EmuErrorCode,
    message: string,
    detail: ErrorDetail = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.detail = detail;
  }
}

/** A user's mistake: names the key, what was expected and what was got. */
export const usage = (message: string, detail: ErrorDetail = {}): EmuError =>
  new EmuError('USAGE', message, detail);

/** @throws INVARIANT when `condition` is false. */
export function invariant(
  condition: boolean,
  message: string,
  detail: ErrorDetail = {},
): asserts condition {
  if (!condition) throw new EmuError('INVARIANT', message, detail);
}
