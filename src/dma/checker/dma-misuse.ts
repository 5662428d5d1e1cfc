/**
 * The error that ends a wrong call of a driver: thrown whether anybody checks or not, and with both call sites where
 * somebody does. [DMAAPI]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { type Bdf, formatBdf } from '#emu/base/units.ts';
import type { CheckerClass } from './checker-class.ts';
import type { MappingWatch } from './mapping-watch.ts';

/** Whose driver it is. */
interface Caller {
  readonly bdf: Bdf;
  readonly watch: MappingWatch | null;
}

/** @param subject the mapping or the state that the call was about, or null */
export function misuse(
  { bdf, watch }: Caller,
  kind: CheckerClass,
  what: string,
  subject: object | null,
): EmuError {
  const sites = watch?.misused(kind, what, subject) ?? '';
  return new EmuError('CHECKER', `${formatBdf(bdf)}: ${what}${sites}`, { bdf, class: kind });
}
