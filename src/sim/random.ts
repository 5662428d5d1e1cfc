/**
 * Seeded random streams by name: integer arithmetic only, so every engine draws the same numbers.
 * The generator is sfc32; a stream is seeded from a hash of its name and the run's seed.
 * @module
 */
import { invariant } from '#emu/base/errors.ts';

const WORD = 2 ** 32;
const SPAN = 2 ** 52;
/** Draws thrown away after seeding, so that near seeds part. */
const WARM_UP = 12;

export class Random {
  #a: number;
  #b: number;
  #c: number;
  #count = 1;

  /** The stream of `name` under `seed`; other names give independent streams. */
  constructor(seed: number, name: string) {
    const text = `${seed}/${name}`;
    this.#a = hash(text, 0x811c_9dc5);
    this.#b = hash(text, 0x2545_f491);
    this.#c = hash(text, 0x9e37_79b9);
    for (let i = 0; i < WARM_UP; i++) this.u32();
  }

  /** 0 to 2^32 - 1. */
  u32(): number {
    const result = (this.#a + this.#b + this.#count) | 0;
    this.#count = (this.#count + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** Every integer from 0 to `limit` - 1 equally often; `limit` is 1 to 2^52. @throws INVARIANT */
  below(limit: number): number {
    invariant(Number.isInteger(limit) && limit >= 1 && limit <= SPAN, `random below ${limit}`);
    if (limit > WORD) return this.#belowWide(limit);
    const last = WORD - (WORD % limit);
    let value = this.u32();
    while (value >= last) value = this.u32();
    return value % limit;
  }

  /** Fills `bytes` with random ones. */
  fill(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const whole = bytes.byteLength - (bytes.byteLength % 4);
    for (let at = 0; at < whole; at += 4) view.setUint32(at, this.u32(), true);
    if (whole === bytes.byteLength) return;
    const rest = this.u32();
    for (let at = whole; at < bytes.byteLength; at++) bytes[at] = rest >>> (8 * (at - whole));
  }

  #belowWide(limit: number): number {
    const last = SPAN - (SPAN % limit);
    for (;;) {
      const value = (this.u32() >>> 12) * WORD + this.u32();
      if (value < last) return value % limit;
    }
  }
}

/** FNV-1a over UTF-16 code units, then a finaliser that spreads every input bit. */
function hash(text: string, start: number): number {
  let h = start;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x0100_0193);
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return h ^ (h >>> 16);
}
