/**
 * Properties of enumeration over random trees: addresses disjoint and inside every window above them, windows
 * tight, bus ranges nested, hardware and host in agreement. [PCIE] 7.3, 7.5.1.3
 * @module
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { bdfBus } from '#emu/base/units.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type PortSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import type { BridgeWindow, PciNode } from '#emu/host/pci-node.ts';
import { physicalMap } from '#emu/host/physical-map.ts';
import type { BarSpec } from '#emu/pcie/config-header.ts';
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
      .map(({ address, sizeBytes }) => ({ base: address, limit: address + sizeBytes })),
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
  const { low, high } = physicalMap(built.spec);
  for (const pool of ['low', 'high'] as const) {
    const span = pool === 'low' ? low : high;
    const all = rangesOn(built.pci.roots, pool);
    checkDisjoint(all);
    const whole = { base: span.base, limit: span.base + span.sizeBytes };
    assert.ok(all.every((range) => inside(range, whole)));
  }
  for (const node of built.pci.nodes) {
    for (const { address, sizeBytes } of node.bars) assert.equal(address % sizeBytes, 0);
    if (!node.isBridge) continue;
    checkBuses(node);
    checkWindow(node.low, rangesOn(node.children, 'low'));
    checkWindow(node.high, rangesOn(node.children, 'high'));
  }
}

/** The hardware decodes what the host believes. */
function checkHardware(built: Machine): void {
  for (const [name, endpoint] of built.endpoints) {
    const host = built.pci.node(name).bars.map(({ index, address }) => [index, address]);
    const hardware = endpoint.config.bars.map(({ index, base }) => [index, base]);
    assert.deepEqual(hardware, host);
    assert.ok(endpoint.config.bars.every(({ enabled }) => enabled));
  }
  for (const [i, bridge] of built.root.bridges.entries()) {
    const node = built.pci.roots[i + 1]!;
    assert.deepEqual([bridge.secondary, bridge.subordinate], [node.secondary, node.subordinate]);
    if (node.high.limit > node.high.base) {
      assert.deepEqual([bridge.prefBase, bridge.prefLimit + 1], [node.high.base, node.high.limit]);
    } else assert.ok(bridge.prefBase > bridge.prefLimit);
    if (node.low.limit > node.low.base) {
      assert.deepEqual([bridge.memBase, bridge.memLimit + 1], [node.low.base, node.low.limit]);
    } else assert.ok(bridge.memBase > bridge.memLimit);
  }
}

it('holds on random trees', () => {
  const trees = fc.array(port, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(trees, (rootPorts) => {
      const built = machine({ rootPorts }).build({ fidelity: 'functional' });
      try {
        const booted = built.boot();
        built.kernel.run();
        assert.equal(booted.value, undefined);
        checkTree(built);
        checkHardware(built);
        assert.deepEqual(built.kernel.outstanding(), []);
      } finally {
        built.dispose();
      }
    }),
    { numRuns: 60 },
  );
});
