/**
 * Byte sizes as people write them (`64MiB`, `4k`, `1.5GB`), and back. Knows nothing of parameters.
 * @module
 */
const BINARY: readonly string[] = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const DECIMAL: readonly string[] = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
const PATTERN = /^(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i?b)?|b)?$/i;
const PREFIXES = 'kmgtp';

/**
 * Bytes of a text such as `4096`, `4k`, `4KiB` (1024 each) or `4kB` (1000 each), in any case; null when it is
 * malformed, not a whole number of bytes, or not exact.
 */
export function parseByteSize(text: string): number | null {
  const parts = PATTERN.exec(text.trim());
  if (!parts) return null;
  const [, digits = '', prefix = '', suffix = ''] = parts;
  const power = prefix === '' ? 0 : PREFIXES.indexOf(prefix.toLowerCase()) + 1;
  const step = suffix.toLowerCase() === 'b' ? 1000 : 1024;
  const bytes = Number(digits) * step ** power;
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** The shortest exact spelling with a binary unit: `64MiB`, `4097B`. */
export function exactByteSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value > 0 && value % 1024 === 0 && unit < BINARY.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value}${BINARY[unit]}`;
}

/** A rounded spelling of up to four digits for people: `64 MiB`, `27.3 GB`. */
export function roundByteSize(bytes: number, base: 'binary' | 'decimal' = 'binary'): string {
  const step = base === 'binary' ? 1024 : 1000;
  const units = base === 'binary' ? BINARY : DECIMAL;
  let value = bytes;
  let unit = 0;
  while (value >= step && unit < units.length - 1) {
    value /= step;
    unit++;
  }
  const digits = unit === 0 || Number.isInteger(value) ? 0 : Math.max(0, 3 - wholeDigits(value));
  return `${value.toFixed(digits)} ${units[unit]}`;
}

const wholeDigits = (value: number): number => Math.floor(value).toString().length;
