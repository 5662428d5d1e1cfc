/**
 * Mappings that share cache lines: a mapping is in nobody's way but another's, and in none once it has ended.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Direction } from '#emu/dma/mapping.ts';
import { CheckedBench, page } from '#test/support/checker-misuse.ts';

const { ToDevice, FromDevice } = Direction;
const kindsOf = ({ checker }: CheckedBench): string[] =>
  checker.reports.map((report) => report.class);

test('two ranges of one mapping in one line are no conflict', () => {
  const bench = new CheckedBench();
  const list = page(0, 16).appendApart(page(32, 16).address(0), 16);
  const mapping = bench.map(list, FromDevice);
  assert.deepEqual(kindsOf(bench), []);
  // Another's range in that line is.
  bench.map(page(48, 8), FromDevice);
  assert.deepEqual(kindsOf(bench), ['overlap']);
  void bench.device.unmap(mapping);
  bench.rig.dispose();
});

test('the next line is another line, and a line is free again after unmap', () => {
  const bench = new CheckedBench();
  const first = bench.map(page(0, 64), FromDevice);
  bench.map(page(64, 64), FromDevice);
  void bench.device.unmap(first);
  bench.rig.host.kernel.run();
  const again = bench.map(page(0, 64), FromDevice);
  void bench.device.unmap(again);
  bench.rig.host.kernel.run();
  bench.map(page(0, 64), ToDevice);
  bench.map(page(0, 64), FromDevice);
  assert.deepEqual(kindsOf(bench), []);
  bench.rig.dispose();
});
