/**
 * Declared binary layouts: little-endian fields over a DataView and bit ranges of a register.
 * Offsets are in bytes; a field knows nothing of the structure it stands in.
 * @module
 */
import { ADDR_LIMIT, hex } from './units.ts';

export class U8 {
  readonly at: number;
  constructor(at: number) {
    this.at = at;
  }
  get(view: DataView, base: number): number {
    return view.getUint8(base + this.at);
  }
  set(view: DataView, base: number, value: number): void {
    view.setUint8(base + this.at, value);
  }
}

export class U16 {
  readonly at: number;
  constructor(at: number) {
    this.at = at;
  }
  get(view: DataView, base: number): number {
    return view.getUint16(base + this.at, true);
  }
  set(view: DataView, base: number, value: number): void {
    view.setUint16(base + this.at, value, true);
  }
}

export class U32 {
  readonly at: number;
  constructor(at: number) {
    this.at = at;
  }
  get(view: DataView, base: number): number {
    return view.getUint32(base + this.at, true);
  }
  set(view: DataView, base: number, value: number): void {
    view.setUint32(base + this.at, value, true);
  }
}

/** What {@link U64.get} returns for a stored value of 2^52 or more: guest data, so a value, not an exception. */
export const TOO_LARGE = -1;

/** 64-bit field whose useful values lie below 2^52: addresses, sizes, block numbers. */
export class U64<A extends number = number> {
  readonly at: number;
  constructor(at: number) {
    this.at = at;
  }
  /** The value, or {@link TOO_LARGE}. */
  get(view: DataView, base: number): A {
    const hi = view.getUint32(base + this.at + 4, true);
    if (hi >= 0x10_0000) return TOO_LARGE as A;
    return (view.getUint32(base + this.at, true) + hi * 0x1_0000_0000) as A;
  }
  /** @throws RangeError for a value outside 0 to 2^52 - 1. */
  set(view: DataView, base: number, value: A): void {
    if (value < 0 || value >= ADDR_LIMIT) throw new RangeError(`64-bit field: ${hex(value)}`);
    view.setUint32(base + this.at, value >>> 0, true);
    view.setUint32(base + this.at + 4, Math.floor(value / 0x1_0000_0000), true);
  }
}

/** Bits `hi..lo` of a 32-bit register, in the specification's notation. */
export class Bits {
  readonly shift: number;
  /** Mask of the value after shifting down. */
  readonly max: number;
  constructor(hi: number, lo: number = hi) {
    this.shift = lo;
    this.max = hi - lo === 31 ? 0xffff_ffff : 2 ** (hi - lo + 1) - 1;
  }
  /** Mask of the field in place. */
  get mask(): number {
    return (this.max << this.shift) >>> 0;
  }
  get(register: number): number {
    return ((register >>> this.shift) & this.max) >>> 0;
  }
  /** `register` with the field replaced by `value`; extra bits of `value` are dropped. */
  put(register: number, value: number): number {
    return ((register & ~(this.max << this.shift)) | ((value & this.max) << this.shift)) >>> 0;
  }
  /** The field alone, in place. */
  of(value: number): number {
    return ((value & this.max) << this.shift) >>> 0;
  }
}
