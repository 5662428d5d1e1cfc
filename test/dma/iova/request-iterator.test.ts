/**
 * Requests of block drivers: uniform, one range where vectors fit together, else vector by vector.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import { RequestIterator, RequestStyle } from '#emu/dma/iova/request-iterator.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, MapType } from '#emu/dma/mapping.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import {
  BUS_OFFSET,
  CLIENT,
  FakeView,
  IommuDriverRig,
  PEER,
  threePorts,
} from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const { ToDevice, Bidirectional } = Direction;
type Vector = readonly [address: number, length: number];

const listOf = (...vectors: readonly Vector[]): PhyRangeList => {
  const list = new PhyRangeList();
  for (const [address, length] of vectors) list.appendApart(physAddr(address), length);
  return list;
};

function piecesOf(iterator: RequestIterator): Vector[] {
  const pieces: Vector[] = [];
  while (iterator.next()) pieces.push([iterator.address, iterator.length]);
  return pieces;
}

function rigOf(maxSegment?: number) {
  const rig = new IommuDriverRig();
  return { rig, request: new RequestIterator(rig.device, rig.host.kernel, maxSegment) };
}

function end({ rig, request }: ReturnType<typeof rigOf>): void {
  const done = request.unmap();
  rig.host.kernel.run();
  assert.ok(done.done);
  assert.deepEqual([rig.domain.table.leaves, rig.domain.iovas.usedBytes], [0, 0]);
  assert.equal(rig.device.liveMappings, 0);
  rig.dispose();
}

test('vectors that fit together get one range', () => {
  const made = rigOf();
  const { rig, request } = made;
  const list = listOf([HOST + 512, 3584], [HOST + 2 ** 20, 8192], [HOST + 2 ** 21, 1000]);
  assert.ok(request.start(list, ToDevice));
  assert.deepEqual([request.style, request.mapType], [RequestStyle.Iova, MapType.None]);
  const pieces = piecesOf(request);
  assert.deepEqual([pieces.length, pieces[0]?.[1]], [1, 12776]);
  const address = pieces[0]![0];
  assert.equal(rig.access(address), HOST + 512);
  assert.equal(rig.access(address + 3584 + 4096), HOST + 2 ** 20 + 4096);
  assert.equal(rig.access(address, true), -1);
  assert.equal(request.refusal, null);
  end(made);
});

test('a gap within a granule maps vector by vector, contiguous ones as one', () => {
  const made = rigOf();
  const list = listOf([HOST, 1000], [HOST + 8192, 4096], [HOST + 12288, 512], [HOST + 2 ** 20, 64]);
  assert.ok(made.request.start(list, Bidirectional));
  assert.equal(made.request.style, RequestStyle.Vectors);
  assert.deepEqual(
    piecesOf(made.request).map(([, length]) => length),
    [1000, 4608, 64],
  );
  assert.equal(made.rig.device.liveMappings, 3);
  end(made);
});

test('vectors are no longer than a segment may be', () => {
  const made = rigOf(10_000);
  assert.ok(made.request.start(listOf([HOST + 512, 16384], [HOST + 65536 + 1, 8]), Bidirectional));
  const pieces = piecesOf(made.request);
  assert.deepEqual(
    pieces.map(([, length]) => length),
    [7680, 8192, 512, 8],
  );
  assert.equal(made.rig.access(pieces[1]![0]), HOST + 8192);
  end(made);
});

test('peers below a common bridge are addressed on the bus and not mapped', () => {
  const made = rigOf();
  const list = listOf([PEER.near, 4096], [PEER.near + 2 ** 20 + 4, 100]);
  assert.ok(made.request.start(list, Bidirectional));
  assert.deepEqual([made.request.style, made.request.mapType], ['bus', MapType.BusAddress]);
  assert.deepEqual(piecesOf(made.request), [
    [PEER.near + BUS_OFFSET, 4096],
    [PEER.near + BUS_OFFSET + 2 ** 20 + 4, 100],
  ]);
  assert.equal(made.rig.domain.iovas.usedBytes, 0);
  end(made);
});

test('peers through the host bridge are mapped as host memory is', () => {
  const made = rigOf();
  assert.ok(made.request.start(listOf([PEER.far, 4096], [PEER.far + 8192, 4096]), Bidirectional));
  assert.deepEqual([made.request.style, made.request.mapType], ['iova', 'THRU_HOST_BRIDGE']);
  const [[address, length] = [0, 0]] = piecesOf(made.request);
  assert.deepEqual([length, made.rig.access(address + 4096)], [8192, PEER.far + 8192]);
  end(made);
});

const REFUSED: readonly (readonly [name: string, vectors: readonly Vector[]])[] = [
  [
    'host, then a peer',
    [
      [HOST, 4096],
      [PEER.near, 4096],
    ],
  ],
  [
    'a peer, then host',
    [
      [PEER.near, 4096],
      [HOST, 4096],
    ],
  ],
  [
    'two routes',
    [
      [PEER.near, 4096],
      [PEER.far, 4096],
    ],
  ],
  ['out of reach', [[PEER.banned, 4096]]],
  ['nobody', [[PEER.nobody, 4096]]],
  ['nothing', []],
];
for (const [name, vectors] of REFUSED) {
  test(`a request is refused: ${name}`, () => {
    const { rig, request } = rigOf();
    assert.equal(request.start(listOf(...vectors), ToDevice), false);
    assert.equal(request.refusal?.refused, 'EINVAL');
    assert.equal(request.next(), false);
    assert.deepEqual([rig.device.liveMappings, rig.domain.iovas.usedBytes], [0, 0]);
    assert.ok(request.start(listOf([HOST, 4096]), ToDevice));
    rig.dispose();
  });
}

test('without an IOMMU every vector is its own', () => {
  const rig = new IommuDriverRig();
  const { kernel } = rig.host;
  const provider = new DirectProvider({ kernel, view: new FakeView(threePorts()) });
  const request = new RequestIterator(provider.device(CLIENT), kernel);
  const at: PhysAddr = offsetBy(HOST, 2 ** 20);
  assert.ok(request.start(listOf([HOST, 4096], [at, 4096]), ToDevice));
  assert.deepEqual(piecesOf(request), [
    [HOST, 4096],
    [at, 4096],
  ]);
  assert.ok(request.unmap().done);
  rig.dispose();
});

test('a failure half-way leaves nothing after unmap', () => {
  for (const gap of [0, 8]) {
    const made = rigOf();
    made.rig.host.budget = 2;
    const list = listOf([HOST, 4096 - gap], [HOST + 2 ** 20, 2 ** 23]);
    const isStarted = made.request.start(list, ToDevice);
    assert.equal(isStarted, gap > 0);
    while (made.request.next());
    assert.equal(made.request.refusal?.refused, 'ENOMEM');
    end(made);
  }
});

test('requests do not overlap', () => {
  const { rig, request } = rigOf();
  const isMisuse = (error: unknown) => error instanceof EmuError && error.code === 'CHECKER';
  assert.throws(() => request.unmap(), isMisuse);
  request.start(listOf([HOST, 4096]), ToDevice);
  assert.throws(() => request.start(listOf([HOST, 4096]), ToDevice), isMisuse);
  assert.throws(() => request.start([] as never, ToDevice));
  rig.dispose();
});
