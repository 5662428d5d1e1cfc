/** Virtual channels: capability, traffic class map, arbitration, credits of their own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { checkLink, type LinkSpec, type VcOptions } from '#emu/pcie/link/link.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import {
  addVirtualChannels,
  PortVcCap1,
  PortVcCap2,
  PortVcControl,
  PortVcStatus,
  Vc,
  VcControl,
  VcScheme,
  VcStatus,
  vcResource,
} from '#emu/pcie/link/vc-capability.ts';
import { VirtualChannels } from '#emu/pcie/link/virtual-channels.ts';
import { Tlp, TlpKind, tlpFlags, trafficClass } from '#emu/pcie/tlp/tlp.ts';
import { type SmallFabric, smallFabric } from '#test/support/small-fabric.ts';

const LINK: LinkSpec = { gen: 3, width: 4 };
const EXTENDED_VC = 2;
const THREE: VcOptions = { count: 3 };

/** The link between an endpoint and its switch port, both ends with the capability. */
class Stand {
  readonly one: SmallFabric;
  readonly ends: readonly [ConfigSpace, ConfigSpace];
  readonly port: Port;
  readonly peer: Port;
  /** Traffic classes in the order in which they left the endpoint. */
  readonly sent: number[] = [];

  constructor(virtualChannels: VcOptions, spec: LinkSpec = LINK) {
    this.one = smallFabric({ link: spec });
    this.ends = [this.one.endpoints[0]!.endpoint.config, this.one.switch.bridges[1]!];
    this.port = this.one.endpoints[0]!.endpoint.port;
    this.peer = this.one.switch.ports[1]!;
    const link = { ...spec, virtualChannels };
    addVirtualChannels(this.port, this.ends[0], link);
    addVirtualChannels(this.peer, this.ends[1], link);
    this.one.fabric.probe = {
      sent: (port, tlp) => {
        if (port === this.port) this.sent.push(trafficClass(tlp));
      },
      delivered: () => undefined,
      refused: () => undefined,
    };
  }

  at(config: ConfigSpace): number {
    return config.extendedCapability(EXTENDED_VC);
  }

  enable(end: 0 | 1, index: number, id: number, map: number): void {
    const config = this.ends[end];
    const value = VcControl.TcMap.of(map) | VcControl.Id.of(id) | VcControl.Enable.of(1);
    config.write(this.at(config) + vcResource(index) + Vc.ResourceControl, 4, value >>> 0);
  }

  isPending(end: 0 | 1, index: number): number {
    const config = this.ends[end];
    const status = config.read(this.at(config) + vcResource(index) + Vc.ResourceStatus, 2);
    return VcStatus.NegotiationPending.get(status);
  }

  /** A write of 128 bytes from the endpoint to its neighbour. */
  write(tc: number): Tlp {
    const tlp = this.one.fabric.tlps.take();
    tlp.kind = TlpKind.MWr;
    tlp.requester = this.one.endpoints[0]!.bus << 8;
    tlp.address = this.one.endpoints[1]!.bar;
    tlp.sizeBytes = 128;
    tlp.flags = tlpFlags(0, tc);
    tlp.seal();
    return tlp;
  }

  /** What leaves, in order, when all of `classes` are there behind a first one. */
  order(classes: readonly number[]): readonly number[] {
    for (const tc of [0, ...classes]) this.port.send(this.write(tc));
    this.one.kernel.run();
    assert.equal(this.port.creditsAtRest() && this.peer.creditsAtRest(), true);
    assert.equal(this.one.fabric.tlps.inUse, 0);
    return this.sent.slice(1);
  }

  both(index: number, id: number, map: number): void {
    this.enable(0, index, id, map);
    this.enable(1, index, id, map);
  }
}

test('the capability says how many channels there are, and is not there unasked', () => {
  const stand = new Stand({ count: 4, lowPriority: 2 });
  const [config] = stand.ends;
  const at = stand.at(config);
  const cap1 = config.read(at + Vc.PortCap1, 4);
  assert.equal(PortVcCap1.ExtendedCount.get(cap1), 3);
  assert.equal(PortVcCap1.LowPriority.get(cap1), 2);
  const cap2 = config.read(at + Vc.PortCap2, 4);
  assert.equal(PortVcCap2.Arbitration.get(cap2), 3);
  const control = config.read(at + vcResource(0) + Vc.ResourceControl, 4);
  assert.equal(control, 0x8000_00ff);
  config.write(at + vcResource(0) + Vc.ResourceControl, 4, 0);
  assert.equal(config.read(at + vcResource(0) + Vc.ResourceControl, 4), 0x8000_0001);
  const plain = new ConfigSpace({
    type: 0,
    identity: { vendorId: 1, deviceId: 1, classCode: 0 },
  });
  addVirtualChannels(stand.port, plain, LINK);
  assert.equal(plain.extendedCapability(EXTENDED_VC), 0);
});

test('until software enables another, all traffic classes go by VC0', () => {
  const stand = new Stand(THREE);
  assert.equal(stand.port.channels.isSingle, true);
  assert.deepEqual(stand.order([5, 3, 7]), [5, 3, 7]);
});

test('strict priority: the highest channel goes first', () => {
  const stand = new Stand(THREE);
  stand.both(1, 1, 0b0000_0010);
  stand.both(2, 2, 0b0000_0100);
  assert.equal(stand.port.channels.isSingle, false);
  assert.deepEqual(stand.order([0, 1, 2, 0, 1, 2]), [2, 2, 1, 1, 0, 0]);
});

test('round robin in the low-priority group, the rest before it', () => {
  const stand = new Stand({ count: 4, lowPriority: 2 });
  for (const id of [1, 2, 3]) stand.both(id, id, 1 << id);
  assert.deepEqual(stand.order([0, 0, 1, 1, 2, 2, 3, 3]), [3, 3, 0, 1, 2, 0, 1, 2]);
});

test('weighted round robin takes the turns of the table once it is loaded', () => {
  const stand = new Stand({ count: 2, lowPriority: 1 });
  stand.both(1, 1, 0b10);
  const [config] = stand.ends;
  const at = stand.at(config);
  const table = at + 16 * PortVcCap2.TableOffset.get(config.read(at + Vc.PortCap2, 4));
  // Three turns of VC1, then one of VC0.
  for (let i = 0; i < 16; i += 4) config.write(table + i, 4, 0x0111_0111);
  const status = (): number => PortVcStatus.Table.get(config.read(at + Vc.PortStatus, 2));
  assert.equal(status(), 1);
  const load = PortVcControl.Select.of(VcScheme.Weighted32) | PortVcControl.LoadTable.of(1);
  config.write(at + Vc.PortControl, 2, load);
  assert.equal(status(), 0);
  assert.equal(PortVcControl.LoadTable.get(config.read(at + Vc.PortControl, 2)), 0);
  assert.deepEqual(stand.order([0, 0, 0, 1, 1, 1, 1, 1, 1]), [1, 1, 1, 0, 1, 1, 1, 0, 0]);
});

test('a channel waits until the other end has it too', () => {
  const stand = new Stand(THREE);
  stand.enable(0, 1, 1, 0b10);
  assert.deepEqual([stand.isPending(0, 1), stand.isPending(1, 1)], [1, 0]);
  stand.port.send(stand.write(1));
  stand.one.kernel.run();
  assert.deepEqual(stand.sent, []);
  stand.enable(1, 1, 1, 0b10);
  assert.deepEqual([stand.isPending(0, 1), stand.isPending(1, 1)], [0, 0]);
  stand.port.send(stand.write(1));
  stand.one.kernel.run();
  assert.deepEqual(stand.sent, [1, 1]);
  stand.peer.linkDown();
  stand.peer.linkUp();
  assert.equal(stand.port.channels.get(1), null, 'the device was reset');
  assert.equal(stand.isPending(1, 1), 1);
  stand.enable(0, 1, 1, 0b10);
  assert.deepEqual([stand.isPending(0, 1), stand.isPending(1, 1)], [0, 0]);
  assert.equal(stand.port.channels.get(1)!.headers(0), 127);
});

test('enabling a channel that is enabled leaves its credits alone', () => {
  const stand = new Stand(THREE);
  stand.both(1, 1, 0b10);
  const channel = stand.port.channels.get(1)!;
  channel.spend(stand.write(1));
  stand.both(1, 1, 0b10);
  assert.equal(channel.headers(0), 126);
});

test('a channel that is switched off loses what waits, and its classes have nowhere to go', () => {
  const stand = new Stand(THREE);
  stand.enable(0, 1, 1, 0b10);
  stand.port.send(stand.write(1));
  const [config] = stand.ends;
  config.write(stand.at(config) + vcResource(0) + Vc.ResourceControl, 1, 0b1111_1101);
  config.write(stand.at(config) + vcResource(1) + Vc.ResourceControl, 4, 0);
  assert.equal(stand.port.losses[0], 1);
  assert.equal(stand.port.channels.get(1), null);
  stand.port.send(stand.write(1));
  assert.deepEqual([...stand.one.fabric.errors.keys()], ['ep0 malformed-tlp']);
  assert.equal(stand.one.fabric.tlps.inUse, 0);
});

test('a class that the receiver maps otherwise is malformed there, and its credits come back', () => {
  const stand = new Stand(THREE);
  stand.both(1, 1, 0b10);
  stand.enable(1, 1, 1, 0b100);
  stand.port.send(stand.write(1));
  stand.one.kernel.run();
  assert.deepEqual([...stand.one.fabric.errors.keys()], ['sw0.down0 malformed-tlp']);
  assert.equal(stand.port.creditsAtRest(), true);
  assert.equal(stand.one.fabric.tlps.inUse, 0);
});

test('channels out of credits do not hold up others', () => {
  const stand = new Stand(THREE, { ...LINK, upperCredits: { PH: 1 } });
  stand.both(1, 1, 0b10);
  assert.deepEqual(stand.order([1, 1, 1, 0]), [1, 0, 1, 1]);
});

/** When each of a dozen writes of a traffic class leaves a port whose peer has room for two. */
function sendTimes(isSplit: boolean, classes: readonly number[]): number[] {
  const stand = new Stand(THREE, { ...LINK, propagationPs: 400_000, upperCredits: { PH: 2 } });
  if (isSplit) stand.both(1, 1, 0b10);
  const { fabric, kernel } = stand.one;
  const times: number[] = [];
  fabric.probe = {
    sent: (port) => {
      if (port === stand.port) times.push(kernel.now);
    },
    delivered: () => undefined,
    refused: () => undefined,
  };
  for (const tc of classes) stand.port.send(stand.write(tc));
  kernel.run();
  assert.equal(fabric.tlps.inUse, 0);
  return times;
}

test('a channel goes on as soon as its credits are back, as VC0 does when it is alone', () => {
  const alone = sendTimes(false, new Array<number>(12).fill(0));
  assert.deepEqual(sendTimes(true, new Array<number>(12).fill(1)), alone);
  assert.ok((alone.at(-1) ?? 0) > 4_000_000, 'credits are what it waits for');
});

test('the port wakes for the first credits of any channel', () => {
  const clock = new Float64Array(1);
  const channels = new VirtualChannels(clock);
  channels.open(1);
  assert.equal(channels.nextDelayPs, -1);
  channels.get(1)?.returns.push(300, 0, 1);
  assert.equal(channels.nextDelayPs, 300);
  channels.vc0.returns.push(500, 0, 1);
  assert.equal(channels.nextDelayPs, 300);
  clock[0] = 200;
  channels.vc0.returns.clear();
  channels.vc0.returns.push(50, 0, 1);
  assert.equal(channels.nextDelayPs, 50);
});

test('any mapping gives a class to one channel at most', () => {
  const maps = fc.array(fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 255 })));
  fc.assert(
    fc.property(maps, (list) => {
      const channels = new VirtualChannels(new Float64Array(1));
      for (let id = 1; id < 8; id++) channels.open(id);
      const expected = new Array<number>(8).fill(0);
      for (const [id, mask] of list) {
        channels.map(id, mask);
        for (let tc = 0; tc < 8; tc++) {
          if ((mask >> tc) & 1) expected[tc] = id;
          else if (expected[tc] === id) expected[tc] = -1;
        }
      }
      const tlp = new Tlp(0);
      const got = expected.map((_, tc) => {
        tlp.flags = tlpFlags(0, tc);
        return channels.of(tlp)?.id ?? -1;
      });
      assert.deepEqual(got, expected);
    }),
  );
});

test('links that have no such channels are refused', () => {
  const refuse = (virtualChannels: VcOptions, text: RegExp): void =>
    assert.throws(() => checkLink({ ...LINK, virtualChannels }, 'port0'), {
      code: 'USAGE',
      message: text,
    });
  refuse({ count: 9 }, /port0: virtualChannels.count must be 1 to 8; got 9/);
  refuse({ count: 2, lowPriority: 2 }, /lowPriority must be 0 to 1; got 2/);
  checkLink({ ...LINK, virtualChannels: { count: 8, lowPriority: 7 } }, 'port0');
});
