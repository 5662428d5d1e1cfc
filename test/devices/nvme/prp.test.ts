/**
 * PRP entries: what the driver writes, the controller's walk turns back into the same bytes. [NVME] 4.1.1
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommandFields } from '#devices/nvme/driver/command-fields.ts';
import { DataRanges } from '#devices/nvme/driver/data-ranges.ts';
import { listPages, prpObjection, writePrps } from '#devices/nvme/driver/prps.ts';
import { WalkStep } from '#devices/nvme/model/descriptor-walk.ts';
import { PrpWalk } from '#devices/nvme/model/prp-walk.ts';
import type { RunList } from '#devices/nvme/model/run-list.ts';
import { RunCursor } from '#devices/nvme/model/run-list.ts';
import { Sqe, Status } from '#devices/nvme/spec.ts';
import { ADDR_LIMIT, dmaAddr, hi32, lo32, physAddr } from '#emu/base/units.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';

const PAGE = 4096;
const LIST = physAddr(0x10_0000);
const LIST_DMA = dmaAddr(0x7_0010_0000);

/** Every byte address that runs cover, by pages and offsets rather than bytes: [address, size] pieces. */
const runsOf = (runs: RunList): [number, number][] =>
  Array.from({ length: runs.count }, (_, i) => [runs.address(i), runs.sizeBytes(i)]);

/** Walks entries whose list pages lie in `memory` at `address - LIST_DMA + LIST`. */
function walk(
  memory: SparseMemory,
  size: number,
  prp1: number,
  prp2: number,
  pageSize = PAGE,
): { step: WalkStep; walk: PrpWalk; fetched: [number, number][] } {
  const it = new PrpWalk();
  const fetched: [number, number][] = [];
  let step = it.begin(pageSize, size, lo32(prp1), hi32(prp1), lo32(prp2), hi32(prp2));
  while (step === WalkStep.List) {
    const { listAddress, listBytes } = it;
    fetched.push([listAddress, listBytes]);
    const bytes = new Uint8Array(listBytes);
    memory.read(listAddress - LIST_DMA + LIST, bytes);
    step = it.list(new DataView(bytes.buffer), 0, listBytes);
  }
  return { step, walk: it, fetched };
}

/** PRP1 and PRP2 as the driver writes them for pieces of [address, size], its list into `memory`. */
function written(
  memory: SparseMemory,
  pieces: readonly [number, number][],
): { size: number; prp1: number; prp2: number } {
  const data = new DataRanges();
  for (const [address, size] of pieces) data.append(dmaAddr(address), size);
  assert.equal(prpObjection(data), null);
  const fields = new CommandFields().clear(2);
  const sizeBytes = listPages(data.sizeBytes) * PAGE;
  writePrps(data, { memory, address: LIST, dma: LIST_DMA, sizeBytes }, fields);
  const entry = new DataView(new ArrayBuffer(Sqe.SIZE));
  fields.encode(entry, 0, 7);
  assert.equal(Sqe.flags.get(entry, 0), 0);
  const [prp1, prp2] = [Sqe.prp1.get(entry, 0), Sqe.prp2.get(entry, 0)];
  return { size: data.sizeBytes, prp1, prp2 };
}

/** A buffer that PRPs can describe: a first page with an offset, then pages anywhere, some adjacent. */
const buffers = fc
  .record({
    offset: fc.integer({ min: 0, max: 1023 }).map((dword) => 4 * dword),
    pages: fc.array(fc.oneof(fc.constant(-1), fc.integer({ min: 1, max: 2 ** 30 })), {
      minLength: 1,
      maxLength: 1200,
      size: 'max',
    }),
    tail: fc.integer({ min: 1, max: PAGE }),
  })
  .map(({ offset, pages, tail }) => {
    let page = 0;
    const frames = pages.map((next) => {
      page = next < 0 ? page + PAGE : next * PAGE;
      return page;
    });
    return { offset, frames, tail };
  });

/** The pieces of a buffer, one a page. */
function piecesOf({ offset, frames, tail }: { offset: number; frames: number[]; tail: number }) {
  return frames.map((frame, i): [number, number] => {
    const start = i === 0 ? offset : 0;
    const end = i === frames.length - 1 ? Math.max(start + 1, tail) : PAGE;
    return [frame + start, end - start];
  });
}

/** Adjacent pieces joined, as runs have them. */
function joined(pieces: [number, number][]): [number, number][] {
  const runs: [number, number][] = [];
  for (const [address, size] of pieces) {
    const last = runs.at(-1);
    if (last && last[0] + last[1] === address) last[1] += size;
    else runs.push([address, size]);
  }
  return runs;
}

/** The same pieces, each in two where it is long enough. */
const cutUp = (pieces: readonly [number, number][]): [number, number][] =>
  pieces.flatMap(([address, size]): [number, number][] =>
    size < 1000
      ? [[address, size]]
      : [
          [address, 333],
          [address + 333, size - 333],
        ],
  );

test('what the driver describes, the walk finds: every byte once, in order', () => {
  fc.assert(
    fc.property(buffers, fc.boolean(), (buffer, cut) => {
      const pieces = piecesOf(buffer);
      const memory = new SparseMemory(2 ** 32, 'lists');
      const { size, prp1, prp2 } = written(memory, cut ? cutUp(pieces) : joined(pieces));
      const { step, walk: found, fetched } = walk(memory, size, prp1, prp2);
      assert.equal(step, WalkStep.Done);
      assert.deepEqual(runsOf(found.runs), joined(pieces));
      const limit = LIST_DMA + listPages(size) * PAGE;
      for (const [at, bytes] of fetched) {
        assert.ok(at + bytes <= limit, 'the list fits what the driver sets aside');
        assert.equal(Math.floor(at / PAGE), Math.floor((at + bytes - 1) / PAGE), 'within a page');
      }
      memory.dispose();
    }),
    { numRuns: 60 },
  );
});

test('lists that end just before, at and after the end of a page', () => {
  for (const pages of [2, 3, 512, 513, 514, 1023, 1024, 1025, 1535, 1536]) {
    const memory = new SparseMemory(2 ** 24, 'lists');
    const pieces = Array.from({ length: pages }, (_, i): [number, number] => [
      8192 * (i + 1),
      PAGE,
    ]);
    const { size, prp1, prp2 } = written(memory, pieces);
    const found = walk(memory, size, prp1, prp2);
    assert.deepEqual(runsOf(found.walk.runs), pieces);
    assert.ok(found.fetched.length <= listPages(size));
    memory.dispose();
  }
});

test('a list with an offset: one entry, then a link', () => {
  const memory = new SparseMemory(2 ** 24, 'lists');
  // Three more pages after the first; the list begins at the last entry of its page.
  memory.setU64(LIST + 0xff8, LIST_DMA + PAGE);
  memory.setU64(LIST + PAGE, 0x2000_0000);
  memory.setU64(LIST + PAGE + 8, 0x3000_0000);
  memory.setU64(LIST + PAGE + 16, 0x4000_0000);
  const { step, walk: found, fetched } = walk(memory, 4 * PAGE, 0x1000_0000, LIST_DMA + 0xff8);
  assert.equal(step, WalkStep.Done);
  assert.deepEqual(fetched, [
    [LIST_DMA + 0xff8, 8],
    [LIST_DMA + PAGE, 24],
  ]);
  assert.equal(found.runs.count, 4);
  memory.dispose();
});

test('the last entry of a page is data when no more are needed', () => {
  const memory = new SparseMemory(2 ** 24, 'lists');
  memory.setU64(LIST + 0xff0, 0x2000_0000);
  memory.setU64(LIST + 0xff8, 0x3000_0000);
  const { step, walk: found } = walk(memory, 3 * PAGE, 0x1000_0000, LIST_DMA + 0xff0);
  assert.equal(step, WalkStep.Done);
  assert.deepEqual(runsOf(found.runs).at(-1), [0x3000_0000, PAGE]);
  memory.dispose();
});

test('PRP1 = 0 is an address like any other', () => {
  const memory = new SparseMemory(2 ** 24, 'lists');
  const { step, walk: found } = walk(memory, 2 * PAGE, 0, 0x9000);
  assert.equal(step, WalkStep.Done);
  assert.deepEqual(runsOf(found.runs), [
    [0, PAGE],
    [0x9000, PAGE],
  ]);
  memory.dispose();
});

test('offsets are refused where they must not be', () => {
  const memory = new SparseMemory(2 ** 24, 'lists');
  const refused = (size: number, prp1: number, prp2: number): void => {
    const { step, walk: it } = walk(memory, size, prp1, prp2);
    assert.equal(step, WalkStep.Invalid);
    assert.equal(it.status, Status.PrpOffsetInvalid);
  };
  refused(PAGE, 0x1002, 0);
  refused(2 * PAGE, 0x1000, 0x2004);
  refused(3 * PAGE, 0x1000, LIST_DMA + 4);
  memory.setU64(LIST, 0x2000_0200);
  refused(3 * PAGE, 0x1000, LIST_DMA);
  memory.setU64(LIST + 0xff8, LIST_DMA + 0x1008);
  refused(4 * PAGE, 0x1000, LIST_DMA + 0xff8);
  // What is not needed is not looked at.
  assert.equal(walk(memory, PAGE, 0x1000, 0x77).step, WalkStep.Done);
  memory.dispose();
});

test('entries beyond 2^52 become runs that nothing answers to', () => {
  const it = new PrpWalk();
  assert.equal(it.begin(PAGE, 2 * PAGE, 0, 0xffff_ffff, 0, 0x10_0000), WalkStep.Done);
  assert.deepEqual(runsOf(it.runs), [
    [ADDR_LIMIT, PAGE],
    [ADDR_LIMIT, PAGE],
  ]);
});

test('larger pages: a list entry covers one, and offsets are checked against it', () => {
  const memory = new SparseMemory(2 ** 24, 'lists');
  const big = 65536;
  memory.setU64(LIST, 0x2000_0000);
  memory.setU64(LIST + 8, 0x3000_0000);
  const good = walk(memory, 3 * big - 4096, 0x1000_1000, LIST_DMA, big);
  assert.equal(good.step, WalkStep.Done);
  assert.deepEqual(runsOf(good.walk.runs), [
    [0x1000_1000, big - 4096],
    [0x2000_0000, big],
    [0x3000_0000, big],
  ]);
  memory.setU64(LIST, 0x2000_1000);
  assert.equal(walk(memory, 3 * big, 0x1000_0000, LIST_DMA, big).step, WalkStep.Invalid);
  memory.dispose();
});

test('data that PRPs cannot describe is objected to, and by which range', () => {
  const objection = (...ranges: [number, number][]): string | null => {
    const data = new DataRanges();
    for (const [address, length] of ranges) data.append(dmaAddr(address), length);
    return prpObjection(data);
  };
  assert.equal(objection([0x1000, 512], [0x1200, PAGE - 512]), null, 'pieces that follow on');
  assert.equal(objection([0x1ffc, 4], [0x9000, 2 * PAGE], [0x3000, 1]), null);
  assert.equal(objection([0x1003, PAGE]), 'range 0 begins at 0x1003, no multiple of 4');
  assert.equal(objection([0x1000, 512], [0x3000, 512]), 'range 0 ends inside a page, at 0x1200');
  assert.equal(
    objection([0x1000, PAGE], [0x3200, PAGE]),
    'range 1 begins inside a page, at 0x3200',
  );
  assert.equal(
    objection([0x1000, PAGE], [0x3000, 512], [0x5000, PAGE]),
    'range 1 ends inside a page, at 0x3200',
  );
});

test('list pages: one more for each 511 entries beyond the first 512', () => {
  assert.equal(listPages(PAGE), 1);
  assert.equal(listPages(512 * PAGE), 1);
  assert.equal(listPages(513 * PAGE), 2);
  assert.equal(listPages(1023 * PAGE), 2);
  assert.equal(listPages(1024 * PAGE), 3);
});

test('a run cursor takes pieces of any size without leaving a run', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 5000 }),
      (sizes, limit) => {
        const it = new PrpWalk();
        for (const [i, size] of sizes.entries()) it.runs.append(i * 100_000, size);
        const total = sizes.reduce((sum, size) => sum + size, 0);
        const cursor = new RunCursor();
        const pieces: [number, number][] = [];
        for (let done = 0; done < total; done += cursor.sizeBytes) {
          cursor.take(it.runs, Math.min(limit, total - done));
          assert.ok(cursor.sizeBytes >= 1 && cursor.sizeBytes <= limit);
          pieces.push([cursor.address, cursor.sizeBytes]);
        }
        assert.deepEqual(
          joined(pieces),
          sizes.map((size, i) => [i * 100_000, size]),
        );
      },
    ),
  );
});
