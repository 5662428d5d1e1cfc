/**
 * Values with their units as people read them: `27.3 GB/s`, `64 MiB`, `1.24 us`.
 * @module
 */
import { roundByteSize } from '#emu/scenario/byte-size.ts';

const TIME_STEPS: readonly (readonly [limit: number, divisor: number, unit: string])[] = [
  [1e3, 1, 'ns'],
  [1e6, 1e3, 'us'],
  [1e9, 1e6, 'ms'],
  [Number.POSITIVE_INFINITY, 1e9, 's'],
];

/** What stands where a fidelity cannot tell a value. */
export const NO_VALUE = '-';

/** `value` in `unit`; bytes, rates and nanoseconds get a prefix that keeps them short. */
export function formatQuantity(value: number | null, unit: string): string {
  if (value === null) return NO_VALUE;
  if (unit === 'B') return roundByteSize(value);
  if (unit === 'B/s') return `${roundByteSize(value, 'decimal')}/s`;
  if (unit === 'ns') return formatTimeNs(value);
  if (unit === '1/s') return `${formatCount(value)}/s`;
  const text = formatNumber(value);
  return unit === '' ? text : `${text} ${unit}`;
}

/** A duration of `value` ns in the unit that suits it. */
export function formatTimeNs(value: number): string {
  for (const [limit, divisor, unit] of TIME_STEPS) {
    if (Math.abs(value) < limit) return `${formatNumber(value / divisor)} ${unit}`;
  }
  return `${value} ns`;
}

/** Digits in groups of three; fractions to four significant digits. */
export function formatNumber(value: number): string {
  if (Number.isInteger(value)) return value.toLocaleString('en-US');
  const text = Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(4);
  return Number(text).toLocaleString('en-US', { maximumFractionDigits: 6 });
}

/** Counts in thousands, millions or billions. */
function formatCount(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toPrecision(4)} G`;
  if (value >= 1e6) return `${(value / 1e6).toPrecision(4)} M`;
  if (value >= 1e3) return `${(value / 1e3).toPrecision(4)} k`;
  return `${value.toPrecision(4)} `;
}
