/**
 * The running 64-bit digest of everything delivered: equal digests mean equal runs. Not a cryptographic hash.
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import { DIGEST_BYTES } from '#emu/memory/bulk-module.ts';
import { type Tlp, TlpKind } from './tlp.ts';

const { view } = arena;
const PRIME_1 = 0x9e3779b1 | 0;
const PRIME_2 = 0x85ebca77 | 0;
const PRIME_3 = 0xc2b2ae3d | 0;
const PRIME_4 = 0x27d4eb2f | 0;
const PER_WORD = 2 ** -32;

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));
const hexWord = (x: number): string => (x >>> 0).toString(16).padStart(8, '0');

/** Integer arithmetic only, so the digest is the same on every engine. */
export class TraceHash {
  #a = PRIME_1;
  #b = PRIME_2;
  #count = 0;
  /** Four 64-bit lanes that take the payload, in the arena. */
  readonly #lanes: number;

  /** Deliveries folded in. */
  get count(): number {
    return this.#count;
  }

  readonly #clock: Float64Array;
  #sealed: string | null = null;

  /**
   * @param clock [now], ps
   * @param lanes arena offset of {@link DIGEST_BYTES} zeroed bytes that are this digest's own
   */
  constructor(clock: Float64Array, lanes: number) {
    this.#clock = clock;
    this.#lanes = lanes;
  }

  /** 16 hex digits. */
  get digest(): string {
    if (this.#sealed !== null) return this.#sealed;
    let a = this.#a;
    let b = this.#b;
    for (let at = 0; at < DIGEST_BYTES; at += 4) {
      a = Math.imul(rotate(a ^ view.getInt32(this.#lanes + at, true), 13), PRIME_3);
      b = Math.imul(rotate(b ^ a, 17), PRIME_4);
    }
    return hexWord(a ^ (a >>> 16)) + hexWord(b ^ (b >>> 16));
  }

  /** Keeps the digest as it is now: the lanes are about to be somebody else's. */
  seal(): void {
    this.#sealed = this.digest;
  }

  /** Folds one delivery in: what arrived where and when, without its payload. */
  deliver(component: number, tlp: Tlp): void {
    const time = this.#clock[0]!;
    const hasAddress = tlp.kind < TlpKind.Msg;
    const { address } = tlp;
    this.#count++;
    this.#word(time | 0);
    this.#word((time * PER_WORD) | 0);
    this.#word(hasAddress ? address | 0 : tlp.lowerAddress);
    this.#word(hasAddress ? (address * PER_WORD) | 0 : tlp.status);
    this.#word((component << 16) ^ (tlp.kind << 12) ^ tlp.tag);
    this.#word(tlp.sizeBytes);
  }

  /** Folds in `sizeBytes` at `offset` of the arena. */
  payload(offset: number, sizeBytes: number): void {
    const end = offset + sizeBytes;
    const blocksEnd = offset + (sizeBytes & -DIGEST_BYTES);
    if (blocksEnd > offset) arena.digest(this.#lanes, offset, blocksEnd);
    let at = blocksEnd;
    for (; at + 4 <= end; at += 4) this.#word(view.getInt32(at, true));
    for (; at < end; at++) this.#word(view.getUint8(at));
  }

  #word(x: number): void {
    this.#a = Math.imul(rotate(this.#a ^ x, 13), PRIME_1);
    this.#b = (Math.imul(this.#b, PRIME_2) + rotate(x ^ this.#a, 17)) | 0;
  }
}
