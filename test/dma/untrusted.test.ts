/**
 * Devices that may be hostile, and devices that see no caches: what they get copies of, what they see around their
 * memory, and what is refused. [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import { DmaAttr } from '#emu/dma/dma-attr.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { BounceCounter } from '#emu/dma/providers/bounce-pool.ts';
import { DirectProvider } from '#emu/dma/providers/direct-provider.ts';
import { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import { BounceRig, LOW } from '#test/support/bounce-rig.ts';
import { CLIENT, FakeView, IommuDriverRig, PEER, threePorts } from '#test/support/dma-rig.ts';
import { UntrustedRig } from '#test/support/untrusted-rig.ts';

const HOST = physAddr(2 ** 36);
const PAGE = 4096;
const { ToDevice, FromDevice, Bidirectional } = Direction;
const { Mmio, RequireCoherent, SkipCpuSync } = DmaAttr;
const bytes = (count: number, value: number): Uint8Array => new Uint8Array(count).fill(value);

function listOf(...pieces: readonly (readonly [address: number, length: number])[]): PhyRangeList {
  const list = new PhyRangeList();
  for (const [address, length] of pieces) list.appendApart(physAddr(address), length);
  return list;
}

function mapped(made: UntrustedRig, list: PhyRangeList, direction: Direction, attrs = 0) {
  const mapping = made.device.map(list, direction, attrs);
  if (isRefusal(mapping)) return assert.fail(`${mapping.refused}: ${mapping.reason}`);
  return mapping;
}

function end(made: UntrustedRig, mapping: DmaMapping): void {
  void made.device.unmap(mapping);
  made.run();
  const { domain, pool } = made;
  assert.deepEqual([domain.iovas.usedBytes, domain.table.leaves, pool.usedSlots], [0, 0, 0]);
  made.dispose();
}

test('an unaligned piece is a copy with zeros around it, which goes both ways', () => {
  const made = new UntrustedRig();
  made.fill(HOST, PAGE, 0xaa);
  made.fill(HOST + 512, 1000, 0x11);
  // What was in the pool before must not be seen.
  made.fill(made.pool.base, made.pool.sizeBytes, 0xee);
  const mapping = mapped(made, PhyRangeList.of(offsetBy(HOST, 512), 1000), Bidirectional);
  const at = mapping.ranges.address(0);
  assert.deepEqual([mapping.ranges.count, mapping.ranges.length(0), at % PAGE], [1, 1000, 512]);
  assert.ok(mapping.needsSync);
  assert.deepEqual(made.deviceReads(at, 1000), bytes(1000, 0x11));
  assert.deepEqual(made.deviceReads(at - 512, 512), bytes(512, 0), 'before');
  assert.deepEqual(made.deviceReads(at + 1000, PAGE - 1512), bytes(PAGE - 1512, 0), 'behind');
  assert.ok(made.deviceWrites(at, bytes(1000, 0x22)));
  assert.deepEqual(made.cpuReads(HOST + 512, 1000), bytes(1000, 0x11), 'not before unmap');
  void made.device.unmap(mapping);
  assert.deepEqual(made.cpuReads(HOST + 512, 1000), bytes(1000, 0x11), 'not while unmapping');
  made.run();
  assert.deepEqual(made.cpuReads(HOST + 512, 1000), bytes(1000, 0x22));
  assert.deepEqual(made.cpuReads(HOST, 512), bytes(512, 0xaa));
  assert.equal(made.pool.usedSlots, 0);
  made.dispose();
});

test('two copies never share a page of the pool', () => {
  const made = new UntrustedRig();
  const lists = [0, 1, 2, 3].map((i) => PhyRangeList.of(offsetBy(HOST, i * PAGE + 8), 100));
  const mappings = lists.map((list) => mapped(made, list, Bidirectional));
  const pages = mappings.map(({ ranges }) =>
    made.rig.access(ranges.address(0), false, made.device.bdf),
  );
  assert.equal(new Set(pages.map((page) => Math.floor(page / PAGE))).size, 4);
  made.dispose();
});

test('aligned pieces and bus addresses are used as they are', () => {
  const made = new UntrustedRig();
  const far = PEER.far;
  const list = listOf(
    [HOST, 2 * PAGE],
    [HOST + 2 ** 20 + 8, 100],
    [far, PAGE],
    [HOST + 2 ** 21, PAGE],
  );
  const before = [...list];
  const mapping = mapped(made, list, FromDevice);
  assert.equal(made.pool.counters[BounceCounter.bytesIn], 100);
  assert.equal(
    made.rig.access(mapping.ranges.address(0) + PAGE, true, made.device.bdf),
    HOST + PAGE,
  );
  assert.deepEqual([...list], before);
  assert.equal(mapping.source, list);
  assert.deepEqual(
    [...mapping.ranges].map(({ length }) => length),
    [2 * PAGE, 100, 2 * PAGE],
  );
  end(made, mapping);
});

test('sync moves bytes of copies, and without it they are stale', () => {
  const made = new UntrustedRig();
  const mapping = mapped(made, PhyRangeList.of(offsetBy(HOST, 8), 64), Bidirectional);
  const at = mapping.ranges.address(0);
  made.fill(HOST + 8, 64, 1);
  assert.deepEqual(made.deviceReads(at, 64), bytes(64, 0));
  made.device.sync(mapping, 'cpu');
  made.fill(HOST + 8, 64, 2);
  made.device.sync(mapping, 'device');
  assert.deepEqual(made.deviceReads(at, 64), bytes(64, 2));
  end(made, mapping);
});

test('who skips the sync gets nothing back at unmap', () => {
  const made = new UntrustedRig();
  made.fill(HOST, PAGE, 1);
  const mapping = mapped(made, PhyRangeList.of(offsetBy(HOST, 8), 64), Bidirectional, SkipCpuSync);
  assert.deepEqual(made.deviceReads(mapping.ranges.address(0), 64), bytes(64, 1), 'copied in');
  made.deviceWrites(mapping.ranges.address(0), bytes(64, 2));
  end(made, mapping);
});

test('unmap is strict where the provider is lazy: hostile devices, and copies', () => {
  const hostile = new UntrustedRig({ isUntrusted: true }, FlushPolicy.Lazy);
  assert.equal(hostile.domain.flushQueue, null);
  end(hostile, mapped(hostile, PhyRangeList.of(HOST, PAGE), ToDevice));
  const stale = new UntrustedRig({ isCoherent: false }, FlushPolicy.Lazy);
  const small = mapped(stale, PhyRangeList.of(offsetBy(HOST, 8), 8), FromDevice);
  void stale.device.unmap(small);
  assert.deepEqual([stale.domain.flushQueue?.count, stale.pool.usedSlots], [0, 2]);
  stale.run();
  assert.equal(stale.pool.usedSlots, 0);
  stale.dispose();
});

test('refused without a trace: no copies allowed, peers, too long, a full pool', () => {
  const made = new UntrustedRig({ isUntrusted: true }, FlushPolicy.Strict, 256 * 1024);
  const odd = offsetBy(HOST, 8);
  const cases: readonly (readonly [code: string, list: PhyRangeList, attrs: number])[] = [
    ['EIO', PhyRangeList.of(odd, 100), Mmio],
    ['EIO', PhyRangeList.of(odd, 100), RequireCoherent],
    ['EIO', PhyRangeList.of(offsetBy(PEER.far, 8), 100), 0],
    ['EIO', PhyRangeList.of(odd, 256 * 1024), 0],
    ['EREMOTEIO', listOf([odd, 100], [PEER.banned, PAGE]), 0],
    ['ENOMEM', listOf(...Array.from({ length: 65 }, (_, i) => [odd + i * PAGE, 100] as const)), 0],
  ];
  for (const [code, list, attrs] of cases) {
    const answer = made.device.map(list, Bidirectional, attrs);
    assert.ok(isRefusal(answer));
    assert.equal(answer.refused, code, answer.reason);
    assert.deepEqual([made.pool.usedSlots, made.domain.iovas.usedBytes, list.mappings], [0, 0, 0]);
  }
  assert.ok(!isRefusal(made.device.map(PhyRangeList.of(HOST, PAGE), Bidirectional, Mmio)));
  assert.equal(made.device.maxRangeBytes, 252 * 1024);
  made.dispose();
});

test('two-step: head and tail are copies, the middle is as it is, and the size tells', () => {
  const made = new UntrustedRig();
  made.fill(HOST, 4 * PAGE, 0xaa);
  const state = new IovaState(made.device);
  const at = offsetBy(HOST, 512);
  assert.ok(state.tryAlloc(at, 2 * PAGE + 1000));
  assert.deepEqual(state.sizeWords, [2 * PAGE + 1000, 0]);
  assert.equal(state.link(at, 0, 2 * PAGE + 1000, FromDevice), null);
  assert.deepEqual(state.sizeWords, [2 * PAGE + 1000, 0x8000_0000]);
  state.sync(0, 2 * PAGE + 1000);
  const { address } = state;
  const target = (offset: number) => made.rig.access(address + offset, true, made.device.bdf);
  assert.equal(target(PAGE - 512), HOST + PAGE, 'the middle');
  assert.notEqual(target(0), HOST + 512);
  assert.notEqual(target(2 * PAGE), HOST + 2 * PAGE + 512);
  assert.deepEqual(made.deviceReads(address, 2 * PAGE + 1000), bytes(2 * PAGE + 1000, 0xaa));
  assert.deepEqual(made.deviceReads(address - 512, 512), bytes(512, 0));
  const behind = made.deviceReads(address + 2 * PAGE + 1000, 2 * PAGE - 512 - 1000 - PAGE);
  assert.deepEqual(behind, bytes(behind!.length, 0));
  assert.ok(made.deviceWrites(address, bytes(2 * PAGE + 1000, 0x22)));
  void state.destroy(2 * PAGE + 1000);
  made.run();
  assert.deepEqual(made.cpuReads(HOST + 512, 2 * PAGE + 1000), bytes(2 * PAGE + 1000, 0x22));
  assert.deepEqual(made.cpuReads(HOST, 512), bytes(512, 0xaa));
  const { domain, pool } = made;
  assert.deepEqual([domain.iovas.usedBytes, domain.table.leaves, pool.usedSlots], [0, 0, 0]);
  made.dispose();
});

test('two-step: a piece in one page is one copy; aligned ones are none', () => {
  const made = new UntrustedRig();
  const state = new IovaState(made.device);
  assert.ok(state.tryAlloc(offsetBy(HOST, 8), 100));
  assert.equal(state.link(offsetBy(HOST, 8), 0, 100, ToDevice), null);
  assert.equal(made.pool.usedSlots, 2);
  state.sync(0, 100);
  void state.destroy(100);
  made.run();
  assert.ok(state.tryAlloc(HOST, 2 * PAGE));
  assert.equal(state.link(HOST, 0, 2 * PAGE, ToDevice, Mmio | RequireCoherent), null);
  assert.deepEqual([made.pool.usedSlots, state.sizeWords[1]], [0, 0]);
  made.dispose();
});

test('two-step: what must have no copy, and what must be coherent', () => {
  const made = new UntrustedRig();
  const state = new IovaState(made.device);
  const odd = offsetBy(HOST, 8);
  assert.ok(state.tryAlloc(odd, 3 * PAGE - 8));
  for (const attrs of [Mmio, RequireCoherent, Mmio | RequireCoherent]) {
    assert.equal(state.link(odd, 0, 100, ToDevice, attrs)?.refused, 'EPERM');
  }
  assert.equal(state.link(odd, 0, PAGE - 8, ToDevice), null);
  // Now that copies were used, nothing of the state is coherent.
  assert.equal(state.link(HOST, PAGE - 8, PAGE, ToDevice, RequireCoherent)?.refused, 'EOPNOTSUPP');
  assert.equal(state.link(HOST, PAGE - 8, PAGE, ToDevice, Mmio), null);
  void state.destroy(2 * PAGE - 8);
  made.run();
  // A state allocated anew starts over.
  assert.ok(state.tryAlloc(HOST, PAGE));
  assert.equal(state.link(HOST, 0, PAGE, ToDevice, RequireCoherent), null);
  made.dispose();
});

test('two-step: a failure in the middle of a link leaves nothing of it', () => {
  for (const [budget, poolBytes] of [
    [0, 512],
    [1, 512],
    [2, 512],
  ] as const) {
    const made = new UntrustedRig({ isUntrusted: true }, FlushPolicy.Strict, poolBytes * 1024);
    const state = new IovaState(made.device);
    assert.ok(state.tryAlloc(offsetBy(HOST, 8), 5000));
    made.rig.host.budget = budget;
    assert.equal(state.link(offsetBy(HOST, 8), 0, 5000, ToDevice)?.refused, 'ENOMEM');
    assert.deepEqual([made.pool.usedSlots, made.domain.table.leaves], [0, 0]);
    assert.equal(made.domain.table.tables, 1, 'tables that hold nothing');
    state.free();
    made.dispose();
  }
});

test('two-step: a full pool', () => {
  const made = new UntrustedRig({ isUntrusted: true }, FlushPolicy.Strict, 256 * 1024);
  while (made.pool.usedSlots < 126) mapped(made, PhyRangeList.of(offsetBy(HOST, 8), 8), ToDevice);
  const state = new IovaState(made.device);
  assert.ok(state.tryAlloc(offsetBy(HOST, 8), 5000));
  const { leaves } = made.domain.table;
  assert.equal(state.link(offsetBy(HOST, 8), 0, 5000, ToDevice)?.refused, 'ENOMEM');
  assert.deepEqual([made.pool.usedSlots, made.domain.table.leaves], [126, leaves]);
  made.dispose();
});

test('a device that is not coherent: refusals, and the account of caches', () => {
  const made = new UntrustedRig({ isCoherent: false });
  const list = listOf([HOST, PAGE], [PEER.far, PAGE]);
  const answer = made.device.map(list, Bidirectional, RequireCoherent);
  assert.ok(isRefusal(answer) && answer.refused === 'EOPNOTSUPP');
  const state = new IovaState(made.device);
  assert.ok(state.tryAlloc(HOST, PAGE));
  assert.equal(state.link(HOST, 0, PAGE, ToDevice, RequireCoherent)?.refused, 'EOPNOTSUPP');
  assert.equal(made.device.maintainedBytes, 0);
  assert.equal(state.link(HOST, 0, PAGE, FromDevice), null);
  assert.equal(made.device.maintainedBytes, PAGE);
  void state.unlink(0, PAGE);
  made.run();
  assert.equal(made.device.maintainedBytes, 2 * PAGE);
  state.free();
  for (const [direction, attrs, sum] of [
    [ToDevice, 0, 3 * PAGE],
    [FromDevice, 0, 5 * PAGE],
    [Bidirectional, SkipCpuSync, 5 * PAGE],
    [Bidirectional, Mmio, 5 * PAGE],
  ] as const) {
    const mapping = mapped(made, list, direction, attrs);
    assert.equal(mapping.needsSync, attrs === 0);
    void made.device.unmap(mapping);
    made.run();
    assert.equal(made.device.maintainedBytes, sum, `${direction} ${attrs}`);
  }
  const mapping = mapped(made, PhyRangeList.of(HOST, PAGE), ToDevice);
  made.device.sync(mapping, 'device', { offsetBytes: 0, sizeBytes: 100 });
  assert.equal(made.device.maintainedBytes, 6 * PAGE + 100);
  made.dispose();
});

test('a coherent device keeps no account of caches', () => {
  const rig = new IommuDriverRig();
  const mapping = rig.map(PhyRangeList.of(HOST, PAGE), Bidirectional);
  rig.device.sync(mapping, 'cpu');
  rig.device.unmap(mapping);
  assert.deepEqual([rig.device.maintainedBytes, mapping.needsSync], [0, false]);
  rig.dispose();
});

/** By size: whether a device that is not coherent, and writes, gets a copy. */
const SIZES = [
  [8, true],
  [32, true],
  [33, false],
  [64, false],
  [65, true],
  [96, true],
  [97, false],
  [128, false],
  [2048, false],
] as const;

for (const [size, isCopied] of SIZES) {
  test(`${size} bytes may share a cache line: ${isCopied}`, () => {
    const made = new UntrustedRig({ isCoherent: false });
    const list = PhyRangeList.of(HOST, size);
    assert.equal(mapped(made, list, FromDevice).needsSync, true);
    assert.equal(made.pool.usedSlots > 0, isCopied);
    const used = made.pool.usedSlots;
    mapped(made, list, ToDevice);
    assert.equal(made.pool.usedSlots, used, 'what the device only reads needs none');
    made.dispose();
    // The same without translation: a copy, or without a pool a refusal.
    const bounce = new BounceRig({ limits: {}, traits: { isCoherent: false } });
    bounce.map(PhyRangeList.of(LOW, size), FromDevice);
    assert.equal(bounce.pool.usedSlots > 0, isCopied);
    const provider = new DirectProvider({
      kernel: bounce.kernel,
      view: new FakeView(threePorts()),
    });
    const device = provider.device(CLIENT, {}, { isCoherent: false });
    const answer = device.map(PhyRangeList.of(LOW, size), FromDevice);
    assert.equal(isRefusal(answer) && answer.refused, isCopied ? 'EIO' : false);
  });
}

test('bounce buffers are no place for registers and coherent memory', () => {
  const rig = new BounceRig({ isForced: true });
  for (const attrs of [Mmio, RequireCoherent]) {
    const answer = rig.device.map(PhyRangeList.of(LOW, 100), ToDevice, attrs);
    assert.ok(isRefusal(answer) && answer.refused === 'EIO');
    assert.match(answer.reason, /must have none/);
  }
  assert.equal(rig.pool.usedSlots, 0);
});

test('without translation, who skips the sync gets nothing back at unmap either', () => {
  const rig = new BounceRig({ isForced: true });
  const list = PhyRangeList.of(LOW, 64);
  for (const [attrs, expected] of [
    [SkipCpuSync, 0],
    [0, 5],
  ] as const) {
    const mapping = rig.device.map(list, FromDevice, attrs);
    assert.ok(!isRefusal(mapping));
    rig.memory.fill(physAddr(mapping.ranges.address(0)), 64, 5);
    rig.device.unmap(mapping);
    assert.deepEqual(rig.load(list), bytes(64, expected));
  }
});

test("unknown attributes are the caller's mistake", () => {
  const rig = new IommuDriverRig();
  for (const attrs of [1, 1 << 2, 1 << 13, 0.5, -1, Number.NaN]) {
    const call = () => rig.device.map(PhyRangeList.of(HOST, PAGE), ToDevice, attrs);
    assert.throws(call, /expected attributes of DmaAttr.* got/, `${attrs}`);
  }
  rig.dispose();
});
