/**
 * How long answers take: hits, walks by their accesses, followers of a walk, busy walkers.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DdtMode, Reg } from '#emu/iommu/spec.ts';
import { IommuCounter } from '#emu/iommu/translation-unit.ts';
import { IommuRig, pagedRig, type IommuRig as Rig, RW } from '#test/support/iommu-rig.ts';

const OPTIONS = { hitPs: 4, memoryPs: 100 };
const latency = (rig: Rig, address: number): number => rig.translate(0x108, address).latencyPs;

test('a walk takes its accesses: two for the directory, one for each level', () => {
  const { rig, root } = pagedRig(OPTIONS);
  rig.map(root, 0, 0x8000);
  rig.map(root, 0x1000, 0x9000);
  rig.map(root, 2 ** 30, 2 ** 30, RW, 1);
  assert.equal(latency(rig, 0), 6 * 100 + 4);
  rig.kernel.runUntil(1000);
  assert.equal(latency(rig, 0x1000), 4 * 100 + 4, 'the context is cached');
  assert.equal(latency(rig, 2 ** 30), 3 * 100 + 4, 'a large page has a level less');
  assert.equal(latency(rig, 8), 4);
  assert.deepEqual(
    [IommuCounter.hits, IommuCounter.misses, IommuCounter.accesses].map(
      (slot) => rig.iommu.counters[slot],
    ),
    [1, 3, 13],
  );
});

test('requests for a page whose walk is under way wait for it', () => {
  const { rig, root } = pagedRig(OPTIONS);
  rig.map(root, 0, 0x8000);
  assert.equal(latency(rig, 0), 604);
  rig.kernel.runUntil(500);
  assert.equal(latency(rig, 64), 104);
  rig.kernel.runUntil(600);
  assert.equal(latency(rig, 64), 4);
});

test('walks beyond the number of walkers wait for a free one', () => {
  const { rig, root } = pagedRig({ ...OPTIONS, walkers: 2 });
  for (let page = 0; page < 8; page++) rig.map(root, page * 4096, 0x8000);
  latency(rig, 7 * 4096);
  rig.kernel.runUntil(1000);
  const latencies = [0, 1, 2, 3, 4].map((page) => latency(rig, page * 4096));
  assert.deepEqual(latencies, [404, 404, 804, 804, 1204]);
});

test('a fault takes the accesses it needed', () => {
  const { rig } = pagedRig(OPTIONS);
  assert.equal(latency(rig, 0), 304);
  assert.equal(rig.iommu.counters[IommuCounter.faults], 1);
});

test('without a walk an answer takes the time of a hit', () => {
  const rig = new IommuRig(OPTIONS);
  assert.equal(latency(rig, 0), 4);
  rig.write(Reg.ddtp, DdtMode.Bare);
  assert.equal(latency(rig, 0), 4);
});
