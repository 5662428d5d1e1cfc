/**
 * Lazy unmap: when flushes come, what they free, and the window in which a device still gets through.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { offsetBy, physAddr, us } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping } from '#emu/dma/mapping.ts';
import { FLUSH_DELAY_PS, FLUSH_ENTRIES, FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import { IommuDriverRig } from '#test/support/dma-rig.ts';

const HOST = physAddr(2 ** 36);
const MiB = 2 ** 20;

class LazyRig extends IommuDriverRig {
  constructor(limits = {}, options = {}) {
    super(limits, { flush: FlushPolicy.Lazy, ...options });
  }
  get queue() {
    assert.ok(this.domain.flushQueue);
    return this.domain.flushQueue;
  }
  mapPages(count: number): DmaMapping[] {
    return Array.from({ length: count }, (_, i) =>
      this.map(PhyRangeList.of(offsetBy(HOST, i * 8192), 4096), Direction.Bidirectional),
    );
  }
  unmapAll(mappings: readonly DmaMapping[]): void {
    for (const mapping of mappings) assert.ok(this.device.unmap(mapping).done);
  }
  after(ps: number): void {
    const { kernel } = this.host;
    kernel.runUntil(kernel.now + ps);
  }
}

const addressOf = (mapping: DmaMapping): number => mapping.ranges.address(0);

test('the stale window: a device still gets through after unmap, until the flush', () => {
  const rig = new LazyRig();
  const [mapping] = rig.mapPages(1);
  const address = addressOf(mapping!);
  assert.equal(rig.access(address, true), HOST);
  rig.unmapAll([mapping!]);
  assert.equal(rig.domain.table.leaves, 0);
  assert.ok(rig.queue.holds(address) && !rig.queue.holds(address + 4096));
  assert.equal(rig.access(address, true), HOST);
  rig.after(FLUSH_DELAY_PS - 1);
  assert.equal(rig.access(address, true), HOST);
  rig.after(us(10));
  assert.equal(rig.access(address, true), -1);
  assert.deepEqual([rig.queue.count, rig.queue.staleBytes, rig.queue.flushes], [0, 0, 1]);
  rig.dispose();
});

test('what the cache never held is refused at once', () => {
  const rig = new LazyRig();
  const [mapping] = rig.mapPages(1);
  rig.unmapAll([mapping!]);
  assert.equal(rig.access(addressOf(mapping!)), -1);
  rig.dispose();
});

test('strict: no window, and unmap completes later', () => {
  const rig = new IommuDriverRig();
  assert.equal(rig.domain.flushQueue, null);
  const mapping = rig.map(PhyRangeList.of(HOST, 4096), Direction.Bidirectional);
  rig.access(addressOf(mapping));
  const done = rig.device.unmap(mapping);
  assert.equal(done.done, false);
  rig.host.kernel.run();
  assert.ok(done.done);
  assert.equal(rig.access(addressOf(mapping)), -1);
  rig.dispose();
});

test('addresses are not given out again before the flush', () => {
  const rig = new LazyRig();
  const [first] = rig.mapPages(1);
  rig.unmapAll([first!]);
  const [second] = rig.mapPages(1);
  assert.notEqual(addressOf(second!), addressOf(first!));
  rig.after(2 * FLUSH_DELAY_PS);
  const [third] = rig.mapPages(1);
  assert.equal(addressOf(third!), addressOf(first!));
  rig.dispose();
});

test(`${FLUSH_ENTRIES} unmaps bring a flush without waiting`, () => {
  const rig = new LazyRig();
  const mappings = rig.mapPages(FLUSH_ENTRIES + 1);
  const commands = rig.host.iommu.commands;
  rig.unmapAll(mappings.slice(0, FLUSH_ENTRIES - 1));
  rig.after(us(10));
  assert.deepEqual([rig.queue.count, rig.host.iommu.commands], [FLUSH_ENTRIES - 1, commands]);
  rig.unmapAll(mappings.slice(FLUSH_ENTRIES - 1));
  rig.after(us(10));
  // One invalidation and its fence; what came behind waits for the next flush.
  assert.equal(rig.host.iommu.commands, commands + 2);
  assert.deepEqual([rig.queue.count, rig.queue.flushes], [1, 1]);
  rig.after(FLUSH_DELAY_PS);
  assert.deepEqual([rig.queue.count, rig.queue.flushes], [0, 2]);
  assert.equal(rig.domain.iovas.usedBytes, 0);
  rig.dispose();
});

test('what is queued while a flush is under way is freed by the next one only', () => {
  const rig = new LazyRig();
  const [early, late] = rig.mapPages(2);
  rig.access(addressOf(late!));
  rig.unmapAll([early!]);
  rig.queue.flush();
  rig.unmapAll([late!]);
  rig.after(us(10));
  assert.deepEqual([rig.queue.count, rig.queue.flushes], [1, 1]);
  assert.ok(rig.queue.holds(addressOf(late!)));
  rig.after(FLUSH_DELAY_PS);
  assert.deepEqual([rig.queue.count, rig.queue.flushes], [0, 2]);
  rig.dispose();
});

test('the 10 ms count from the first entry after a flush', () => {
  const rig = new LazyRig();
  const [first, second, third] = rig.mapPages(3);
  rig.unmapAll([first!]);
  rig.after(FLUSH_DELAY_PS / 2);
  rig.unmapAll([second!]);
  rig.after(FLUSH_DELAY_PS / 2 + us(10));
  assert.deepEqual([rig.queue.count, rig.queue.flushes], [0, 1]);
  rig.unmapAll([third!]);
  rig.after(FLUSH_DELAY_PS - us(1));
  assert.equal(rig.queue.count, 1);
  rig.after(us(10));
  assert.equal(rig.queue.count, 0);
  rig.dispose();
});

test('empty tables are freed with the flush, and a list of bus addresses needs none', () => {
  const rig = new LazyRig();
  const tables = rig.host.live.size;
  const big = rig.map(PhyRangeList.of(offsetBy(HOST, 4096), 8 * MiB), Direction.Bidirectional);
  const grown = rig.host.live.size;
  rig.unmapAll([big]);
  assert.equal(rig.host.live.size, grown);
  rig.after(FLUSH_DELAY_PS + us(10));
  assert.ok(rig.host.live.size < grown && rig.host.live.size >= tables);
  rig.queue.flush();
  rig.after(us(10));
  assert.equal(rig.queue.flushes, 1);
  rig.dispose();
});

test('no addresses left: the refusal starts a flush, after which there are', () => {
  const rig = new LazyRig({ addressLimit: 2 ** 20 });
  const list = PhyRangeList.of(HOST, 2 ** 18);
  const mappings = [];
  for (;;) {
    const mapping = rig.device.map(list, Direction.ToDevice);
    if ('refused' in mapping) break;
    mappings.push(mapping);
  }
  rig.unmapAll(mappings);
  assert.ok('refused' in rig.device.map(list, Direction.ToDevice));
  rig.after(us(10));
  assert.ok(!('refused' in rig.device.map(list, Direction.ToDevice)));
  rig.dispose();
});
