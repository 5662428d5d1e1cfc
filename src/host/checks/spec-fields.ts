/**
 * Checks of single fields of a specification, and how refusals word them. Knows no machine.
 * @module
 */
import { type EmuError, usage } from '#emu/base/errors.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const NAME = /^[A-Za-z][A-Za-z0-9_-]*$/;

/** Whether `n` is 1, 2, 4, ... up to 2^52. */
export const isPowerOfTwo = (n: number): boolean =>
  Number.isSafeInteger(n) && Number.isInteger(log2(n));

/** Exponent of a power of two, else NaN; exact, unlike Math.log2 which engines may round differently. */
function log2(n: number): number {
  let exponent = 0;
  for (let rest = n; rest > 1; rest /= 2) exponent++;
  return n >= 1 && 2 ** exponent === n ? exponent : Number.NaN;
}

export function checkName(key: string, name: string | undefined): void {
  if (name === undefined || (typeof name === 'string' && NAME.test(name))) return;
  throw expected(key, 'a letter, then letters, digits, _ or -', name);
}

export function checkCount(key: string, count: number, most: number, what: string): void {
  if (count > most) throw usage(`${key}: expected at most ${most} ${what}, got ${count}`);
}

export function checkSize(
  key: string,
  value: number | undefined,
  step: number,
  most: number,
  what: string,
): void {
  if (value === undefined) return;
  if (Number.isSafeInteger(value) && value >= step && value <= most && value % step === 0) return;
  throw expected(key, `${what} up to ${formatSize(most)}`, value);
}

export function checkTime(key: string, value: number | undefined): void {
  if (value === undefined || (Number.isInteger(value) && value >= 0 && value <= 1e9)) return;
  throw expected(key, 'an integer of 0 to 1e9 ps', value);
}

/** The one form of a refusal: key, what was expected, what was got. */
export const expected = (key: string, what: string, got: unknown): EmuError =>
  usage(`${key}: expected ${what}, got ${formatGot(got)}`);

function formatGot(got: unknown): string {
  if (typeof got === 'string') return `'${got}'`;
  if (Array.isArray(got)) return got.length === 0 ? 'none' : `an array of ${got.length}`;
  return got !== null && typeof got === 'object' ? 'an object' : String(got);
}

const UNITS: readonly (readonly [number, string])[] = [
  [2 ** 40, 'TiB'],
  [GiB, 'GiB'],
  [MiB, 'MiB'],
  [2 ** 10, 'KiB'],
];

/** A size for messages, in the largest binary unit that divides it. */
export function formatSize(bytes: number): string {
  const unit = UNITS.find(([size]) => bytes >= size && bytes % size === 0);
  return unit ? `${bytes / unit[0]} ${unit[1]}` : `${bytes} B`;
}
