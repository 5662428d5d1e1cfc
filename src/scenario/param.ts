/**
 * Typed scenario parameters: what a scenario may be told with `--set key=value`, parsed from text.
 * Whether a file exists is the runner's to find out; nothing here touches the world.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { exactByteSize, parseByteSize } from './byte-size.ts';

export type ParamKind = 'bytes' | 'int' | 'number' | 'choice' | 'string' | 'flag' | 'file';
export type ParamValue = number | string | boolean | null;

/** One parameter of a scenario. */
export interface Param<T extends ParamValue = ParamValue> {
  readonly kind: ParamKind;
  readonly default: T;
  readonly description: string;
  /** What a value looks like, to stand after "expected". */
  readonly expected: string;
  /** The value of a text, or undefined when the text is not one. */
  parse(text: string): T | undefined;
  /** The text of a value, as `parse` takes it. */
  format(value: T): string;
}

/** Inclusive bounds of a number. */
export interface Limits {
  readonly min?: number;
  readonly max?: number;
}

export type ParamSet = Readonly<Record<string, Param>>;
/** Values of a parameter set, by its names. */
export type ParamValues<P extends ParamSet> = {
  readonly [Key in keyof P]: P[Key] extends Param<infer T> ? T : never;
};

const INTEGER = /^[+-]?\d+$/;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** Byte count, given as a number or as text such as `64MiB`. Bounds default to 0 and 2^52. */
function bytes(
  value: number | string,
  description: string,
  limits: { readonly min?: number | string; readonly max?: number | string } = {},
): Param<number> {
  const bound = (limit: number | string | undefined, fallback: number): number =>
    limit === undefined ? fallback : ownByteSize(limit);
  const min = bound(limits.min, 0);
  const max = bound(limits.max, 2 ** 52);
  return checked({
    kind: 'bytes',
    default: ownByteSize(value),
    description,
    expected: `a size from ${exactByteSize(min)} to ${exactByteSize(max)}, such as 4096, 64KiB or 1GiB`,
    parse: (text) => within(parseByteSize(text) ?? Number.NaN, min, max),
    format: exactByteSize,
  });
}

/** Whole number. */
function int(value: number, description: string, limits: Limits = {}): Param<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = limits;
  return checked({
    kind: 'int',
    default: value,
    description,
    expected: `a whole number${range(limits)}`,
    parse: (text) => within(INTEGER.test(text.trim()) ? Number(text) : Number.NaN, min, max),
    format: String,
  });
}

/** Any finite number. */
function number(value: number, description: string, limits: Limits = {}): Param<number> {
  const { min = -Number.MAX_VALUE, max = Number.MAX_VALUE } = limits;
  return checked({
    kind: 'number',
    default: value,
    description,
    expected: `a number${range(limits)}`,
    parse: (text) => within(NUMBER.test(text.trim()) ? Number(text) : Number.NaN, min, max),
    format: String,
  });
}

/** One of a few words or numbers. */
function choice<const C extends string | number>(
  choices: readonly C[],
  value: NoInfer<C>,
  description: string,
): Param<C> {
  return checked({
    kind: 'choice',
    default: value,
    description,
    expected: `one of ${choices.join(', ')}`,
    parse: (text) => choices.find((known) => String(known) === text.trim()),
    format: String,
  });
}

/** Any text. */
function string(value: string, description: string): Param<string> {
  return {
    kind: 'string',
    default: value,
    description,
    expected: 'a text',
    parse: (text) => text,
    format: String,
  };
}

/** Yes or no. */
function flag(value: boolean, description: string): Param<boolean> {
  const words = new Map([
    ['true', true],
    ['false', false],
  ]);
  return {
    kind: 'flag',
    default: value,
    description,
    expected: 'true or false',
    parse: (text) => words.get(text.trim()),
    format: String,
  };
}

/** Path of an existing regular file, or null when none is given. The runner checks it before the run. */
function file(description: string): Param<string | null> {
  return {
    kind: 'file',
    default: null,
    description,
    expected: 'the path of a file',
    parse: (text) => (text === '' ? undefined : text),
    format: (path) => path ?? '',
  };
}

/** Makers of parameters, each with its default and a description for `emu run FILE --help`. */
export const param = { bytes, int, number, choice, string, flag, file } as const;

const within = (value: number, min: number, max: number): number | undefined =>
  value >= min && value <= max ? value : undefined;

function range({ min, max }: Limits): string {
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`;
  if (min !== undefined) return ` of at least ${min}`;
  return max === undefined ? '' : ` of at most ${max}`;
}

function ownByteSize(value: number | string): number {
  const bytes = typeof value === 'number' ? value : (parseByteSize(value) ?? Number.NaN);
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw new EmuError('SCENARIO', `parameter: expected a size in bytes, got '${value}'`);
}

/** @throws SCENARIO when a parameter does not accept its own default. */
function checked<T extends ParamValue>(made: Param<T>): Param<T> {
  const text = made.format(made.default);
  if (made.parse(text) === made.default) return made;
  throw new EmuError(
    'SCENARIO',
    `parameter '${made.description}': expected a default that is ${made.expected}, got '${text}'`,
  );
}
