/**
 * Simulated memory: any size to 2^52 bytes, of which only the 4 KiB pages once written are resident.
 * A page never written is a hole and reads zero. Bytes live in the arena; values are little-endian.
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { TOO_LARGE } from '#emu/base/layout.ts';
import { ADDR_LIMIT, hex, hi32, PAGE_SIZE, pageOffset, u64 } from '#emu/base/units.ts';
import { arena } from './arena.ts';
import { copyBytes } from './copy-bytes.ts';
import { FramePool } from './frame-pool.ts';
import { PageTable } from './page-table.ts';

const { u8, view, fill } = arena;
const HI_LIMIT = hi32(ADDR_LIMIT);
/** {@link SparseMemory.frame} of a hole. */
const HOLE = -1;

export class SparseMemory {
  readonly sizeBytes: number;
  /** For errors. */
  readonly name: string;
  readonly #table: PageTable;
  readonly #frames = new FramePool();

  /** @throws ADDR_RANGE for a size that is no integer of 0 to 2^52 */
  constructor(sizeBytes: number, name: string) {
    if (!(Number.isInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= ADDR_LIMIT)) {
      throw new EmuError('ADDR_RANGE', `${name}: size ${sizeBytes}, expected 0 to 2^52 bytes`);
    }
    this.sizeBytes = sizeBytes;
    this.name = name;
    this.#table = new PageTable(sizeBytes);
  }

  /** Bytes of pages that are not holes. */
  get residentBytes(): number {
    return this.#frames.count * PAGE_SIZE;
  }

  /** Arena offset of the frame that holds the page of `address`, or -1 for a hole. @throws ADDR_RANGE */
  frame(address: number): number {
    this.#check(address, 1);
    const frame = this.#table.get(address);
    return frame === 0 ? HOLE : frame * PAGE_SIZE;
  }

  /** As {@link frame}, giving a hole a zeroed frame first. @throws ADDR_RANGE, NO_MEMORY */
  ensureFrame(address: number): number {
    this.#check(address, 1);
    return this.#ensure(address) * PAGE_SIZE;
  }

  /** Copies from the arena into this memory. @throws ADDR_RANGE, NO_MEMORY */
  copyIn(address: number, arenaOffset: number, sizeBytes: number): void {
    this.#check(address, sizeBytes);
    // Most copies stay in one page: without a loop they take a third less time.
    if (isOnePage(address, sizeBytes)) this.#pieceIn(address, arenaOffset, sizeBytes);
    else this.#piecesIn(address, arenaOffset, sizeBytes);
  }

  /** Copies from this memory to the arena; holes give zeros. @throws ADDR_RANGE */
  copyOut(address: number, arenaOffset: number, sizeBytes: number): void {
    this.#check(address, sizeBytes);
    if (isOnePage(address, sizeBytes)) this.#pieceOut(address, arenaOffset, sizeBytes);
    else this.#piecesOut(address, arenaOffset, sizeBytes);
  }

  /** Fills `into` from `address` on. @throws ADDR_RANGE */
  read(address: number, into: Uint8Array): void {
    this.#check(address, into.length);
    for (let done = 0; done < into.length; ) {
      const size = pieceSize(address + done, into.length - done);
      const frame = this.#table.get(address + done);
      const from = frame * PAGE_SIZE + pageOffset(address + done);
      if (frame === 0) into.fill(0, done, done + size);
      else into.set(u8.subarray(from, from + size), done);
      done += size;
    }
  }

  /** Writes all of `bytes` from `address` on. @throws ADDR_RANGE, NO_MEMORY */
  write(address: number, bytes: Uint8Array): void {
    this.#check(address, bytes.length);
    for (let done = 0; done < bytes.length; ) {
      const size = pieceSize(address + done, bytes.length - done);
      const to = this.#ensure(address + done) * PAGE_SIZE + pageOffset(address + done);
      u8.set(bytes.subarray(done, done + size), to);
      done += size;
    }
  }

  getU8(address: number): number {
    this.#check(address, 1);
    const frame = this.#table.get(address);
    return frame === 0 ? 0 : u8[frame * PAGE_SIZE + pageOffset(address)]!;
  }

  setU8(address: number, value: number): void {
    this.#check(address, 1);
    u8[this.#ensure(address) * PAGE_SIZE + pageOffset(address)] = value;
  }

  getU16(address: number): number {
    if (pageOffset(address) > PAGE_SIZE - 2) {
      return this.getU8(address) | (this.getU8(address + 1) << 8);
    }
    this.#check(address, 2);
    const frame = this.#table.get(address);
    return frame === 0 ? 0 : view.getUint16(frame * PAGE_SIZE + pageOffset(address), true);
  }

  setU16(address: number, value: number): void {
    this.#check(address, 2);
    if (pageOffset(address) > PAGE_SIZE - 2) {
      this.setU8(address, value);
      this.setU8(address + 1, value >>> 8);
    } else view.setUint16(this.#ensure(address) * PAGE_SIZE + pageOffset(address), value, true);
  }

  getU32(address: number): number {
    if (pageOffset(address) > PAGE_SIZE - 4) {
      return (this.getU16(address) | (this.getU16(address + 2) << 16)) >>> 0;
    }
    this.#check(address, 4);
    const frame = this.#table.get(address);
    return frame === 0 ? 0 : view.getUint32(frame * PAGE_SIZE + pageOffset(address), true);
  }

  setU32(address: number, value: number): void {
    this.#check(address, 4);
    if (pageOffset(address) > PAGE_SIZE - 4) {
      this.setU16(address, value);
      this.setU16(address + 2, value >>> 16);
    } else view.setUint32(this.#ensure(address) * PAGE_SIZE + pageOffset(address), value, true);
  }

  /** A 64-bit value, or `TOO_LARGE` for one of 2^52 or more. @throws ADDR_RANGE */
  getU64(address: number): number {
    if (pageOffset(address) > PAGE_SIZE - 8) {
      return joinU64(this.getU32(address), this.getU32(address + 4));
    }
    this.#check(address, 8);
    const frame = this.#table.get(address);
    if (frame === 0) return 0;
    const at = frame * PAGE_SIZE + pageOffset(address);
    return joinU64(view.getUint32(at, true), view.getUint32(at + 4, true));
  }

  /** @throws RangeError for a value outside 0 to 2^52 - 1, ADDR_RANGE, NO_MEMORY */
  setU64(address: number, value: number): void {
    if (!(value >= 0 && value < ADDR_LIMIT)) throw new RangeError(`64-bit value: ${hex(value)}`);
    this.#check(address, 8);
    this.setU32(address, value >>> 0);
    this.setU32(address + 4, hi32(value));
  }

  /** Sets bytes to one value; zeros leave holes as they are. @throws ADDR_RANGE, NO_MEMORY */
  fill(address: number, sizeBytes: number, byte: number): void {
    this.#check(address, sizeBytes);
    const end = address + sizeBytes;
    for (let at = address; at < end; ) {
      const size = pieceSize(at, end - at);
      const isHole = this.#table.get(at) === 0;
      if (isHole && byte === 0) {
        at = this.#table.next(at);
        continue;
      }
      fill(this.#ensure(at) * PAGE_SIZE + pageOffset(at), byte, size);
      at += size;
    }
  }

  /** Makes whole pages of the range holes and zeroes the rest of it. @throws ADDR_RANGE */
  discard(address: number, sizeBytes: number): void {
    this.#check(address, sizeBytes);
    const end = address + sizeBytes;
    for (let at = address; at < end; at = this.#table.next(at))
      this.#clear(at, pieceSize(at, end - at));
  }

  /** Makes everything a hole and gives the chunks back to the arena. */
  dispose(): void {
    this.#table.clear();
    this.#frames.dispose();
  }

  /** Copies a piece inside one page of each side. A hole stays one, and clears what it is copied to. */
  copyPiece(address: number, from: SparseMemory, fromAddress: number, sizeBytes: number): void {
    const source = from.#table.get(fromAddress);
    if (source === 0) {
      this.#clear(address, sizeBytes);
      return;
    }
    const to = this.#ensure(address) * PAGE_SIZE + pageOffset(address);
    copyBytes(to, source * PAGE_SIZE + pageOffset(fromAddress), sizeBytes);
  }

  /** @throws ADDR_RANGE unless the range lies in this memory */
  checkRange(address: number, sizeBytes: number): void {
    this.#check(address, sizeBytes);
  }

  #pieceIn(address: number, arenaOffset: number, sizeBytes: number): void {
    copyBytes(this.#ensure(address) * PAGE_SIZE + pageOffset(address), arenaOffset, sizeBytes);
  }

  #piecesIn(address: number, arenaOffset: number, sizeBytes: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const size = pieceSize(address + done, sizeBytes - done);
      this.#pieceIn(address + done, arenaOffset + done, size);
      done += size;
    }
  }

  #pieceOut(address: number, arenaOffset: number, sizeBytes: number): void {
    const frame = this.#table.get(address);
    if (frame === 0) fill(arenaOffset, 0, sizeBytes);
    else copyBytes(arenaOffset, frame * PAGE_SIZE + pageOffset(address), sizeBytes);
  }

  #piecesOut(address: number, arenaOffset: number, sizeBytes: number): void {
    for (let done = 0; done < sizeBytes; ) {
      const size = pieceSize(address + done, sizeBytes - done);
      this.#pieceOut(address + done, arenaOffset + done, size);
      done += size;
    }
  }

  #check(address: number, sizeBytes: number): void {
    if (address >= 0 && sizeBytes >= 0 && address + sizeBytes <= this.sizeBytes) return;
    throw new EmuError(
      'ADDR_RANGE',
      `${this.name}: ${hex(sizeBytes)} bytes at ${hex(address)} are outside its ${hex(this.sizeBytes)} bytes`,
      { memory: this.name, address, sizeBytes },
    );
  }

  /** Frame number of a page, taken now when it is a hole. */
  #ensure(address: number): number {
    const frame = this.#table.get(address);
    return frame === 0 ? this.#take(address) : frame;
  }

  #take(address: number): number {
    const frame = this.#frames.take();
    this.#table.set(address, frame);
    return frame;
  }

  /** Zeroes a piece of one page; a whole page becomes a hole. */
  #clear(address: number, sizeBytes: number): void {
    const frame = this.#table.get(address);
    if (frame === 0) return;
    if (sizeBytes === PAGE_SIZE) {
      this.#table.set(address, 0);
      this.#frames.give(frame);
    } else fill(frame * PAGE_SIZE + pageOffset(address), 0, sizeBytes);
  }
}

const joinU64 = (lo: number, hi: number): number => (hi >= HI_LIMIT ? TOO_LARGE : u64(lo, hi));

/** Whether a range of at least one byte lies in one page. */
const isOnePage = (address: number, sizeBytes: number): boolean =>
  sizeBytes > 0 && pageOffset(address) + sizeBytes <= PAGE_SIZE;

/** Bytes from `address` to the end of its page, at most `left`. */
const pieceSize = (address: number, left: number): number =>
  Math.min(left, PAGE_SIZE - pageOffset(address));

/**
 * Copies between memories, holes staying holes. Ranges of one memory must not overlap.
 * @throws ADDR_RANGE, NO_MEMORY
 */
export function copyMemory(
  dst: SparseMemory,
  dstAddress: number,
  src: SparseMemory,
  srcAddress: number,
  sizeBytes: number,
): void {
  dst.checkRange(dstAddress, sizeBytes);
  src.checkRange(srcAddress, sizeBytes);
  if (isOnePage(dstAddress, sizeBytes) && isOnePage(srcAddress, sizeBytes)) {
    dst.copyPiece(dstAddress, src, srcAddress, sizeBytes);
    return;
  }
  for (let done = 0; done < sizeBytes; ) {
    const size = pieceSize(dstAddress + done, pieceSize(srcAddress + done, sizeBytes - done));
    dst.copyPiece(dstAddress + done, src, srcAddress + done, size);
    done += size;
  }
}
