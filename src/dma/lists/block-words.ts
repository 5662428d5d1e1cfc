/**
 * Storage for blocks of list entries. A short block is a part of a larger one, since a typed array with memory of its
 * own takes 300 ns, a third of mapping a short list. [PHYR]
 * @module
 */

/** Bytes of what short blocks are cut from; it lives as long as one of them. */
const SLAB_BYTES = 32_768;
/** Blocks of so few words the engine keeps among its objects, which is quick; those of more than the other are worth their cost. */
const LEAST_WORDS = 16;
const MOST_WORDS = 128;

let slab = new ArrayBuffer(0);
let used = 0;

/** A block of `count` words, all zero, that no other block overlaps. */
export function blockWords(count: number): Uint32Array {
  if (count <= LEAST_WORDS || count > MOST_WORDS) return new Uint32Array(count);
  if (used + 4 * count > slab.byteLength) {
    slab = new ArrayBuffer(SLAB_BYTES);
    used = 0;
  }
  const words = new Uint32Array(slab, used, count);
  used += 4 * count;
  return words;
}
