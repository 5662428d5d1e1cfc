/**
 * The one block of bytes behind all simulated memory: reserved whole, never grown, since growing detaches every view.
 * Handed out in chunks; what lies in them is the business of `sparse-memory.ts`.
 * @module
 */
import { EmuError, invariant } from '#emu/base/errors.ts';
import { hex } from '#emu/base/units.ts';
import { bulkModule } from './bulk-module.ts';

/** What is used of WebAssembly; the language's library does not declare it. */
interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
interface BulkExports {
  readonly copy: (dst: number, src: number, sizeBytes: number) => void;
  readonly fill: (at: number, byte: number, sizeBytes: number) => void;
  readonly digest: (state: number, at: number, end: number) => void;
}
declare const WebAssembly: {
  readonly Memory: new (limits: { initial: number; maximum: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: { emu: { memory: WasmMemory } },
  ) => { readonly exports: BulkExports };
};

/** Offset of a 4 KiB frame that always reads as zeros: the first of the chunk that is never handed out. */
export const ZERO_FRAME = 0;
/** Bytes of one chunk. */
export const CHUNK_SIZE: number = 2 ** 21;
const WASM_PAGE = 65536;
const LARGEST = 2 ** 32;
const SMALLEST = 2 ** 26;

/** Reserves `sizeBytes`, or the largest half, quarter ... of it that the system grants. */
function reserve(sizeBytes: number): WasmMemory {
  const pages = sizeBytes / WASM_PAGE;
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch (cause) {
    if (sizeBytes > SMALLEST) return reserve(sizeBytes / 2);
    const message = `cannot reserve ${hex(sizeBytes)} bytes of address space`;
    throw new EmuError('NO_MEMORY', message, { sizeBytes }, { cause });
  }
}

/** A reserved block with its views. Offsets reach 2^32, so they are numbers, never 32-bit integers. */
export class Arena {
  readonly sizeBytes: number;
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  readonly view: DataView;
  /** Copies inside the arena, overlap allowed: about 5 ns for 64 bytes, a third of `copyWithin`. */
  readonly copy: (dst: number, src: number, sizeBytes: number) => void;
  /** Sets bytes to one value. */
  readonly fill: (at: number, byte: number, sizeBytes: number) => void;
  /** Folds bytes `at` to `end` (a positive multiple of 32) into the 32 bytes of digest at `state`. */
  readonly digest: (state: number, at: number, end: number) => void;
  /** Chunks given back. The last is taken first: it may still be cached. */
  readonly #returned: number[] = [];
  /** By chunk: bytes to zero before it is taken again. */
  readonly #dirtyBytes: Uint32Array;
  readonly #isTaken: Uint8Array;
  /** Offset of the first chunk never taken. Chunk 0 is kept back, so that no frame has number 0. */
  #fresh = CHUNK_SIZE;
  #takenChunks = 0;

  constructor(sizeBytes: number = LARGEST) {
    const memory = reserve(sizeBytes);
    this.sizeBytes = memory.buffer.byteLength;
    this.u8 = new Uint8Array(memory.buffer);
    this.i32 = new Int32Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.#isTaken = new Uint8Array(this.sizeBytes / CHUNK_SIZE);
    this.#dirtyBytes = new Uint32Array(this.sizeBytes / CHUNK_SIZE);
    const module = new WebAssembly.Module(bulkModule());
    const { copy, fill, digest } = new WebAssembly.Instance(module, { emu: { memory } }).exports;
    this.copy = copy;
    this.fill = fill;
    this.digest = digest;
  }

  /** Chunks taken and not given back. */
  get takenChunks(): number {
    return this.#takenChunks;
  }

  /** Offset of a zeroed chunk of {@link CHUNK_SIZE} bytes. @throws NO_MEMORY */
  takeChunk(): number {
    const offset = this.#returned.pop() ?? this.#takeFresh();
    const chunk = offset / CHUNK_SIZE;
    this.fill(offset, 0, this.#dirtyBytes[chunk]!);
    this.#isTaken[chunk] = 1;
    this.#takenChunks++;
    return offset;
  }

  /**
   * Gives a chunk back of which at most the first `dirtyBytes` were written: only those are zeroed, and
   * so made resident, when it is taken again. @throws INVARIANT when it is not taken
   */
  giveChunk(offset: number, dirtyBytes: number = CHUNK_SIZE): void {
    const chunk = offset / CHUNK_SIZE;
    invariant(this.#isTaken[chunk] === 1, `chunk ${hex(offset)} is given back but not taken`);
    this.#isTaken[chunk] = 0;
    this.#dirtyBytes[chunk] = dirtyBytes;
    this.#takenChunks--;
    this.#returned.push(offset);
  }

  #takeFresh(): number {
    const offset = this.#fresh;
    if (offset + CHUNK_SIZE <= this.sizeBytes) {
      this.#fresh = offset + CHUNK_SIZE;
      return offset;
    }
    throw new EmuError(
      'NO_MEMORY',
      `simulated memory is exhausted: ${this.#takenChunks} chunks of 2 MiB are in use (dispose machines that are no longer needed)`,
      { takenChunks: this.#takenChunks },
    );
  }
}

/** The arena of this process. */
export const arena: Arena = new Arena();
