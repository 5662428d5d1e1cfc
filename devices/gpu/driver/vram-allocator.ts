/**
 * Hands out VRAM by offset: first fit, neighbouring free pieces joined again.
 * @module
 */
import { invariant, usage } from '#emu/base/errors.ts';
import { alignUp, hex, PAGE_SIZE } from '#emu/base/units.ts';

interface Span {
  readonly offset: number;
  readonly sizeBytes: number;
}

export class VramAllocator {
  /** By offset; no two touch. */
  #free: Span[];
  readonly #taken = new Map<number, number>();

  constructor(sizeBytes: number) {
    this.#free = [{ offset: 0, sizeBytes }];
  }

  get freeBytes(): number {
    return this.#free.reduce((sum, span) => sum + span.sizeBytes, 0);
  }

  /** Offset of whole pages, `alignBytes` a power of two. @throws USAGE when no piece is large enough */
  allocate(sizeBytes: number, alignBytes: number = PAGE_SIZE): number {
    const size = alignUp(Math.max(sizeBytes, 1), PAGE_SIZE);
    const align = Math.max(alignBytes, PAGE_SIZE);
    const index = this.#free.findIndex(
      (span) => alignUp(span.offset, align) + size <= span.offset + span.sizeBytes,
    );
    const span = this.#free[index];
    if (!span) {
      const largest = this.#free.reduce((most, { sizeBytes: room }) => Math.max(most, room), 0);
      throw usage(`VRAM: expected at most ${largest} bytes, the largest free piece; got ${size}`);
    }
    const offset = alignUp(span.offset, align);
    const rest = [
      { offset: span.offset, sizeBytes: offset - span.offset },
      { offset: offset + size, sizeBytes: span.offset + span.sizeBytes - offset - size },
    ];
    this.#free.splice(index, 1, ...rest.filter((piece) => piece.sizeBytes > 0));
    this.#taken.set(offset, size);
    return offset;
  }

  /** Takes back what {@link allocate} returned. @throws INVARIANT for anything else */
  free(offset: number): void {
    const sizeBytes = this.#taken.get(offset);
    invariant(sizeBytes !== undefined, `VRAM at ${hex(offset)} is freed but not allocated`);
    this.#taken.delete(offset);
    const pieces = [...this.#free, { offset, sizeBytes }].sort((a, b) => a.offset - b.offset);
    this.#free = pieces.reduce<Span[]>((joined, piece) => {
      const last = joined.at(-1);
      if (last === undefined || last.offset + last.sizeBytes !== piece.offset) joined.push(piece);
      else joined[joined.length - 1] = { ...last, sizeBytes: last.sizeBytes + piece.sizeBytes };
      return joined;
    }, []);
  }
}
