/**
 * Properties of enumeration over random trees: addresses disjoint and inside every window above them, windows
 * tight, bus ranges nested, hardware and host in agreement. [PCIE] 7.3, 7.5.1.3
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { bdfBus, offsetBy } from '#emu/base/units.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import {
  type BusOffset,
  type MachineSpec,
  type PortSpec,
  pcieSwitch,
} from '#emu/host/machine-spec.ts';
import type { BridgeWindow, PciNode } from '#emu/host/pci-node.ts';
import { physicalMap } from '#emu/host/physical-map.ts';
import type { BarSpec } from '#emu/pcie/config-header.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { plainDevice } from '#test/support/plain-device.ts';

const MiB = 2 ** 20;

const bar64 = (index: 0 | 2 | 4): fc.Arbitrary<BarSpec> =>
  fc.record({
    index: fc.constant(index),
    width: fc.constant<64>(64),
    prefetchable: fc.boolean(),
    sizeBytes: fc.integer({ min: 7, max: 24 }).map((log) => 2 ** log),
  });
const huge: fc.Arbitrary<BarSpec> = fc.record({
  index: fc.constant<0>(0),
  width: fc.constant<64>(64),
  prefetchable: fc.constant(true),
  sizeBytes: fc.integer({ min: 20, max: 34 }).map((log) => 2 ** log),
});
const bar32: fc.Arbitrary<BarSpec> = fc.record({
  index: fc.constant<5>(5),
  width: fc.constant<32>(32),
  sizeBytes: fc.integer({ min: 7, max: 22 }).map((log) => 2 ** log),
});
const device = fc
  .tuple(fc.oneof(bar64(0), huge), fc.option(bar64(2)), fc.option(bar32))
  .map((bars) =>
    plainDevice(
      undefined,
      bars.filter((bar) => bar !== null),
    ),
  );

const { port } = fc.letrec<{ port: PortSpec; sw: PortSpec }>((tie) => ({
  port: fc.oneof(
    { maxDepth: 3, depthSize: 'medium' },
    { weight: 1, arbitrary: fc.constant({}) },
    { weight: 4, arbitrary: device.map((built): PortSpec => ({ device: built })) },
    { weight: 3, arbitrary: tie('sw') },
  ),
  sw: fc
    .array(tie('port'), { minLength: 1, maxLength: 4 })
    .map((ports): PortSpec => ({ device: pcieSwitch({ ports }) })),
}));

interface Range {
  readonly base: number;
  readonly limit: number;
}

const inside = (inner: Range, outer: Range): boolean =>
  inner.base >= outer.base && inner.limit <= outer.limit;

function checkDisjoint(ranges: readonly Range[]): void {
  const sorted = [...ranges].sort((a, b) => a.base - b.base);
  for (const [i, range] of sorted.entries()) {
    const next = sorted[i + 1];
    if (next) assert.ok(range.limit <= next.base, `${range.limit} > ${next.base}`);
  }
}

function rangesOn(nodes: readonly PciNode[], pool: 'low' | 'high'): Range[] {
  return nodes.flatMap(({ bars, [pool]: window }) => [
    ...bars
      .filter((bar) => (bar.width === 64 && bar.prefetchable ? 'high' : 'low') === pool)
      .map(({ busAddress, sizeBytes }) => ({ base: busAddress, limit: busAddress + sizeBytes })),
    ...(window.limit > window.base ? [window] : []),
  ]);
}

/** A window holds what is below it, starts at its first byte and ends at its last, to 1 MiB. */
function checkWindow(window: BridgeWindow, content: readonly Range[]): void {
  checkDisjoint(content);
  if (content.length === 0) assert.equal(window.limit, window.base);
  else {
    assert.ok(content.every((range) => inside(range, window)));
    assert.equal(window.base, Math.floor(Math.min(...content.map((r) => r.base)) / MiB) * MiB);
    assert.equal(window.limit, Math.ceil(Math.max(...content.map((r) => r.limit)) / MiB) * MiB);
  }
}

function checkBuses(node: PciNode): void {
  assert.ok(node.secondary <= node.subordinate);
  for (const child of node.children) {
    assert.equal(bdfBus(child.bdf), node.secondary);
    if (!child.isBridge) continue;
    assert.ok(child.secondary > node.secondary && child.subordinate <= node.subordinate);
  }
  const ranges = node.children
    .filter(({ isBridge }) => isBridge)
    .map(({ secondary, subordinate }) => ({ base: secondary, limit: subordinate + 1 }));
  checkDisjoint(ranges);
}

function checkTree(built: Machine): void {
  for (const [i, map] of physicalMap(built.spec).hostBridges.entries()) {
    const roots = built.pci.roots.filter(({ hostBridge }) => hostBridge === i);
    for (const pool of ['low', 'high'] as const) {
      const { busBase, sizeBytes } = map[pool];
      const all = rangesOn(roots, pool);
      checkDisjoint(all);
      const whole = { base: busBase, limit: busBase + sizeBytes };
      assert.ok(all.every((range) => inside(range, whole)));
    }
    for (const node of roots) {
      assert.equal(bdfBus(node.bdf), map.rootBus);
      if (node.isBridge) assert.ok(node.subordinate <= map.lastBus);
    }
  }
  checkCpuAddresses(built);
  for (const node of built.pci.nodes) {
    for (const { busAddress, sizeBytes } of node.bars) assert.equal(busAddress % sizeBytes, 0);
    if (!node.isBridge) continue;
    checkBuses(node);
    checkWindow(node.low, rangesOn(node.children, 'low'));
    checkWindow(node.high, rangesOn(node.children, 'high'));
  }
}

/** As the CPU sees them, BARs of all host bridges are apart, each in the window of its own. */
function checkCpuAddresses(built: Machine): void {
  const { hostBridges } = physicalMap(built.spec);
  const bars = built.pci.nodes.flatMap((node) => node.bars.map((bar) => ({ node, bar })));
  checkDisjoint(
    bars.map(({ bar: { address, sizeBytes } }) => ({ base: address, limit: address + sizeBytes })),
  );
  for (const { node, bar } of bars) {
    const map = hostBridges[node.hostBridge]!;
    const { base, busBase, sizeBytes } = bar.width === 64 && bar.prefetchable ? map.high : map.low;
    assert.equal(bar.busAddress - bar.address, busBase - base);
    assert.ok(bar.address >= base && bar.address + bar.sizeBytes <= base + sizeBytes);
  }
}

/** The hardware decodes what the host believes. */
function checkHardware(built: Machine): void {
  for (const [name, endpoint] of built.endpoints) {
    const host = built.pci.node(name).bars.map(({ index, busAddress }) => [index, busAddress]);
    const hardware = endpoint.config.bars.map(({ index, base }) => [index, base]);
    assert.deepEqual(hardware, host);
    assert.ok(endpoint.config.bars.every(({ enabled }) => enabled));
  }
  const ports = built.pci.roots.filter(({ isBridge }) => isBridge);
  for (const [i, bridge] of built.root.bridges.entries()) {
    const node = ports[i]!;
    assert.deepEqual([bridge.secondary, bridge.subordinate], [node.secondary, node.subordinate]);
    if (node.high.limit > node.high.base) {
      assert.deepEqual([bridge.prefBase, bridge.prefLimit + 1], [node.high.base, node.high.limit]);
    } else assert.ok(bridge.prefBase > bridge.prefLimit);
    if (node.low.limit > node.low.base) {
      assert.deepEqual([bridge.memBase, bridge.memLimit + 1], [node.low.base, node.low.limit]);
    } else assert.ok(bridge.memBase > bridge.memLimit);
  }
}

/** Boots a machine of random trees, unless they do not fit, and checks all of it. */
function checkMachine(spec: MachineSpec): void {
  const built = machine(spec).build({ fidelity: 'functional' });
  try {
    const booted = built.boot();
    built.kernel.run();
    if (hasFailed(booted)) return fc.pre(false);
    checkTree(built);
    checkHardware(built);
    checkLoads(built);
    assert.deepEqual(built.kernel.outstanding(), []);
  } finally {
    built.dispose();
  }
}

/** Random trees may be too large: only that is an excuse. */
function hasFailed(booted: Pending<void>): boolean {
  try {
    return booted.value !== undefined;
  } catch (error) {
    assert.ok(error instanceof EmuError && error.code === 'USAGE', String(error));
    assert.match(error.message, /does not fit|at most \d+ buses/);
    return true;
  }
}

/** A load of the CPU arrives at the function that has the BAR, at its offset. */
function checkLoads({ cpu, kernel, pci }: Machine): void {
  for (const { address, sizeBytes } of pci.nodes.flatMap(({ bars }) => bars)) {
    const reads = [0, sizeBytes - 4].map((offset) => ({
      offset,
      read: cpu.read32(offsetBy(address, offset)),
    }));
    kernel.run();
    for (const { offset, read } of reads) {
      const low = offset & 0xff;
      const value = (low | ((low + 1) << 8) | ((low + 2) << 16) | ((low + 3) << 24)) >>> 0;
      assert.equal(read.value, value);
    }
  }
}

it('holds on random trees', () => {
  const trees = fc.array(port, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(trees, (rootPorts) => checkMachine({ rootPorts })),
    { numRuns: 60 },
  );
});

const DOORBELL = 0x2800_0000;
const DRAM_BASE = 0x8000_0000;
const WINDOW = 2 ** 42;
const LOW_BASE = 0x4000_0000;

/** Bus addresses of a share of both windows, in MiB, clear of memory and the doorbell. */
function offsets(index: number, parts: number): fc.Arbitrary<BusOffset> {
  const lowBytes = 2 ** 30 / parts;
  const lowBase = LOW_BASE + index * lowBytes;
  const highBase = WINDOW + (index * WINDOW) / parts;
  const range = (from: number, limit: number) =>
    fc.integer({ min: from / MiB, max: limit / MiB - 1 }).map((mib) => mib * MiB);
  const low = fc.oneof(
    range(MiB, DOORBELL - lowBytes),
    range(DOORBELL + MiB, DRAM_BASE - lowBytes),
  );
  return fc.oneof(
    fc.constant(0),
    fc.record({
      low: low.map((base) => base - lowBase),
      high: range(8 * 2 ** 30, 2 ** 51).map((base) => base - highBase),
    }),
  );
}

it('holds below several host bridges, each with bus addresses of its own', () => {
  const trees = fc.array(port, { minLength: 1, maxLength: 2 });
  const bridges = fc
    .integer({ min: 2, max: 3 })
    .chain((count) =>
      fc.tuple(
        ...Array.from({ length: count }, (_, i) =>
          fc.record({ rootPorts: trees, busOffset: offsets(i, count === 2 ? 2 : 4) }),
        ),
      ),
    );
  fc.assert(
    fc.property(bridges, (hostBridges) => checkMachine({ mmioWindowBytes: WINDOW, hostBridges })),
    { numRuns: 60 },
  );
});
