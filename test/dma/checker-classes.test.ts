/**
 * One row for each class of report: the least wrong use that gives it, and no other; and that the message names both
 * call sites. [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { CheckerClass } from '#emu/dma/checker/checker-class.ts';
import { DmaAttr } from '#emu/dma/dma-attr.ts';
import { MAPPING_ERROR } from '#emu/dma/iova/single-mapper.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import {
  CheckedBench,
  HOST,
  MISUSES,
  type Misuse,
  PAGE,
  PATH,
  page,
} from '#test/support/checker-misuse.ts';
import { PEER } from '#test/support/dma-rig.ts';

const { ToDevice, FromDevice } = Direction;
const { SkipCpuSync, DebuggingIgnoreCachelines, RequireCoherent } = DmaAttr;

/** Does what is wrong; what drivers do wrong is thrown, what devices do is collected. */
function provoke(row: Misuse): CheckedBench {
  const bench = new CheckedBench(row.limits, row.isDirect);
  try {
    row.misuse(bench);
  } catch (error) {
    const isTold = error instanceof EmuError && error.code === 'CHECKER';
    assert.ok(isTold, `${error}`);
    assert.equal(error.detail?.class, row.kind);
  }
  return bench;
}

for (const row of MISUSES) {
  test(`${row.kind}: ${row.linux}`, () => {
    const { checker, rig } = provoke(row);
    assert.deepEqual(
      checker.reports.map((report) => report.class),
      [row.kind],
    );
    const { message, path } = checker.reports[0]!;
    assert.equal(path, PATH);
    assert.ok(message.startsWith(PATH), message);
    assert.match(message, /site\d/);
    rig.dispose();
  });
}

test('every class has a row', () => {
  const missing = Object.values(CheckerClass).filter(
    (kind) => !MISUSES.some((row) => row.kind === kind),
  );
  assert.deepEqual(missing, []);
});

test('misuse of what was mapped names where that was done, and the wrong call', () => {
  const told = [
    'other-size',
    'other-count',
    'other-direction',
    'other-attributes',
    'unchecked',
    'outside',
  ];
  for (const row of MISUSES.filter(
    ({ kind }) => told.includes(kind) || kind === 'wrong-function',
  )) {
    const { checker, rig } = provoke(row);
    assert.match(checker.reports[0]!.message, /made at site0.*wrong call at site\d/, row.linux);
    rig.dispose();
  }
  for (const row of MISUSES.filter(({ kind }) => kind === 'overlap' || kind === 'overlap-count')) {
    const { checker, rig } = provoke(row);
    assert.match(
      checker.reports[0]!.message,
      /mapped at site0.*mapped again at site[1-9]/,
      row.linux,
    );
    rig.dispose();
  }
});

test('what dma-debug exempts from overlaps is exempt', () => {
  for (const attrs of [DebuggingIgnoreCachelines, RequireCoherent]) {
    const bench = new CheckedBench();
    for (let i = 0; i < 12; i++) bench.map(page(), FromDevice, attrs);
    assert.equal(bench.checker.count, 0, `${attrs}`);
    bench.rig.dispose();
  }
  const bench = new CheckedBench();
  for (let i = 0; i < 8; i++) bench.map(page(), FromDevice, SkipCpuSync);
  for (let i = 0; i < 12; i++) bench.map(page(), ToDevice);
  for (let i = 0; i < 2; i++) bench.map(PhyRangeList.of(PEER.near, PAGE), FromDevice);
  bench.map(page(64, 8), FromDevice);
  assert.equal(bench.checker.count, 0);
  bench.rig.dispose();
});

test('limits that nobody declared cut no list', () => {
  const bench = new CheckedBench({}, true);
  bench.map(page(0, 2 ** 33));
  assert.equal(bench.checker.count, 0);
  bench.rig.dispose();
});

test('right use of singles: the best fit of several mappings of one address', () => {
  const { singles, device, checker, rig } = new CheckedBench({}, true);
  const sizes = [PAGE, 64, 2 * PAGE] as const;
  for (const size of sizes) assert.equal(Number(singles.map(HOST, size, ToDevice)), HOST);
  const address = singles.map(HOST, 64, FromDevice, DebuggingIgnoreCachelines);
  assert.equal(singles.mappingError(address), null);
  singles.sync(address, 64, FromDevice, 'cpu');
  singles.unmap(address, 64, FromDevice, DebuggingIgnoreCachelines);
  for (const size of sizes) singles.unmap(address, size, ToDevice);
  assert.deepEqual([device.liveMappings, checker.count], [0, 0]);
  rig.dispose();
});

test('what cannot be mapped alone has no address, and says why', () => {
  const { singles, rig } = new CheckedBench();
  const address = singles.map(PEER.banned, PAGE, ToDevice);
  assert.equal(address, MAPPING_ERROR);
  assert.equal(singles.mappingError(address)?.refused, 'EREMOTEIO');
  assert.throws(() => singles.sync(address, PAGE, ToDevice, 'cpu'), /could not be mapped/);
  rig.dispose();
});

test('a wrong claim ends nothing: the right one does', () => {
  const { device, rig, checker } = new CheckedBench();
  const mapping = device.map(page(), ToDevice);
  assert.ok(!isRefusal(mapping));
  const wrong = [{ sizeBytes: 1 }, { count: 2 }, { direction: FromDevice }, { attrs: SkipCpuSync }];
  for (const claim of wrong) assert.throws(() => device.unmap(mapping, claim), /mapped (as|with)/);
  assert.equal(device.liveMappings, 1);
  const right = { sizeBytes: PAGE, count: 1, direction: ToDevice, attrs: 0 };
  device.sync(mapping, 'cpu', undefined, right);
  void device.unmap(mapping, right);
  assert.deepEqual([device.liveMappings, checker.count], [0, wrong.length]);
  rig.dispose();
});
