/**
 * Devices that come and go while the machine runs, as host software and other devices see it: orderly, by surprise
 * with transfers in flight, and whole switches, in both fidelities. [PCIE] 6.7
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { dmaAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { type MachineSpec, type PortSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { BUTTON_PS } from '#emu/host/services/slot-driver.ts';
import { LinkSta, Pcie } from '#emu/pcie/config/config-registers.ts';
import { SlotCtl } from '#emu/pcie/config/slot-registers.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const { Ok, UnsupportedRequest, Timeout } = DmaStatus;
const PORT_A = 'rc0.port0';
const PORT_B = 'rc0.port1';
const ALL_ONES = 0xffff_ffff;

const both: readonly PortSpec[] = [
  { device: barMemory('a', MiB), hotplug: true },
  { device: barMemory('b', MiB) },
];

for (const fidelity of ['timed', 'functional'] as const) {
  const rigOf = (rootPorts: readonly PortSpec[], spec: Partial<MachineSpec> = {}): BridgesRig =>
    new BridgesRig({ acs: 'off', ...spec, rootPorts }, fidelity);

  /** Bytes of `to` after `from` has written them to its BAR. */
  const reaches = (rig: BridgesRig, from: string, to: string): boolean => {
    const sent = mark(rig.memory(from).local, 0, PAGE, 7);
    rig.memory(to).shown.fill(0, PAGE, 0);
    const { busAddress } = rig.built.pci.node(to).bars[0]!;
    if (rig.transfer(from, true, busAddress, PAGE) !== Ok) return false;
    return (
      Buffer.compare(Buffer.from(sent), Buffer.from(bytesAt(rig.memory(to).shown, 0, PAGE))) === 0
    );
  };
  const slotOf = (rig: BridgesRig, path: string): { control: number; link: number } => {
    const node = rig.built.pci.node(path);
    const at = node.capabilities.get(0x10)!;
    const read = (offset: number): number => {
      const value = rig.built.root.configRead(node.bdf, at + offset, 2);
      rig.built.kernel.run();
      return value.value;
    };
    return { control: read(Pcie.SlotCtl), link: read(Pcie.LinkSta) };
  };

  it(`${fidelity}: orderly: the button, five seconds, the driver, the peers, the power, the hand`, () => {
    const rig = rigOf(both);
    const { built } = rig;
    const seen: string[] = [];
    const note = (what: string): void => {
      const { control } = slotState();
      seen.push(`${what} ${SlotCtl.PowerOff.get(control)}`);
    };
    const config = built.root.bridges[0]!;
    const at = config.capability(0x10);
    const slotState = () => ({ control: config.read(at + Pcie.SlotCtl, 2) });
    built.function('a').onRemove = function* (isSurprise) {
      note(`driver ${isSurprise}`);
      assert.ok(built.kernel.now - start >= BUTTON_PS, 'too early');
      yield 1000;
    };
    const a = built.function('a');
    const provider = built.peerMemory.provider(a.bdf, 0);
    assert.ok(!('refused' in provider));
    const start = built.kernel.now;
    const done = built.remove('a');
    built.kernel.run();
    done.onDone(
      () => note('gone'),
      () => {},
    );
    assert.equal(done.value, undefined);
    assert.deepEqual(seen, ['driver false 0', 'gone 1']);
    assert.deepEqual([...built.endpoints.keys()], ['b']);
    assert.throws(() => built.function('a'), /expected one of b, got 'a'/);
    assert.equal(LinkSta.DllActive.get(slotOf(rig, PORT_A).link), 0);
    assert.deepEqual(built.pci.node(PORT_A).children, []);
    assert.equal(built.fabric.errors.get(`${PORT_A} surprise-down`), undefined);
    assert.equal(built.links().length, 1);
  });

  it(`${fidelity}: orderly: waits until the mappings of peers are gone`, () => {
    const rig = rigOf(both);
    const { built } = rig;
    const provider = built.peerMemory.provider(built.function('a').bdf, 0);
    assert.ok(!('refused' in provider));
    const lease = provider.lease([{ offset: 0, sizeBytes: PAGE }], {
      importer: 'b',
      peerMemory: true,
      onRevoke: () => {},
    });
    assert.ok(!('refused' in lease), 'lease refused');
    const mapping = rig.map('b', lease.list);
    const done = built.remove('a');
    built.kernel.run();
    assert.equal(done.done, false);
    assert.ok(lease.isRevoked, 'nobody told the importer');
    assert.ok(built.endpoints.has('a'), 'pulled under its users');
    rig.unmap('b', mapping);
    built.kernel.run();
    assert.ok(done.done, 'still waits');
    assert.deepEqual([...built.endpoints.keys()], ['b']);
  });

  it(`${fidelity}: a second press takes the first back`, () => {
    const rig = rigOf(both);
    const { kernel, hotplug } = rig.built;
    hotplug.pressAttention(PORT_A);
    kernel.runUntil(kernel.now + BUTTON_PS / 2);
    assert.equal(SlotCtl.PowerIndicator.get(rigControl(rig)), 2);
    hotplug.pressAttention(PORT_A);
    kernel.run();
    assert.equal(SlotCtl.PowerIndicator.get(rigControl(rig)), 1);
    assert.ok(reaches(rig, 'b', 'a'), 'gone');
    // And a third has its effect again.
    hotplug.pressAttention(PORT_A);
    kernel.run();
    assert.deepEqual(rig.built.pci.node(PORT_A).children, []);
    assert.equal(SlotCtl.PowerOff.get(rigControl(rig)), 1);
    // The card is still there: the button brings it back, its registers as after power-up.
    hotplug.pressAttention(PORT_A);
    kernel.run();
    assert.equal(rig.built.pci.node(PORT_A).children.length, 1);
    assert.ok(reaches(rig, 'b', 'a'), 'did not come back');
    assert.equal(rig.built.endpoint('a').busMaster, false);
  });

  it(`${fidelity}: comes back: found, mapped, reached by peers and CPU, again and again`, () => {
    for (const iommu of [false, true]) {
      const rig = rigOf(both, { iommu });
      const { built } = rig;
      const before = built.function('a');
      for (const surprise of [false, true, false, true, true]) {
        const gone = built.remove('a', { surprise });
        built.kernel.run();
        assert.equal(gone.value, undefined);
        const come = built.insert(PORT_A, barMemory('a', MiB));
        built.kernel.run();
        assert.deepEqual(come.value, ['a']);
        const fn = built.function('a');
        assert.notEqual(fn, before);
        assert.equal(fn.bdf, before.bdf);
        assert.deepEqual(fn.bars, before.bars);
        rig.run(fn.setBusMaster(true));
        const host = PhyRangeList.of(built.mm.allocate(PAGE), PAGE);
        const mapping = rig.map('a', host);
        const sent = mark(rig.memory('a').local, 0, PAGE, 5);
        assert.equal(rig.transfer('a', true, mapping.ranges.address(0), PAGE), Ok);
        assert.deepEqual(bytesAt(built.mm.memory, host.address(0), PAGE), sent);
        rig.unmap('a', mapping);
        built.cpu.write32(fn.bar(0).address, 0x1234);
        const read = built.cpu.read32(fn.bar(0).address);
        built.kernel.run();
        assert.equal(read.value, 0x1234);
        if (!iommu) assert.ok(reaches(rig, 'b', 'a') && reaches(rig, 'a', 'b'), 'peers');
      }
      assert.equal(built.fabric.tlps.inUse, 0);
    }
  });

  it(`${fidelity}: by surprise: reads as all ones, writes are lost, and the port says why`, () => {
    const rig = rigOf(both);
    const { built } = rig;
    const a = built.function('a');
    const { busAddress } = built.pci.node('a').bars[0]!;
    const told: boolean[] = [];
    a.onRemove = function* (isSurprise) {
      told.push(isSurprise);
      const identity = yield* a.configRead32(0);
      assert.equal(identity, ALL_ONES);
    };
    const gone = built.remove('a', { surprise: true });
    const read = built.cpu.read32(a.bar(0).address);
    built.cpu.write32(a.bar(0).address, 1);
    built.kernel.run();
    assert.equal(gone.value, undefined);
    assert.deepEqual(told, [true]);
    assert.equal(read.value, ALL_ONES);
    assert.equal(rig.transfer('b', false, busAddress, PAGE), UnsupportedRequest);
    assert.equal(rig.transfer('b', true, busAddress, PAGE), Ok);
    assert.equal(built.fabric.errors.get(`${PORT_A} surprise-down`), 1);
    assert.deepEqual(
      built.errors?.records.flatMap(({ path, errors }) => errors.map((one) => `${path} ${one}`)),
      [`${PORT_A} SDES`, `${PORT_A} UnsupReq`],
    );
  });

  it(`${fidelity}: a slot that expects surprises does not report them`, () => {
    const rig = rigOf([{ device: barMemory('a', MiB), hotplug: { surprise: true } }]);
    const gone = rig.built.remove('a', { surprise: true });
    rig.built.kernel.run();
    assert.ok(gone.done, 'not served');
    assert.equal(rig.built.fabric.errors.get(`${PORT_A} surprise-down`), undefined);
  });

  it(`${fidelity}: a whole switch goes and another comes, with slots of its own`, () => {
    const inner = (n: number): PortSpec[] => [
      { device: barMemory(`x${n}`, MiB), hotplug: { buses: 1, lowBytes: MiB, highBytes: MiB } },
      { device: barMemory(`y${n}`, MiB) },
    ];
    const outer = { device: pcieSwitch({ name: 'sw', ports: inner(0) }), hotplug: true };
    const rig = rigOf([outer, { device: barMemory('b', MiB) }]);
    const { built } = rig;
    assert.deepEqual(built.hotplug.ports, ['rc0.port0.sw.down0', PORT_A]);
    for (const surprise of [true, false]) {
      const gone = built.remove('sw', { surprise });
      built.kernel.run();
      assert.ok(gone.done, 'not gone');
      assert.deepEqual([[...built.endpoints.keys()], built.switches.size], [['b'], 0]);
      assert.deepEqual(built.hotplug.ports, [PORT_A]);
      const come = built.insert(PORT_A, pcieSwitch({ name: 'sw', ports: inner(+surprise) }));
      built.kernel.run();
      assert.deepEqual(come.value, ['sw', `x${+surprise}`, `y${+surprise}`]);
      const [, x = '', y = ''] = come.value;
      for (const name of [x, y]) rig.run(built.function(name).setBusMaster(true));
      assert.ok(reaches(rig, x, y) && reaches(rig, 'b', x) && reaches(rig, y, 'b'), 'peers');
      // A slot of the switch that came.
      const out = built.remove(x, { surprise: true });
      built.kernel.run();
      assert.ok(out.done, 'inner slot not served');
      const again = built.insert('rc0.port0.sw.down0', barMemory(x, MiB));
      built.kernel.run();
      assert.deepEqual(again.value, [x]);
      assert.ok(reaches(rig, y, x), 'inner peer');
    }
  });

  it(`${fidelity}: what does not fit fails, and the next one is brought up`, () => {
    const room = { lowBytes: MiB, highBytes: 2 * MiB };
    const rig = rigOf([{ hotplug: room }, { device: barMemory('b', MiB) }]);
    const { built } = rig;
    const come = built.insert(PORT_A, barMemory('big', 4 * MiB));
    let message = 'accepted';
    come.onDone(
      () => {},
      (error) => {
        message = error.message;
      },
    );
    built.kernel.run();
    assert.match(message, /big: BAR0 of 4 MiB does not fit .* room at rc0.port0$/);
    assert.deepEqual(built.pci.node(PORT_A).children, []);
    const gone = built.remove('big', { surprise: true });
    built.kernel.run();
    assert.ok(gone.done, 'not gone');
    const small = built.insert(PORT_A, barMemory('small', 2 * MiB), {
      link: { gen: 3, width: 4 },
    });
    built.kernel.run();
    assert.deepEqual(small.value, ['small']);
    assert.equal(LinkSta.Width.get(slotOf(rig, PORT_A).link), 4);
    assert.ok(reaches(rig, 'b', 'small'), 'not reached');
  });

  it(`${fidelity}: a switch fits into the room that an empty port keeps, on a bus with an offset`, () => {
    const rootPorts = [{ hotplug: true }, { device: barMemory('b', MiB) }];
    const hostBridges = [{ rootPorts, busOffset: { high: 2 ** 41 } }];
    const rig = new BridgesRig({ acs: 'off', hostBridges }, fidelity);
    const { built } = rig;
    const before = built.function('b').bars;
    const ports = ['x', 'y'].map((name) => ({ device: barMemory(name, MiB) }));
    const come = built.insert(PORT_A, pcieSwitch({ name: 'sw', ports }));
    built.kernel.run();
    assert.deepEqual(come.value, ['sw', 'x', 'y']);
    for (const name of ['x', 'y']) rig.run(built.function(name).setBusMaster(true));
    const { address, busAddress } = built.pci.node('y').bars[0]!;
    assert.equal(busAddress - address, 2 ** 41);
    built.cpu.write32(address, 0x4321);
    built.kernel.run();
    assert.equal(rig.memory('y').shown.getU32(0), 0x4321);
    assert.ok(reaches(rig, 'x', 'y') && reaches(rig, 'b', 'x') && reaches(rig, 'y', 'b'), 'peers');
    assert.deepEqual(built.function('b').bars, before);
    const buses = built.pci.nodes.map(({ bdf }) => bdf >>> 8);
    assert.equal(new Set(built.pci.nodes.map(({ bdf }) => bdf)).size, buses.length);
  });

  it(`${fidelity}: wrong requests are refused`, () => {
    const rig = rigOf([
      { device: barMemory('a', MiB), hotplug: true },
      { device: barMemory('b', MiB) },
    ]);
    const { built } = rig;
    assert.throws(() => built.remove('b'), /expected one of a, got 'b'/);
    assert.throws(
      () => built.insert(PORT_B, barMemory('c', MiB)),
      /expected one of rc0.port0, got 'rc0.port1'/,
    );
    assert.throws(() => built.insert(PORT_A, barMemory('c', MiB)), /expected an empty port/);
    built.remove('a', { surprise: true });
    built.kernel.run();
    assert.throws(
      () => built.insert(PORT_A, barMemory('b', MiB)),
      /a name that no device has, got 'b'/,
    );
  });
}

const rigControl = (rig: BridgesRig): number => {
  const config = rig.built.root.bridges[0]!;
  return config.read(config.capability(0x10) + Pcie.SlotCtl, 2);
};

describe('surprise removal with transfers in flight', () => {
  const SIZE = 256 * 1024;
  for (const where of ['root port', 'switch']) {
    it(`below a ${where}: every transfer ends, data of the others is right, and nothing stays behind`, () => {
      const ports = [
        { device: barMemory('a', MiB), hotplug: true },
        { device: barMemory('b', MiB) },
      ];
      const rootPorts =
        where === 'switch' ? [{ device: pcieSwitch({ name: 'sw', ports }) }] : ports;
      const rig = new BridgesRig({ acs: 'off', rootPorts }, 'timed');
      const { built } = rig;
      const { kernel } = built;
      const a = built.endpoint('a');
      const b = built.endpoint('b');
      const busOf = (name: string) => dmaAddr(built.pci.node(name).bars[0]!.busAddress);
      const host = built.mm.allocate(SIZE);
      const ended: [number, number][] = [];
      const client = { dmaDone: (status: number, arg: number) => ended.push([arg, status]) };
      const sent = mark(rig.memory('b').local, 0, SIZE, 3);
      const [mine, his] = [rig.memory('a'), rig.memory('b')];
      b.read(busOf('a'), SIZE, his.local, 2 * SIZE, Purpose.Data, client, 0);
      b.write(busOf('a'), SIZE, his.local, 0, Purpose.Data, client, 1);
      b.write(dmaAddr(host), SIZE, his.local, 0, Purpose.Data, client, 2);
      a.read(dmaAddr(host), SIZE, mine.local, 0, Purpose.Data, client, 3);
      kernel.runUntil(kernel.now + 3_000_000);
      assert.ok(ended.length < 4, 'nothing in flight');
      const cpu = built.cpu.read32(built.function('a').bar(0).address);
      kernel.runUntil(kernel.now + 200_000);
      const gone = built.remove('a', { surprise: true });
      kernel.run();
      assert.ok(gone.done, 'software has not noticed');
      assert.ok(cpu.done, 'the CPU waits for ever');
      assert.equal(cpu.value, ALL_ONES);
      const statusOf = (arg: number) => ended.find(([one]) => one === arg)?.[1];
      const failed: readonly unknown[] = [UnsupportedRequest, Timeout];
      assert.ok(failed.includes(statusOf(0)), `read ${statusOf(0)}`);
      assert.deepEqual([statusOf(1), statusOf(2)], [Ok, Ok]);
      assert.deepEqual(bytesAt(built.mm.memory, host, SIZE), sent);
      assert.notDeepEqual(bytesAt(mine.shown, 0, SIZE), sent);
      assert.equal(built.fabric.tlps.inUse, 0);
      assert.equal(b.outstandingReads, 0);
      const port = where === 'switch' ? 'rc0.port0.sw.down0' : PORT_A;
      assert.equal(built.fabric.errors.get(`${port} surprise-down`), 1);
      // The port is as good as new.
      const come = built.insert(port, barMemory('c', MiB));
      kernel.run();
      assert.deepEqual(come.value, ['c']);
      rig.memory('c').shown.fill(0, PAGE, 0x5a);
      assert.equal(rig.transfer('b', false, busOf('c'), PAGE), Ok);
      assert.equal(bytesAt(his.local, 0, 1)[0], 0x5a);
    });
  }
});
