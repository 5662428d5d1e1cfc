/**
 * A drive's blocks in a file of the host, read and written in place. Zeros that stand for zeros are neither made
 * resident when read nor written into holes, so sparse files stay sparse on both sides.
 * @module
 */
import { Buffer } from 'node:buffer';
import { closeSync, fstatSync, fsyncSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { usage } from '#emu/base/errors.ts';
import { alignUp, PAGE_SIZE } from '#emu/base/units.ts';
import { type BlockStore, StoreStatus } from '#emu/memory/block-store.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';

export interface FileStoreOptions {
  /** Never writes the file and needs no permission to; default false. */
  readonly readOnly?: boolean;
  /** 512 or 4096, default 512. */
  readonly blockSizeBytes?: number;
  /** Size of the drive, rounded up to blocks; default the file's. What lies beyond the file reads as zeros. */
  readonly sizeBytes?: number;
}

const LARGEST_FILE = 2 ** 52;
/** Bytes moved by one system call. */
const CHUNK = 256 * 1024;
const ZEROS = Buffer.alloc(PAGE_SIZE);
const FULL = new Set(['ENOSPC', 'EFBIG', 'EDQUOT']);

/**
 * Opens the file at `path` as a store. A written file grows no further than its last byte that is not zero.
 * @throws USAGE for a path that is no readable (and, unless `readOnly`, writable) regular file, or one that
 * is larger than `sizeBytes`
 */
export function fileStore(path: string, options: FileStoreOptions = {}): BlockStore {
  const { readOnly = false, blockSizeBytes = 512 } = options;
  if (blockSizeBytes !== 512 && blockSizeBytes !== 4096) {
    throw usage(`blockSizeBytes: expected 512 or 4096, got ${blockSizeBytes}`);
  }
  const file = openFile(path, readOnly);
  const sizeBytes = options.sizeBytes ?? file.sizeBytes;
  if (sizeBytes < file.sizeBytes || sizeBytes > LARGEST_FILE) {
    closeSync(file.descriptor);
    throw usage(
      `${path}: expected a file of at most ${Math.min(sizeBytes, LARGEST_FILE)} bytes (the size of the drive), got ${file.sizeBytes}`,
      { key: path },
    );
  }
  return new FileStore(file, readOnly, blockSizeBytes, alignUp(sizeBytes, blockSizeBytes));
}

interface OpenFile {
  readonly descriptor: number;
  readonly sizeBytes: number;
}

function openFile(path: string, readOnly: boolean): OpenFile {
  const refuse = (got: string) => usage(`${path}: expected a file, got ${got}`, { key: path });
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw refuse('none: it does not exist');
  if (!found.isFile()) throw refuse(found.isDirectory() ? 'a folder' : 'something else');
  try {
    const descriptor = openSync(path, readOnly ? 'r' : 'r+');
    return { descriptor, sizeBytes: fstatSync(descriptor).size };
  } catch (error) {
    throw refuse(`one that cannot be ${readOnly ? 'read' : 'written'} (${codeOf(error)})`);
  }
}

class FileStore implements BlockStore {
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  readonly readOnly: boolean;
  readonly #descriptor: number;
  readonly #chunk: Buffer = Buffer.alloc(CHUNK);
  readonly #page: Buffer = Buffer.alloc(PAGE_SIZE);
  #fileBytes: number;
  #open = true;

  constructor(file: OpenFile, readOnly: boolean, blockSizeBytes: number, sizeBytes: number) {
    this.#descriptor = file.descriptor;
    this.#fileBytes = file.sizeBytes;
    this.readOnly = readOnly;
    this.blockSizeBytes = blockSizeBytes;
    this.blockCount = sizeBytes / blockSizeBytes;
  }

  read(block: number, count: number, into: SparseMemory, at: number): StoreStatus {
    if (!this.#holds(block, count)) return StoreStatus.ReadError;
    return this.#inChunks(block, count, StoreStatus.ReadError, (bytes, position, done) => {
      this.#readFully(bytes, position);
      for (let from = 0; from < bytes.length; ) {
        const address = at + done + from;
        const size = Math.min(bytes.length - from, PAGE_SIZE - (address % PAGE_SIZE));
        const piece = bytes.subarray(from, from + size);
        if (isZero(piece)) into.discard(address, size);
        else into.write(address, piece);
        from += size;
      }
    });
  }

  write(block: number, count: number, from: SparseMemory, at: number): StoreStatus {
    if (this.readOnly) return StoreStatus.ReadOnly;
    if (!this.#holds(block, count)) return StoreStatus.WriteError;
    return this.#inChunks(block, count, StoreStatus.WriteError, (bytes, position, done) => {
      from.read(at + done, bytes);
      this.#writeAround(bytes, position);
    });
  }

  flush(): StoreStatus {
    if (this.readOnly) return StoreStatus.Ok;
    return attempt(StoreStatus.WriteError, () => fsyncSync(this.#descriptor));
  }

  close(): void {
    if (this.#open) closeSync(this.#descriptor);
    this.#open = false;
  }

  #holds(block: number, count: number): boolean {
    return block >= 0 && count >= 0 && block + count <= this.blockCount;
  }

  /** Calls `move` for every chunk of a range of blocks with its place in the file and in the range. */
  #inChunks(
    block: number,
    count: number,
    failure: StoreStatus,
    move: (bytes: Buffer, position: number, done: number) => void,
  ): StoreStatus {
    const start = block * this.blockSizeBytes;
    const size = count * this.blockSizeBytes;
    return attempt(failure, () => {
      for (let done = 0; done < size; done += CHUNK) {
        move(this.#chunk.subarray(0, Math.min(CHUNK, size - done)), start + done, done);
      }
    });
  }

  /** Fills `bytes` from the file; what lies beyond its end is zero. */
  #readFully(bytes: Buffer, position: number): void {
    let done = 0;
    while (done < bytes.length) {
      const got = readSync(this.#descriptor, bytes, done, bytes.length - done, position + done);
      if (got === 0) break;
      done += got;
    }
    bytes.fill(0, done);
  }

  /** Writes `bytes` but for the pages of zeros where the file reads as zeros already. */
  #writeAround(bytes: Buffer, position: number): void {
    let runStart = 0;
    for (let from = 0; from < bytes.length; from += PAGE_SIZE) {
      const piece = bytes.subarray(from, from + PAGE_SIZE);
      if (!isZero(piece) || !this.#isZeroAt(position + from, piece.length)) continue;
      this.#writeRun(bytes.subarray(runStart, from), position + runStart);
      runStart = from + piece.length;
    }
    this.#writeRun(bytes.subarray(runStart), position + runStart);
  }

  #isZeroAt(position: number, size: number): boolean {
    if (position >= this.#fileBytes) return true;
    const existing = this.#page.subarray(0, size);
    this.#readFully(existing, position);
    return isZero(existing);
  }

  #writeRun(bytes: Buffer, position: number): void {
    let length = bytes.length;
    while (length > 0 && position + length > this.#fileBytes && bytes[length - 1] === 0) length--;
    for (let done = 0; done < length; ) {
      done += writeSync(this.#descriptor, bytes, done, length - done, position + done);
    }
    this.#fileBytes = Math.max(this.#fileBytes, position + length);
  }
}

/** Whether at most a page of bytes is zero. */
const isZero = (bytes: Buffer): boolean =>
  ZEROS.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;

/** Runs `work`; what the system refuses becomes a status. */
function attempt(failure: StoreStatus, work: () => void): StoreStatus {
  try {
    work();
    return StoreStatus.Ok;
  } catch (error) {
    const code = codeOf(error);
    if (code === null) throw error;
    return FULL.has(code) ? StoreStatus.OutOfSpace : failure;
  }
}

/** The code of a system error, or null for anything else. */
function codeOf(error: unknown): string | null {
  if (!(error instanceof Error && 'code' in error && 'syscall' in error)) return null;
  return String(error.code);
}
