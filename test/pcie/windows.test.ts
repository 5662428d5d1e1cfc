/**
 * What a bridge lets through: exact windows for memory and I/O, Memory and I/O Space Enable downstream, Bus Master
 * Enable upstream, in both fidelities where requesters can make it. Each rule alone. [PCIE] 2.2.4, 7.5.1.1.3, 7.5.1.3
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import { hi32, lo32, physAddr } from '#emu/base/units.ts';
import { addPcie } from '#emu/pcie/config/capabilities.ts';
import { Header, PortType, Type1 } from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { BridgeTable, inWindow } from '#emu/pcie/switch/bridge-table.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { MessageCode, MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
import { errorsOf, transfer } from '#test/support/peer-rig.ts';
import {
  DOORBELL,
  DRAM,
  type SmallFabric,
  smallFabric,
  WINDOW,
} from '#test/support/small-fabric.ts';
import { Wire } from '#test/support/wire.ts';

const { Ok, UnsupportedRequest } = DmaStatus;
const { IORd, IOWr, Msg } = TlpKind;
const MSE = 2;
const BME = 4;
const MiB = 0x10_0000;

/** The ports on the way down to the first endpoint, then it itself. */
const onTheWay = (one: SmallFabric): [path: string, config: ConfigSpace][] => [
  ['rc0.port0', one.root.bridges[0]!],
  ['sw0.up', one.switch.bridges[0]!],
  ['sw0.down0', one.switch.bridges[1]!],
  ['ep0', one.endpoints[0]!.endpoint.config],
];

function cpuRead(one: SmallFabric, address: number): number {
  const read = one.root.mmioRead(physAddr(address), 4);
  one.kernel.run();
  return read.value;
}

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`gates, ${fidelity}`, () => {
    for (const [i, name] of [
      'root port',
      'upstream port',
      'downstream port',
      'endpoint',
    ].entries()) {
      it(`Memory Space Enable of the ${name} lets requests down, and nothing else`, () => {
        const one = smallFabric({ fidelity });
        const [a] = one.endpoints;
        a!.memory.setU32(0, 0x1234);
        assert.equal(cpuRead(one, a!.bar), 0x1234);
        const [, config] = onTheWay(one)[i]!;
        config.write(Header.Command, 2, BME);
        assert.equal(cpuRead(one, a!.bar), 0xffff_ffff);
        one.root.mmioWrite(physAddr(a!.bar), 4, 1);
        one.kernel.run();
        assert.equal(a!.memory.getU32(0), 0x1234);
        // Where the root port decodes nothing there is nobody to refuse it.
        const where = ['', 'sw0.up', 'sw0.up', 'ep0'][i];
        assert.deepEqual(errorsOf(one), where === '' ? [] : [`${where} unsupported-request`]);
        assert.equal(transfer(one, false, DRAM, 64), Ok, 'upstream');
      });

      it(`Bus Master Enable of the ${name} lets requests up, and completions always`, () => {
        const one = smallFabric({ fidelity });
        const [a, b, far] = one.endpoints;
        const [path, config] = onTheWay(one)[i]!;
        config.write(Header.Command, 2, MSE);
        a!.memory.setU32(0, 0x1234);
        assert.equal(cpuRead(one, a!.bar), 0x1234, 'completions');
        assert.equal(transfer(one, false, b!.bar, 64, 0, 2), Ok, 'completions of a neighbour');
        if (path === 'ep0') return;
        assert.equal(transfer(one, false, DRAM, 64), UnsupportedRequest);
        transfer(one, true, DRAM, 64);
        transfer(one, true, DOORBELL, 4);
        transfer(one, true, far!.bar + 8192, 64);
        assert.deepEqual([one.host.getU32(DRAM), far!.memory.getU32(8192)], [0, 0]);
        const where = path === 'sw0.up' ? 'sw0.down0' : path;
        assert.deepEqual([...one.fabric.errors], [[`${where} unsupported-request`, 4]]);
        // Peers below the switch need nothing above it.
        const direct = transfer(one, false, b!.bar, 64);
        assert.equal(direct, path === 'sw0.down0' ? UnsupportedRequest : Ok);
      });
    }

    it('a closed window lets nothing through, neither from above nor from the side', () => {
      const one = smallFabric({ fidelity });
      const [, b] = one.endpoints;
      b!.memory.setU32(0, 0x1234);
      const bridge = one.switch.bridges[2]!;
      const limit = bridge.read(Type1.PrefetchLimit, 2);
      bridge.write(Type1.PrefetchLimit, 2, bridge.read(Type1.PrefetchBase, 2) - 0x10);
      assert.equal(cpuRead(one, b!.bar), 0xffff_ffff);
      assert.equal(transfer(one, false, b!.bar, 64), UnsupportedRequest);
      assert.deepEqual(errorsOf(one), [
        'sw0.up unsupported-request',
        'sw0.down0 unsupported-request',
      ]);
      bridge.write(Type1.PrefetchLimit, 2, limit);
      assert.equal(cpuRead(one, b!.bar), 0x1234);
      assert.equal(transfer(one, false, b!.bar, 64), Ok);
    });
  });
}

test('messages pass ports that let no requests up', () => {
  const one = smallFabric();
  for (const [, config] of onTheWay(one)) config.write(Header.Command, 2, 0);
  const wire = new Wire(one.fabric);
  const tlp = one.fabric.tlps.take();
  const routing = MessageRouting.ToRoot;
  Object.assign(tlp, { kind: Msg, messageCode: MessageCode.PM_PME, routing, flags: 0 });
  tlp.requester = one.endpoints[0]!.bus << 8;
  tlp.seal();
  one.endpoints[0]!.endpoint.port.send(tlp);
  one.kernel.run();
  assert.deepEqual(
    wire.seen.map(({ port }) => port),
    ['ep0', 'sw0.up'],
  );
  assert.deepEqual(errorsOf(one), []);
});

describe('I/O windows', () => {
  /** Opens 0x12000 to 0x13fff to the first endpoint and 0x14000 to 0x14fff to the second. */
  function opened(): SmallFabric {
    const one = smallFabric();
    const { bridges } = one.switch;
    const open = (config: ConfigSpace, base: number, limit: number): void => {
      config.write(Type1.IoBase, 1, base);
      config.write(Type1.IoLimit, 1, limit);
      config.write(Type1.IoBaseUpper, 2, 1);
      config.write(Type1.IoLimitUpper, 2, 1);
      config.write(Header.Command, 2, 7);
    };
    open(bridges[0]!, 0x20, 0x40);
    open(bridges[1]!, 0x20, 0x30);
    open(bridges[2]!, 0x40, 0x40);
    return one;
  }
  /** Ports that an I/O request left by, sent down from the root or up from the second endpoint. */
  function ways(
    one: SmallFabric,
    address: number,
    isFromAbove = true,
    kind: number = IOWr,
  ): string[] {
    const wire = new Wire(one.fabric);
    const tlp = one.fabric.tlps.take();
    Object.assign(tlp, { kind, sizeBytes: 4, flags: 0, tag: 0 });
    tlp.address = address;
    tlp.requester = isFromAbove ? 0 : one.endpoints[1]!.bus << 8;
    tlp.seal();
    const from = isFromAbove ? one.root.ports[0]! : one.endpoints[1]!.endpoint.port;
    from.send(tlp);
    one.kernel.run();
    return wire.seen.slice(1).flatMap((seen) => (seen.kind === kind ? [seen.port] : []));
  }

  it('are exact at both ends, from above and from the side', () => {
    const one = opened();
    for (const kind of [IORd, IOWr]) {
      assert.deepEqual(ways(one, 0x1_1fff & ~3, true, kind), []);
      assert.deepEqual(ways(one, 0x1_2000, true, kind), ['sw0.down0']);
      assert.deepEqual(ways(one, 0x1_3ffc, true, kind), ['sw0.down0']);
      assert.deepEqual(ways(one, 0x1_4000, true, kind), ['sw0.down1']);
      assert.deepEqual(ways(one, 0x1_5000, true, kind), []);
      assert.deepEqual(ways(one, 0x2000, true, kind), []);
    }
    assert.deepEqual(ways(one, 0x1_3ffc, false), ['sw0.down0']);
    assert.deepEqual(ways(one, 0x1_4000, false), [], 'its own');
    assert.deepEqual(ways(one, 0x1_5000, false), ['sw0.up']);
  });

  it('are closed without I/O Space Enable, and no memory window lets I/O through', () => {
    for (const i of [0, 1]) {
      const one = opened();
      one.switch.bridges[i]!.write(Header.Command, 2, 6);
      assert.deepEqual(ways(one, 0x1_2000), []);
    }
    const one = opened();
    assert.deepEqual(ways(one, WINDOW), []);
  });
});

test('memory windows are exact at both ends, whatever they are', () => {
  const at = (max: number) => fc.integer({ min: 0, max });
  const window = fc.record({
    low: at(0xffd),
    size: at(3),
    high: at(2 ** 30),
    span: at(3),
    mse: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(window, { minLength: 1, maxLength: 4 }), (windows) => {
      const bridges = windows.map(({ low, size, high, span, mse }) => {
        const config = new ConfigSpace({
          type: 1,
          identity: { vendorId: 1, deviceId: 1, classCode: 0x060400 },
        });
        addPcie(config, { portType: PortType.SwitchDownstream });
        config.write(Type1.MemoryBase, 2, low << 4);
        config.write(Type1.MemoryLimit, 2, Math.max(0, low + size - 1) << 4);
        const [first, last] = [high * MiB, (high + span) * MiB];
        config.write(Type1.PrefetchBase, 2, (lo32(first) >>> 16) & 0xfff0);
        config.write(Type1.PrefetchBaseUpper, 4, hi32(first));
        config.write(Type1.PrefetchLimit, 2, (lo32(last) >>> 16) & 0xfff0);
        config.write(Type1.PrefetchLimitUpper, 4, hi32(last));
        config.write(Header.Command, 2, mse ? MSE : 0);
        return config;
      });
      const table = new BridgeTable(bridges);
      const tlp = new Tlp(0);
      const holds = (i: number, address: number): boolean => {
        const { low, size, high, span, mse } = windows[i]!;
        const isLow = address >= low * MiB && address < Math.max(low + size, 1) * MiB;
        const isHigh = address >= high * MiB && address < (high + span + 1) * MiB;
        return mse && (isLow || isHigh);
      };
      for (const { low, size, high, span } of windows) {
        const edges = [low * MiB, (low + size) * MiB, high * MiB, (high + span + 1) * MiB];
        for (const address of edges.flatMap((edge) => [edge - 1, edge])) {
          if (address < 0) continue;
          assert.equal(
            table.findAddress(address),
            windows.findIndex((_, i) => holds(i, address)),
            `${address}`,
          );
          tlp.address = address;
          assert.equal(table.find(tlp), table.findAddress(address), `a request at ${address}`);
          for (const [i, config] of bridges.entries()) {
            assert.equal(inWindow(config, address), holds(i, address), `window ${i}, ${address}`);
          }
        }
      }
    }),
  );
});
