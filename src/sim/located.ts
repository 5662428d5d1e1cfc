/**
 * Gives an error its place in simulated time, as everything thrown inside an event gets it.
 * @module
 */
import { EmuError, type ErrorDetail } from '#emu/base/errors.ts';

/** `error` with `detail` added below what it says itself; what is no EmuError becomes the cause of an INVARIANT. */
export function located(error: unknown, detail: ErrorDetail): EmuError {
  if (error instanceof EmuError) {
    error.detail = { ...detail, ...error.detail };
    return error;
  }
  const message = error instanceof Error ? error.message : String(error);
  return new EmuError('INVARIANT', message, detail, { cause: error });
}
