/**
 * Copies between two places of the arena, by whichever means is fastest for the size.
 * @module
 */
import { arena } from './arena.ts';

const { i32, u8, copy } = arena;
/** A call into WebAssembly costs about what four words do. */
const INLINE_LIMIT = 16;

/** Copies bytes from one arena offset to another; the ranges must not overlap. */
export function copyBytes(dst: number, src: number, sizeBytes: number): void {
  if (sizeBytes > INLINE_LIMIT) copy(dst, src, sizeBytes);
  else if (((dst | src | sizeBytes) & 3) === 0) copyWords(dst >>> 2, src >>> 2, sizeBytes >> 2);
  else for (let i = 0; i < sizeBytes; i++) u8[dst + i] = u8[src + i]!;
}

function copyWords(dst: number, src: number, count: number): void {
  for (let i = 0; i < count; i++) i32[dst + i] = i32[src + i]!;
}
