/**
 * Files of list-mapping vectors: what is to be mapped under which limits, and what must come out. Parsing and
 * its complaints only. The format is described in docs/conform.md. [DMAAPI]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { ADDR_LIMIT, PAGE_SIZE } from '#emu/base/units.ts';

const KINDS = ['host', 'bus', 'bridge', 'refused'] as const;
export type SegmentKind = (typeof KINDS)[number];

export interface VectorSegment {
  readonly kind: SegmentKind;
  readonly addr: number;
  readonly len: number;
}

/** A range of the result: a bus address, or an offset from the start of the I/O virtual addresses. */
export type VectorRange =
  | { readonly bus: false; readonly iovaOffset: number; readonly len: number }
  | { readonly bus: true; readonly addr: number; readonly len: number };

export type VectorOutcome =
  | { readonly iovaBytes: number; readonly ranges: readonly VectorRange[] }
  | { readonly error: string };

export interface ListVector {
  readonly id: string;
  readonly granule: number;
  /** Segments must not cross multiples of it: the mask of the file plus 1. */
  readonly boundaryBytes: number;
  readonly maxSegment: number;
  readonly in: readonly VectorSegment[];
  readonly expect: VectorOutcome;
}

/** Exclusive bound of addresses in a file, far above any host's memory. */
const VECTOR_LIMIT = 2 ** 50;
const DEFAULT_BOUNDARY_MASK = 0xffff_ffff;
const MAX_GRANULE = 2 ** 30;

const VECTOR_KEYS = ['id', 'granule', 'boundaryMask', 'maxSegment', 'in', 'expect', 'note'];
const REFUSALS = ['EREMOTEIO', 'ENOMEM', 'EINVAL', 'EIO', 'EPERM', 'ENODEV', 'EOPNOTSUPP'];

type Fields = Readonly<Record<string, unknown>>;

/** The vectors of a parsed JSON file. @throws USAGE that names the place, what was expected and what was got */
export function listVectors(json: unknown): readonly ListVector[] {
  const { vectors } = fields(json, 'the file', ['vectors']);
  const list = arrayOf(vectors, 'vectors');
  if (list.length === 0) throw wrong('vectors', 'at least one vector', vectors);
  return list.map((each, i) => vector(each, `vectors[${i}]`));
}

function vector(json: unknown, at: string): ListVector {
  const source = fields(json, at, VECTOR_KEYS);
  const { id } = source;
  if (typeof id !== 'string' && typeof id !== 'number') {
    throw wrong(`${at}.id`, 'a string or a number', id);
  }
  const granule = powerOfTwo(source.granule ?? PAGE_SIZE, `${at}.granule`, PAGE_SIZE, MAX_GRANULE);
  const mask = number(source.boundaryMask ?? DEFAULT_BOUNDARY_MASK, `${at}.boundaryMask`);
  const boundaryBytes = Math.min(mask + 1, ADDR_LIMIT);
  powerOfTwo(boundaryBytes, `${at}.boundaryMask plus 1`, granule, ADDR_LIMIT);
  const maxSegment = number(source.maxSegment ?? ADDR_LIMIT, `${at}.maxSegment`);
  if (maxSegment === 0) throw wrong(`${at}.maxSegment`, 'a positive number', source.maxSegment);
  const segments = arrayOf(source.in, `${at}.in`);
  return {
    id: String(id),
    granule,
    boundaryBytes,
    maxSegment,
    in: segments.map((each, i) => segment(each, `${at}.in[${i}]`)),
    expect: outcome(source.expect, `${at}.expect`),
  };
}

function segment(json: unknown, at: string): VectorSegment {
  const { kind, addr, len } = fields(json, at, ['kind', 'addr', 'len']);
  const known = KINDS.find((each) => each === kind);
  if (known === undefined) throw wrong(`${at}.kind`, `one of ${KINDS.join(', ')}`, kind);
  const start = number(addr, `${at}.addr`);
  const length = number(len, `${at}.len`);
  if (length === 0) throw wrong(`${at}.len`, 'a positive number of bytes', len);
  if (start + length > VECTOR_LIMIT) throw wrong(`${at}.addr`, 'an end of at most 2^50', addr);
  return { kind: known, addr: start, len: length };
}

function outcome(json: unknown, at: string): VectorOutcome {
  const { error, iovaBytes, ranges } = fields(json, at, ['error', 'iovaBytes', 'ranges']);
  if (error !== undefined) {
    const name = typeof error === 'string' ? error.replace(/^-/, '') : '';
    if (REFUSALS.includes(name)) return { error: name };
    throw wrong(`${at}.error`, `one of ${REFUSALS.join(', ')}`, error);
  }
  return {
    iovaBytes: number(iovaBytes, `${at}.iovaBytes`),
    ranges: arrayOf(ranges, `${at}.ranges`).map((each, i) => range(each, `${at}.ranges[${i}]`)),
  };
}

function range(json: unknown, at: string): VectorRange {
  const { bus, iovaOffset, addr, len } = fields(json, at, ['bus', 'iovaOffset', 'addr', 'len']);
  if (bus !== undefined && typeof bus !== 'boolean') throw wrong(`${at}.bus`, 'a boolean', bus);
  const length = number(len, `${at}.len`);
  return bus === true
    ? { bus, addr: number(addr, `${at}.addr`), len: length }
    : { bus: false, iovaOffset: number(iovaOffset, `${at}.iovaOffset`), len: length };
}

function fields(json: unknown, at: string, keys: readonly string[]): Fields {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw wrong(at, 'an object', json);
  }
  for (const key of Object.keys(json)) {
    if (!keys.includes(key)) throw wrong(at, `only ${keys.join(', ')}`, key);
  }
  return { ...json };
}

function arrayOf(json: unknown, at: string): readonly unknown[] {
  if (Array.isArray(json)) return json;
  throw wrong(at, 'an array', json);
}

/** A number, or a string of one such as `0x10000`. */
function number(json: unknown, at: string): number {
  const isText = typeof json === 'string' && /^(0x[0-9a-f]+|\d+)$/i.test(json);
  const value = isText ? Number(json) : json;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
  throw wrong(at, 'a non-negative integer', json);
}

function powerOfTwo(json: unknown, at: string, least: number, most: number): number {
  const value = number(json, at);
  let power = least;
  while (power < value && power < most) power *= 2;
  if (power === value) return value;
  throw wrong(at, `a power of two from ${least} to ${most}`, json);
}

const wrong = (at: string, expected: string, got: unknown) =>
  usage(`${at}: expected ${expected}, got ${JSON.stringify(got) ?? 'nothing'}`, { at });
