/**
 * Enumeration through the real fabric: bus numbers, windows, command registers, payload sizes, access control.
 * [PCIE] 7.3, 7.5
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { formatBdf } from '#emu/base/units.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, type PortSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import {
  Acs,
  AcsBit,
  CapabilityId,
  ExtendedId,
  Header,
  LinkSta,
  Pcie,
} from '#emu/pcie/config/config-registers.ts';
import { plainDevice } from '#test/support/plain-device.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const machines: Machine[] = [];

function boot(spec: MachineSpec, fidelity: 'timed' | 'functional' = 'timed'): Machine {
  const built = machine(spec).build({ fidelity });
  machines.push(built);
  const booted = built.boot();
  built.kernel.run();
  assert.ok(booted.done);
  assert.equal(booted.value, undefined);
  return built;
}

after(() => {
  for (const built of machines) built.dispose();
});

const big = (name: string, sizeBytes: number) =>
  plainDevice(name, [{ index: 0, sizeBytes, width: 64, prefetchable: true }]);
const usp = (...ports: PortSpec[]) => pcieSwitch({ ports });

describe('enumeration', () => {
  it('numbers buses depth first and names what it finds', () => {
    const inner = usp({ device: plainDevice() }, {}, { device: plainDevice() });
    const outer = usp({ device: plainDevice('first') }, { device: inner });
    const { pci } = boot({ rootPorts: [{}, { device: outer }, { device: plainDevice('last') }] });
    const found = pci.nodes.map(
      ({ bdf, path, secondary, subordinate }) =>
        `${formatBdf(bdf)} ${path} ${secondary}-${subordinate}`,
    );
    assert.deepEqual(found, [
      '00:00.0 rc0.host 0-0',
      '00:01.0 rc0.port0 1-1',
      '00:02.0 rc0.port1 2-9',
      '02:00.0 rc0.port1.sw0 3-9',
      '03:00.0 rc0.port1.sw0.down0 4-4',
      '04:00.0 rc0.port1.sw0.down0.first 0-0',
      '03:01.0 rc0.port1.sw0.down1 5-9',
      '05:00.0 rc0.port1.sw0.down1.sw1 6-9',
      '06:00.0 rc0.port1.sw0.down1.sw1.down0 7-7',
      '07:00.0 rc0.port1.sw0.down1.sw1.down0.plain0 0-0',
      '06:01.0 rc0.port1.sw0.down1.sw1.down1 8-8',
      '06:02.0 rc0.port1.sw0.down1.sw1.down2 9-9',
      '09:00.0 rc0.port1.sw0.down1.sw1.down2.plain1 0-0',
      '00:03.0 rc0.port2 10-10',
      '0a:00.0 rc0.port2.last 0-0',
    ]);
  });

  it('gives the same tree in both fidelities', () => {
    const spec = (): MachineSpec => ({
      rootPorts: [{ device: usp({ device: plainDevice() }, { device: big('gpu', GiB) }) }],
    });
    const [timed, functional] = [boot(spec()), boot(spec(), 'functional')];
    const shape = ({ pci }: Machine) =>
      pci.nodes.map(({ path, bdf, bars, low, high }) => ({ path, bdf, bars, low, high }));
    assert.deepEqual(shape(timed), shape(functional));
  });

  it('turns decoding on everywhere, and bus mastering on bridges only', () => {
    const built = boot({ rootPorts: [{ device: usp({ device: plainDevice('a') }) }] });
    const { config } = built.endpoint('a');
    assert.deepEqual([config.memoryEnable, config.busMaster], [true, false]);
    for (const bridge of [...built.root.bridges, ...built.switches.get('sw0')!.bridges]) {
      assert.deepEqual([bridge.memoryEnable, bridge.busMaster], [true, true]);
    }
  });

  it('puts 64-bit prefetchable BARs high and the others below 4 GiB, naturally aligned', () => {
    const device = plainDevice('a', [
      { index: 0, sizeBytes: 16384, width: 64 },
      { index: 2, sizeBytes: 4 * GiB, width: 64, prefetchable: true },
      { index: 4, sizeBytes: 4096, width: 32, prefetchable: true },
      { index: 5, sizeBytes: 65536, width: 32 },
    ]);
    const built = boot({ rootPorts: [{ device }] });
    const { bars } = built.pci.node('a');
    const addresses = bars.map(({ index, address }) => [index, address]);
    assert.deepEqual(addresses, [
      [0, 0x4001_0000],
      [2, 0x40_0000_0000],
      [4, 0x4001_4000],
      [5, 0x4000_0000],
    ]);
    const hardware = built.endpoint('a').config.bars.map(({ index, base }) => [index, base]);
    assert.deepEqual(hardware, addresses);
  });

  it('leaves no hole between the windows of devices of different sizes', () => {
    const sizes = [MiB, 16 * MiB, 4 * MiB, 8 * MiB, 4 * MiB];
    const ports = sizes.map((size, i) => ({ device: big(`d${i}`, size) }));
    const built = boot({ rootPorts: [{ device: pcieSwitch({ ports }) }] });
    const { base, limit } = built.pci.node('sw0').high;
    assert.equal(limit - base, 33 * MiB);
    assert.equal(built.pci.node('sw0').low.base, 0);
    assert.ok(built.root.bridges[0]!.memBase > built.root.bridges[0]!.memLimit);
  });

  it('moves the 64-bit window above DRAM', () => {
    const built = boot({
      memory: { sizeBytes: 2 ** 40 },
      rootPorts: [{ device: big('gpu', GiB) }],
    });
    assert.equal(built.pci.node('gpu').bars[0]?.address, 2 ** 40 + 256 * GiB);
  });
});

describe('settings along the tree', () => {
  const small = plainDevice('small', undefined, { maxPayloadBytes: 256, tags: 32 });
  const large = plainDevice('large', undefined, { maxPayloadBytes: 1024 });

  it('sets the least payload size, and extended tags where supported', () => {
    const built = boot({ rootPorts: [{ device: usp({ device: small }, { device: large }) }] });
    const configs = [...built.endpoints.values()].map(({ config }) => config);
    const bridges = [...built.root.bridges, ...built.switches.get('sw0')!.bridges];
    for (const config of [...configs, ...bridges]) assert.equal(config.maxPayloadBytes, 256);
    assert.deepEqual(
      configs.map(({ extendedTags, maxReadRequestBytes }) => [extendedTags, maxReadRequestBytes]),
      [
        [false, 512],
        [true, 512],
      ],
    );
  });

  it('takes payload and read request sizes from the specification', () => {
    const device = plainDevice('large', undefined, { maxPayloadBytes: 4096 });
    const built = boot({
      maxPayloadBytes: 1024,
      maxReadRequestBytes: 4096,
      rootPorts: [{ device }],
    });
    const { config } = built.endpoint('large');
    assert.deepEqual([config.maxPayloadBytes, config.maxReadRequestBytes], [1024, 4096]);
  });

  it('shows the link as it trained', () => {
    const built = boot({ rootPorts: [{ link: { gen: 3, width: 4 }, device: plainDevice('a') }] });
    const { config } = built.endpoint('a');
    const status = config.read(config.capability(CapabilityId.Pcie) + Pcie.LinkSta, 2);
    assert.deepEqual([LinkSta.Speed.get(status), LinkSta.Width.get(status)], [3, 4]);
  });

  it('sets access control by policy: none, as Linux does, or bit by bit', () => {
    const acs = (spec: MachineSpec) => boot(spec).pci.nodes.map(({ acs: control }) => control);
    const LINUX = AcsBit.SV | AcsBit.RR | AcsBit.CR | AcsBit.UF;
    const tree = (port: PortSpec = {}): PortSpec[] => [
      { device: usp({ device: plainDevice() }, port) },
    ];
    assert.deepEqual(acs({ rootPorts: tree() }), [null, 0, null, 0, null, 0]);
    assert.deepEqual(acs({ acs: 'linux', rootPorts: tree() }), [
      null,
      LINUX,
      null,
      LINUX,
      null,
      LINUX,
    ]);
    const mixed = acs({ acs: 'linux', rootPorts: tree({ acs: 0x7f, acsEgress: 3 }) });
    assert.deepEqual(mixed, [null, LINUX, null, LINUX, null, 0x7f]);
  });

  it('sets no more of access control than a port is capable of', () => {
    const { SV, RR, IB } = AcsBit;
    const below = { device: plainDevice(), acs: SV | RR | IB, acsCapable: SV | IB };
    const built = boot({ acs: 'linux', rootPorts: [{ acsCapable: RR, device: usp(below, {}) }] });
    assert.equal(built.pci.node('rc0.port0').acs, RR);
    assert.equal(built.pci.node('rc0.port0.sw0.down0').acs, SV | IB);
  });

  it('writes the egress vector and reads ACS again on refresh', () => {
    const built = boot({
      rootPorts: [{ device: usp({ device: plainDevice(), acs: AcsBit.EC, acsEgress: 0b100 }, {}) }],
    });
    const [, down0] = built.switches.get('sw0')!.bridges;
    assert.deepEqual([down0!.acsEgressBlocked(2), down0!.acsEgressBlocked(1)], [true, false]);
    const port = built.function('rc0.port0.sw0.down0');
    const control = port.extendedCapability(ExtendedId.Acs) + Acs.Control;
    built.kernel.spawn('change', port.configWrite16(control, AcsBit.RR));
    built.kernel.run();
    assert.equal(built.pci.node('rc0.port0.sw0.down0').acs, AcsBit.EC);
    const { generation } = built.pci;
    built.kernel.spawn('refresh', built.pci.refresh());
    built.kernel.run();
    assert.ok(built.pci.generation > generation);
    const port0 = built.pci.functions.find(({ bdf }) => bdf === port.bdf);
    assert.equal(port0?.acs, AcsBit.RR);
    assert.equal(built.pci.node('rc0.port0.sw0.down0').acs, AcsBit.RR);
  });
});

describe('what does not fit', () => {
  const refused = (spec: MachineSpec): string => {
    const built = machine(spec).build();
    machines.push(built);
    const booted = built.boot();
    let message = 'accepted';
    booted.onDone(
      () => {},
      (error) => {
        assert.equal(error.code, 'USAGE');
        message = error.message;
      },
    );
    built.kernel.run();
    return message;
  };

  it('is named with its size, the window and what to change', () => {
    assert.equal(
      refused({ rootPorts: [{ device: big('gpu0', 512 * GiB) }] }),
      'rc0.port0.gpu0: BAR0 of 512 GiB does not fit the 64-bit prefetchable MMIO window of 256 GiB at ' +
        '0x4000000000, which needs 512 GiB for all BARs: raise mmioWindowBytes',
    );
    const ports = [{ device: big('a', 128 * GiB) }, { device: big('b', 256 * GiB) }];
    assert.match(refused({ rootPorts: ports }), /a: BAR0 of 128 GiB .* needs 384 GiB for all BARs/);
    assert.equal(refused({ mmioWindowBytes: 512 * GiB, rootPorts: ports }), 'accepted');
    const low = plainDevice('edu0', [{ index: 0, sizeBytes: 2 * GiB, width: 32 }]);
    assert.match(
      refused({ rootPorts: [{ device: low }] }),
      /edu0: BAR0 of 2 GiB does not fit the 32-bit MMIO window of 1 GiB at 0x40000000/,
    );
  });

  it('is a bus, once 255 are used', () => {
    const wide = (depth: number): PortSpec[] =>
      Array.from({ length: 31 }, (_, i) =>
        depth > 0 && i < 8 ? { device: pcieSwitch({ ports: wide(depth - 1) }) } : {},
      );
    assert.match(refused({ rootPorts: wide(1) }), /expected at most 255 buses .*got more/);
  });

  it('leaves absent functions to read as all ones', () => {
    const built = boot({ rootPorts: [{}] });
    const read = built.root.configRead(built.pci.node('rc0.port0').bdf, Header.VendorId, 4);
    built.kernel.run();
    assert.equal(read.value, 0x000c_1b36);
  });
});
