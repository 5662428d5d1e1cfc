/**
 * A block of little-endian registers kept as bytes, with write masks: partial, unaligned and spanning
 * accesses are resolved here and nowhere else. Side effects belong to the owner, told through `onWrite`.
 * @module
 */
import { invariant } from './errors.ts';
import { hex } from './units.ts';

/** One row of a register table. Masks of 64-bit registers are given as two rows of 32 bits. */
export interface RegisterSpec {
  /** The specification's mnemonic. */
  readonly name: string;
  /** Byte offset in the block, naturally aligned. */
  readonly offset: number;
  /** Width in bits. */
  readonly width: 8 | 16 | 32;
  readonly reset?: number;
  /** Bits that take the written value. */
  readonly writable?: number;
  /** Bits that a written one clears. */
  readonly w1c?: number;
}

/** Called once per touched register after an access changed or could have changed it. */
export type RegisterWritten = (register: RegisterSpec, previous: number) => void;

export class RegisterFile {
  readonly sizeBytes: number;
  /** Current values; the owner may read and set them directly. */
  readonly view: DataView;
  readonly #bytes: Uint8Array;
  readonly #writable: Uint8Array;
  readonly #w1c: Uint8Array;
  /** Register at each byte, for finding those that an access touches. */
  readonly #owner: (RegisterSpec | undefined)[];
  readonly #registers: RegisterSpec[] = [];
  onWrite: RegisterWritten | null = null;

  constructor(sizeBytes: number, table: readonly RegisterSpec[] = []) {
    this.sizeBytes = sizeBytes;
    this.#bytes = new Uint8Array(sizeBytes);
    this.view = new DataView(this.#bytes.buffer);
    this.#writable = new Uint8Array(sizeBytes);
    this.#w1c = new Uint8Array(sizeBytes);
    this.#owner = new Array<RegisterSpec | undefined>(sizeBytes).fill(undefined);
    for (const register of table) this.define(register);
  }

  /** Adds a register and gives it its reset value. @throws INVARIANT on overlap or misalignment. */
  define(register: RegisterSpec): void {
    const size = register.width >> 3;
    const { offset } = register;
    invariant(
      offset % size === 0 && offset + size <= this.sizeBytes,
      `register ${register.name} at ${hex(offset)} does not fit a block of ${hex(this.sizeBytes)}`,
    );
    for (let i = 0; i < size; i++) {
      const other = this.#owner[offset + i];
      invariant(!other, `register ${register.name} overlaps ${other?.name} at ${hex(offset + i)}`);
      this.#owner[offset + i] = register;
      this.#writable[offset + i] = (register.writable ?? 0) >>> (8 * i);
      this.#w1c[offset + i] = (register.w1c ?? 0) >>> (8 * i);
    }
    this.#registers.push(register);
    this.set(register, register.reset ?? 0);
  }

  /** Puts every register back to its reset value, without telling `onWrite`. */
  reset(): void {
    for (const register of this.#registers) this.set(register, register.reset ?? 0);
  }

  get(register: RegisterSpec): number {
    if (register.width === 32) return this.view.getUint32(register.offset, true);
    if (register.width === 16) return this.view.getUint16(register.offset, true);
    return this.view.getUint8(register.offset);
  }

  /** Sets the value as hardware does, past the write masks. */
  set(register: RegisterSpec, value: number): void {
    if (register.width === 32) this.view.setUint32(register.offset, value, true);
    else if (register.width === 16) this.view.setUint16(register.offset, value, true);
    else this.view.setUint8(register.offset, value);
  }

  /** Changes which bits of the register at `offset` are writable; those that no longer are go back to their reset. */
  remask(offset: number, writable: number): void {
    const register = this.#owner[offset];
    invariant(register?.offset === offset, `no register at ${hex(offset)}`);
    for (let i = 0; i < register.width >> 3; i++) {
      this.#writable[offset + i] = writable >>> (8 * i);
    }
    this.set(register, (this.get(register) & writable) | ((register.reset ?? 0) & ~writable));
  }

  /** Copies `size` bytes out; bytes beyond the block read as zero. */
  read(offset: number, size: number, out: DataView, at: number): void {
    for (let i = 0; i < size; i++) out.setUint8(at + i, this.#bytes[offset + i] ?? 0);
  }

  /** Applies `size` written bytes through the masks; bytes beyond the block are ignored. */
  write(offset: number, size: number, data: DataView, at: number): void {
    const limit = Math.min(offset + size, this.sizeBytes);
    for (let byte = offset; byte < limit; ) {
      const register = this.#owner[byte];
      if (!register) {
        byte++;
        continue;
      }
      const end = Math.min(limit, register.offset + (register.width >> 3));
      const previous = this.get(register);
      for (; byte < end; byte++) this.#writeByte(byte, data.getUint8(at + byte - offset));
      this.onWrite?.(register, previous);
    }
  }

  #writeByte(byte: number, value: number): void {
    const writable = this.#writable[byte] ?? 0;
    const cleared = value & (this.#w1c[byte] ?? 0);
    const old = this.#bytes[byte] ?? 0;
    this.#bytes[byte] = ((old & ~writable) | (value & writable)) & ~cleared;
  }
}
