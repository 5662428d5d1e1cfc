/**
 * Reads a whole chain and compares it with what the list knows: the check for lists that something may have
 * written over. Links are also checked whenever they are followed. [PHYR]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { ADDR_LIMIT } from '#emu/base/units.ts';
import { type Chunk, corruptEntry, type RangeChain } from './range-chain.ts';

/** @throws INVARIANT with the chunk, the word in it and the range where entries, links or sums are wrong */
export function verifyChain(chain: RangeChain): void {
  let bytes = 0;
  let range = 0;
  for (let chunk = chain.head; chunk !== null && range < chain.count; ) {
    const { firstRange, firstByte, ordinal } = chunk;
    if (firstRange !== range || firstByte !== bytes) {
      throw sumsDiffer(`in front of chunk ${ordinal}`, [firstRange, firstByte], [range, bytes]);
    }
    bytes += verifyChunk(chunk, range, Math.min(chunk.count, chain.count - range));
    range += chunk.count;
    if (range < chain.count) chunk = chunk.follow();
  }
  const isShort = range < chain.count || bytes !== chain.sizeBytes;
  if (isShort) throw sumsDiffer('in all', [chain.count, chain.sizeBytes], [range, bytes]);
}

/** Bytes of the chunk's first `count` entries. */
function verifyChunk(chunk: Chunk, firstRange: number, count: number): number {
  const { layout, words, endAt } = chunk;
  let bytes = 0;
  let at = layout.firstAt;
  for (let i = 0; i < count; i++) {
    const length = layout.length(words, at);
    const isEntry =
      at < endAt &&
      length > 0 &&
      layout.flags(words, at) < layout.flagsLimit &&
      layout.address(words, at) + length <= ADDR_LIMIT;
    if (!isEntry) throw corruptEntry(chunk, at, firstRange + i);
    bytes += length;
    at = layout.after(words, at);
  }
  if (count === chunk.count && chunk.next !== null && at !== endAt) throw corruptEntry(chunk, at);
  return bytes;
}

type Sums = readonly [ranges: number, bytes: number];

function sumsDiffer(where: string, expected: Sums, found: Sums): EmuError {
  const show = ([ranges, bytes]: Sums): string => `${ranges} ranges of ${bytes} bytes`;
  return new EmuError(
    'INVARIANT',
    `a range list is corrupt: ${where} expected ${show(expected)}, got ${show(found)}`,
    { ranges: found[0], bytes: found[1] },
  );
}
