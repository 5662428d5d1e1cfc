/**
 * The 4 KiB frames of one sparse memory, cut from arena chunks. A frame number times 4096 is its arena offset.
 * @module
 */
import { PAGE_SIZE } from '#emu/base/units.ts';
import { arena, CHUNK_SIZE } from './arena.ts';

const FRAMES_PER_CHUNK = CHUNK_SIZE / PAGE_SIZE;

export class FramePool {
  readonly #chunks: number[] = [];
  /** Frames given back, not zeroed. */
  readonly #returned: number[] = [];
  #next = 0;
  #end = 0;
  #count = 0;

  /** Frames in use. */
  get count(): number {
    return this.#count;
  }

  /** Number of a zeroed frame, never 0. @throws NO_MEMORY */
  take(): number {
    const used = this.#returned.pop();
    if (used !== undefined) {
      arena.fill(used * PAGE_SIZE, 0, PAGE_SIZE);
    } else if (this.#next === this.#end) {
      const chunk = arena.takeChunk();
      this.#chunks.push(chunk);
      this.#next = chunk / PAGE_SIZE;
      this.#end = this.#next + FRAMES_PER_CHUNK;
    }
    this.#count++;
    return used ?? this.#next++;
  }

  give(frame: number): void {
    this.#returned.push(frame);
    this.#count--;
  }

  /** Gives every chunk back; the pool is empty and usable again. */
  dispose(): void {
    const last = this.#chunks.pop();
    for (const chunk of this.#chunks) arena.giveChunk(chunk);
    if (last !== undefined) arena.giveChunk(last, this.#next * PAGE_SIZE - last);
    this.#chunks.length = 0;
    this.#returned.length = 0;
    this.#next = 0;
    this.#end = 0;
    this.#count = 0;
  }
}
