/**
 * Requests of block drivers at their edges: what may share one range, how long pieces are, when a list counts as mapped,
 * and an end that fails.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { bdf, physAddr } from '#emu/base/units.ts';
import { RequestIterator } from '#emu/dma/iova/request-iterator.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction } from '#emu/dma/mapping.ts';
import { BAR_SIZE, IommuDriverRig, PEER, threePorts } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const PAGE = 4096;
const { ToDevice, Bidirectional } = Direction;
type Vector = readonly [address: number, length: number];

const listOf = (...vectors: readonly Vector[]): PhyRangeList => {
  const list = new PhyRangeList();
  for (const [address, length] of vectors) list.appendApart(physAddr(address), length);
  return list;
};
const hasCode = (code: string) => (error: unknown) =>
  error instanceof EmuError && error.code === code;

function rigOf(maxSegment?: number) {
  const rig = new IommuDriverRig();
  return { rig, request: new RequestIterator(rig.device, rig.host.kernel, maxSegment) };
}

/** Lengths of the pieces; at most so many, for an iterator that does not end. */
function lengthsOf(request: RequestIterator): number[] {
  const lengths: number[] = [];
  while (lengths.length < 20 && request.next()) lengths.push(request.length);
  return lengths;
}

test('a gap counts on both of its sides, a seam within a page on none', () => {
  for (const [vectors, style] of [
    [
      [
        [HOST, PAGE - 512],
        [HOST + 2 * PAGE, PAGE],
      ],
      'vectors',
    ],
    [
      [
        [HOST, PAGE],
        [HOST + 2 * PAGE + 512, PAGE],
      ],
      'vectors',
    ],
    [
      [
        [HOST, 1000],
        [HOST + 1000, PAGE - 1000],
        [HOST + 8 * PAGE, 10],
      ],
      'iova',
    ],
  ] as const) {
    const { rig, request } = rigOf();
    assert.ok(request.start(listOf(...vectors), Bidirectional));
    assert.equal(request.style, style);
    const total = vectors.reduce((sum, [, length]) => sum + length, 0);
    assert.equal(
      lengthsOf(request).reduce((sum, length) => sum + length, 0),
      total,
    );
    rig.dispose();
  }
});

test('two providers do not share a request, though the same way leads to both', () => {
  const { rig, request } = rigOf();
  const second = { bdf: bdf(4, 0, 1), parent: bdf(2, 1, 0) };
  rig.view.set([...threePorts(), { ...second, bar: [3 * BAR_SIZE, BAR_SIZE] }]);
  assert.equal(request.start(listOf([PEER.near, PAGE], [PEER.nobody, PAGE]), ToDevice), false);
  assert.equal(request.refusal?.refused, 'EINVAL');
  assert.match(request.refusal?.reason ?? '', /several kinds of memory/);
  assert.ok(request.start(listOf([PEER.nobody, PAGE], [PEER.nobody + 2 * PAGE, 8]), ToDevice));
  assert.deepEqual([request.style, lengthsOf(request)], ['bus', [PAGE, 8]]);
  rig.dispose();
});

test('pieces of a longest segment below, at and above a page', () => {
  for (const [longest, lengths] of [
    [1000, [1000, 1000, 1000, 1000, 1000, 120, 8]],
    [PAGE, [PAGE, 1024, 8]],
    [PAGE + 1, [PAGE - 512, 1536, 8]],
    [2 * PAGE + 100, [5120, 8]],
  ] as const) {
    const { rig, request } = rigOf(longest);
    assert.ok(request.start(listOf([HOST + 512, 5120], [HOST + 2 ** 20 + 1, 8]), ToDevice));
    assert.equal(request.style, 'vectors');
    assert.deepEqual(lengthsOf(request), lengths, `longest ${longest}`);
    rig.dispose();
  }
});

test('one range takes no notice of the longest segment of memory', () => {
  const { rig, request } = rigOf(1000);
  assert.ok(request.start(listOf([HOST, 2 * PAGE], [HOST + 2 ** 20, PAGE]), ToDevice));
  assert.deepEqual([request.style, lengthsOf(request)], ['iova', [3 * PAGE]]);
  assert.equal(request.next(), false, 'once');
  rig.dispose();
});

test('a request that has not ended is not begun again, whatever its style', () => {
  for (const list of [
    listOf([HOST, 100], [HOST + 2 * PAGE, 8]),
    listOf([PEER.near, PAGE]),
    listOf([HOST, PAGE]),
  ]) {
    const { rig, request } = rigOf();
    assert.ok(request.start(list, ToDevice));
    const { style } = request;
    const isMisuse = (error: unknown) =>
      hasCode('CHECKER')(error) && /before the last one is unmapped/.test(String(error));
    assert.throws(() => request.start(list, ToDevice), isMisuse, style);
    assert.throws(() => request.start({} as never, ToDevice), isMisuse);
    rig.dispose();
  }
});

test('anything but a list, a direction and attributes is refused with what was expected', () => {
  const { rig, request } = rigOf();
  for (const wrong of [[], {}, null, HOST]) {
    assert.throws(() => request.start(wrong as never, ToDevice), hasCode('USAGE'));
  }
  assert.throws(() => request.start(listOf([HOST, 8]), 9 as never), hasCode('USAGE'));
  assert.throws(() => request.start(listOf([HOST, 8]), ToDevice, 2 ** 20), hasCode('USAGE'));
  assert.ok(request.start(listOf([HOST, 8]), ToDevice), 'nothing was begun');
  rig.dispose();
});

test('the list is mapped until no access is possible any more', () => {
  for (const list of [listOf([HOST, PAGE]), listOf([HOST, 100], [HOST + 2 * PAGE, 8])]) {
    const { rig, request } = rigOf();
    assert.ok(request.start(list, Bidirectional));
    while (request.next());
    assert.ok(list.mappings > 0);
    const done = request.unmap();
    assert.ok(!done.done && list.mappings > 0, request.style);
    rig.host.kernel.run();
    assert.deepEqual([done.done, list.mappings], [true, 0]);
    rig.dispose();
  }
});

test('a request of which nothing was asked ends at once', () => {
  const { rig, request } = rigOf();
  assert.ok(request.start(listOf([HOST, 100], [HOST + 2 * PAGE, 8]), Bidirectional));
  assert.ok(request.unmap().done);
  assert.equal(rig.device.liveMappings, 0);
  rig.dispose();
});

test('an end that fails is told, once', () => {
  const { rig, request } = rigOf();
  assert.ok(request.start(listOf([HOST, 100], [HOST + 2 * PAGE, 8]), Bidirectional));
  assert.equal(lengthsOf(request).length, 2);
  const errors: string[] = [];
  request.unmap().onDone(
    () => errors.push('none'),
    ({ code }) => errors.push(code),
  );
  rig.provider.ring.stop(new EmuError('INVARIANT', 'the queue is gone'));
  rig.host.kernel.run();
  assert.deepEqual(errors, ['INVARIANT']);
  assert.equal(rig.device.liveMappings, 0);
  rig.dispose();
});
