/**
 * Range lists that something has written over: links, entries and sums, in every layout. What is found says where,
 * and nothing runs for ever.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { dmaAddr } from '#emu/base/units.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { type Chunk, RangeChain } from '#emu/dma/lists/range-chain.ts';
import type { RangeLayout } from '#emu/dma/lists/range-layout.ts';
import { RangeLayouts } from '#emu/dma/lists/range-layouts.ts';

const layouts = Object.values(RangeLayouts);

function chainOf(layout: RangeLayout, count: number): RangeChain {
  const chain = new RangeChain(layout);
  for (let i = 0; i < count; i++) chain.appendApart(i * 8192, 4096, i % 3);
  return chain;
}

function chunksOf(chain: RangeChain): Chunk[] {
  const chunks: Chunk[] = [];
  for (let chunk = chain.head; chunk !== null; chunk = chunk.next) chunks.push(chunk);
  return chunks;
}

/** Asserts that `attempt` finds corruption in `chunk`. */
function findsIn(chunk: number, message: RegExp, attempt: () => unknown): void {
  assert.throws(attempt, (error) => {
    assert.ok(error instanceof EmuError);
    assert.deepEqual([error.code, error.detail.chunk], ['INVARIANT', chunk]);
    assert.match(error.message, message);
    return true;
  });
}

const last = (list: DmaRangeList): number => list.address(list.count - 1);

for (const layout of layouts) {
  test(`${layout.name}: cut, circular and overwritten chains are found on every way`, () => {
    const faults: readonly (readonly [RegExp, (chunks: Chunk[]) => void])[] = [
      [/is cut behind chunk 1/, ([, second]) => Object.assign(second ?? {}, { next: null })],
      [
        /runs in a circle: chunk 1 is followed by 0/,
        ([first, second]) => Object.assign(second ?? {}, { next: first }),
      ],
      [
        /runs in a circle: chunk 1 is followed by 1/,
        ([, second]) => Object.assign(second ?? {}, { next: second }),
      ],
      [
        /the link of chunk 1 names chunk 7/,
        ([, second]) => second && layout.setLink(second.words, 7),
      ],
      [
        /the link of chunk 1 is overwritten/,
        ([, second]) => {
          const at = layout.linkWords === 0 ? 0 : (second?.words.length ?? 0) - layout.linkWords;
          second?.words.fill(0xffff_ffff, at, at + 2 + layout.linkWords / 2);
        },
      ],
      [/chunk 3 follows/, (chunks) => Object.assign(chunks[1] ?? {}, { next: chunks[3] ?? null })],
      [
        /the link of chunk 1 names chunk 3, and chunk 3 follows/,
        (chunks) => {
          Object.assign(chunks[1] ?? {}, { next: chunks[3] ?? null });
          if (chunks[1]) layout.setLink(chunks[1].words, 3);
        },
      ],
    ];
    for (const [message, breakIt] of faults) {
      const chain = chainOf(layout, 1000);
      breakIt(chunksOf(chain));
      const list = new DmaRangeList(chain);
      findsIn(1, message, () => [...list]);
      findsIn(1, message, () => last(list));
      findsIn(1, message, () => list.slice(list.sizeBytes - 1, 1));
      findsIn(1, message, () => list.verify());
    }
  });

  test(`${layout.name}: an entry without length is found where it is`, () => {
    const chain = chainOf(layout, 200);
    const chunk = chunksOf(chain)[1];
    assert.ok(chunk);
    const at = layout.position(chunk.words, 5);
    chunk.words.fill(0, at, at + 2);
    chunk.words.fill(0, at + 2, layout.after(chunk.words, at));
    const list = new DmaRangeList(chain);
    findsIn(1, /corrupt at word/, () => [...list]);
    findsIn(1, /corrupt at word/, () => list.slice(chunk.firstByte + 10 * 4096, 1));
    assert.throws(
      () => list.verify(),
      (error) => error instanceof EmuError && error.detail.range === chunk.firstRange + 5,
    );
  });

  test(`${layout.name}: an entry that reaches beyond all addresses is found`, () => {
    const chain = chainOf(layout, 10);
    chain.appendApart(2 ** 51 + 512, 4096, 0);
    const chunk = chunksOf(chain).at(-1);
    assert.ok(chunk);
    const at = layout.position(chunk.words, chunk.count - 1);
    // The upper word of a 64-bit address.
    const isCompact = layout === RangeLayouts.compact;
    chunk.words[at + (isCompact ? 3 : 1)] = 2 ** 20;
    findsIn(chunk.ordinal, /corrupt at word/, () => new DmaRangeList(chain).verify());
  });

  test(`${layout.name}: sums that do not agree are found`, () => {
    const chain = chainOf(layout, 500);
    const chunk = chunksOf(chain)[1];
    assert.ok(chunk);
    const at = layout.position(chunk.words, 0);
    layout.put(chunk.words, at, chunk.endAt, 0, 8, layout.flags(chunk.words, at));
    const list = new DmaRangeList(chain);
    assert.throws(() => list.verify(), /in front of chunk 2 expected .*, got .*/);
    assert.throws(() => [...list], /corrupt|is cut/);
    const ends = chainOf(layout, 2);
    const words = ends.head?.words ?? new Uint32Array();
    const lastAt = layout.position(words, 1);
    layout.put(words, lastAt, words.length, 8192, 8192, layout.flags(words, lastAt));
    assert.throws(
      () => new DmaRangeList(ends).verify(),
      /in all expected 2 ranges of 8192 bytes, got 2 ranges of 12288/,
    );
  });

  test(`${layout.name}: whatever is overwritten, a walk ends, with all bytes or an error`, () => {
    const anywhere = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat({ max: 0xffff_ffff })), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(anywhere, (writes) => {
        const chain = chainOf(layout, 300);
        const chunks = chunksOf(chain);
        for (const [chunk, word, value] of writes) {
          const { words } = chunks[chunk % chunks.length] ?? { words: [] };
          words[word % words.length] = value;
        }
        const list = new DmaRangeList(chain);
        let bytes = 0;
        try {
          for (const { length } of list) bytes += length;
          assert.equal(bytes, list.sizeBytes);
        } catch (error) {
          assert.ok(error instanceof EmuError, String(error));
          assert.equal(error.code, 'INVARIANT');
        }
        try {
          list.verify();
        } catch (error) {
          assert.ok(error instanceof EmuError && error.code === 'INVARIANT', String(error));
        }
      }),
      { numRuns: 200 },
    );
  });
}

test('a whole list verifies, empty, short or long, and an alias of it too', () => {
  for (const layout of layouts) {
    for (const count of [0, 1, 3, 4, 500]) {
      const chain = chainOf(layout, count);
      new DmaRangeList(chain).verify();
      const alias = new DmaRangeList(chain.alias());
      chain.append(2 ** 40, 1, 0);
      alias.verify();
      assert.equal([...alias].length, count);
    }
  }
  assert.equal(new DmaRangeList().append(dmaAddr(1), 1).count, 1);
});
