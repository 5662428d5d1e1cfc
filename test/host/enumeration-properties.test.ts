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
import type { BridgeWindow, PciNode } from '#emu/host/enumeration/pci-node.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import {
  type BusOffset,
  type MachineSpec,
  multiFunction,
  type PortSpec,
  pcieSwitch,
} from '#emu/host/machine-spec.ts';
import { physicalMap } from '#emu/host/physical-map.ts';
import type { BarSpec } from '#emu/pcie/config/config-header.ts';
import type { SriovOptions } from '#emu/pcie/config/sriov.ts';
import { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { EchoRegisters, plainDevice } from '#test/support/plain-device.ts';

const MiB = 2 ** 20;
const IDENTITY = { vendorId: 0x1234, deviceId: 0x11e8, classCode: 0 };

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

/** A function with virtual ones behind it, which may need further bus numbers. */
const physical = fc
  .record({
    bar: bar64(0),
    vfBars: fc
      .tuple(bar64(0), fc.option(bar64(2)))
      .map((bars) => bars.filter((bar) => bar !== null && bar.sizeBytes >= 4096)),
    totalVfs: fc.integer({ min: 1, max: 9 }),
    firstOffset: fc.integer({ min: 1, max: 300 }),
    stride: fc.integer({ min: 1, max: 70 }),
  })
  .map(({ bar, vfBars, ...numbers }) => {
    const own = vfBars.filter((one) => one !== null);
    const buildVf: SriovOptions['buildVf'] = (path, _, vfOf) => {
      const bars = own.map((one) => ({ ...one, target: new EchoRegisters() }));
      return new Endpoint(vfOf.fabric, path, { identity: IDENTITY, bars, vfOf });
    };
    return plainDevice(undefined, [bar], {
      sriov: { ...numbers, vfDeviceId: 0x11e9, vfBars: own, buildVf },
    });
  });
const several = fc
  .tuple(fc.array(device, { minLength: 1, maxLength: 10 }), fc.option(physical))
  // Virtual functions of the last function collide with none after it.
  .map(([plain, last]) => multiFunction([...plain, ...(last ? [last] : [])], { ari: true }));

const { port } = fc.letrec<{ port: PortSpec; sw: PortSpec }>((tie) => ({
  port: fc.oneof(
    { maxDepth: 3, depthSize: 'medium' },
    { weight: 1, arbitrary: fc.constant({}) },
    { weight: 4, arbitrary: device.map((built): PortSpec => ({ device: built })) },
    { weight: 1, arbitrary: physical.map((built): PortSpec => ({ device: built })) },
    { weight: 1, arbitrary: several.map((built): PortSpec => ({ device: built })) },
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
  return nodes.flatMap(({ apertures, [pool]: window }) => [
    ...apertures
      .filter((bar) => (bar.width === 64 && bar.prefetchable ? 'high' : 'low') === pool)
      .map(({ busAddress: base, sizeBytes, copies }) => ({
        base,
        limit: base + sizeBytes * copies,
      })),
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
    if (endpoint.config.physical !== null) continue;
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
    checkVirtual(built);
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

/** Virtual functions answer by their requester IDs, within the buses of their port, and decode their addresses. */
function checkVirtual(built: Machine): void {
  const ids = new Set(built.pci.nodes.map(({ bdf }) => bdf));
  for (const node of built.pci.nodes) {
    const { sriov, parent } = node;
    if (sriov === null || parent === null) continue;
    const count = 1 + (node.bdf % sriov.totalVfs);
    const done = built.setVfs(node.name, count);
    built.kernel.run();
    assert.equal(done.value, undefined);
    assert.equal(sriov.vfs.length, count);
    for (const { bdf, name } of sriov.vfs) {
      assert.ok(!ids.has(bdf), `${name} has the ID of another`);
      ids.add(bdf);
      assert.ok(bdfBus(bdf) >= parent.secondary && bdfBus(bdf) <= parent.subordinate, name);
      assert.equal(built.endpoint(name).id, bdf);
    }
  }
  checkDisjoint(
    built.pci.nodes.flatMap(({ bars }) =>
      bars.map(({ address, sizeBytes }) => ({ base: address, limit: address + sizeBytes })),
    ),
  );
  checkLoads(built);
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
