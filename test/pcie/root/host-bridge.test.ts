/**
 * Host bridges: which root port takes a CPU address or a bus number, and what the address becomes.
 * [PCIE] 1.3.1
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { physAddr } from '#emu/base/units.ts';
import { Header, Type1 } from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { HostBridges, NO_PORT, ROOT_BUS } from '#emu/pcie/root/host-bridge.ts';

const IDENTITY = { vendorId: 1, deviceId: 2, classCode: 0x060000 };
const MiB = 2 ** 20;

/** A root port with a memory window of 1 MiB and one bus. */
function port(base: number, bus: number): ConfigSpace {
  const config = new ConfigSpace({ type: 1, identity: IDENTITY });
  config.write(Type1.SecondaryBus, 1, bus);
  config.write(Type1.SubordinateBus, 1, bus);
  config.write(Type1.MemoryBase, 2, base >>> 16);
  config.write(Type1.MemoryLimit, 2, base >>> 16);
  config.write(Header.Command, 2, 2);
  return config;
}

const host = (): ConfigSpace => new ConfigSpace({ type: 0, identity: IDENTITY });
const window = (base: number, sizeBytes: number, busOffset?: number) => ({
  base: physAddr(base),
  sizeBytes,
  ...(busOffset === undefined ? {} : { busOffset }),
});

/** Two bridges whose ports have the same bus addresses; CPU addresses of the second are 256 MiB higher. */
function two(): HostBridges {
  const bridges = () => [0x1000_0000, 0x1010_0000];
  return new HostBridges([
    {
      config: host(),
      lastBus: 0x7f,
      windows: [window(0x1000_0000, 4 * MiB)],
      bridges: bridges().map((base, i) => port(base, 1 + i)),
    },
    {
      config: host(),
      rootBus: 0x80,
      lastBus: 0xbf,
      windows: [window(2 ** 40, MiB), window(0x2000_0000, 4 * MiB, -0x1000_0000)],
      bridges: bridges().map((base, i) => port(base, 0x81 + i)),
    },
  ]);
}

describe('host bridges', () => {
  it('find the port of a CPU address, and its address there', () => {
    const cases: [number, number, number][] = [
      [0x1000_0000, 0, 0x1000_0000],
      [0x101f_ffff, 1, 0x101f_ffff],
      [0x2000_0004, 2, 0x1000_0004],
      [0x2010_0000, 3, 0x1010_0000],
      // In a window but of no port; in no window.
      [0x2020_0000, -1, 0x2020_0000],
      [2 ** 40, -1, 2 ** 40],
      [0x2040_0000, -1, 0x2040_0000],
      [0x0fff_ffff, -1, 0x0fff_ffff],
    ];
    const hosts = two();
    for (const [address, expected, bus] of cases) {
      const at = { address };
      assert.deepEqual([hosts.resolve(at), at.address], [expected, bus], address.toString(16));
    }
  });

  it('find the port of a bus, and know root buses', () => {
    const hosts = two();
    const found = [0, 1, 2, 3, 0x80, 0x81, 0x82, 0xc0].map((bus) => hosts.findBus(bus));
    assert.deepEqual(found, [ROOT_BUS, 0, 1, NO_PORT, ROOT_BUS, 2, 3, NO_PORT]);
    assert.equal(hosts.ofBus(0xbf), hosts.all[1]);
    assert.equal(hosts.ofBus(0xc0), null);
  });

  it('ignore buses that software gave to a port but the host bridge does not forward', () => {
    const hosts = two();
    hosts.bridges[0]!.write(Type1.SecondaryBus, 1, 0x85);
    hosts.bridges[0]!.write(Type1.SubordinateBus, 1, 0x85);
    assert.equal(hosts.findBus(0x85), -1);
  });

  it('name their functions, and themselves as requesters', () => {
    const hosts = two();
    const [first, second] = hosts.all;
    assert.deepEqual([first?.id, second?.id], [0x0000, 0x8000]);
    assert.deepEqual(
      [0, 1, 2, 3].map((index) => hosts.portId({ index })),
      [0x0008, 0x0010, 0x8008, 0x8010],
    );
    assert.equal(second?.function(0x8000), second?.config);
    assert.equal(second?.function(0x8010), hosts.bridges[3]);
    assert.deepEqual(
      [0x8001, 0x8018].map((id) => second?.function(id)),
      [null, null],
    );
    assert.equal(hosts.ofPort(3), second);
    assert.throws(() => hosts.ofPort(4), RangeError);
  });

  it('follow configuration writes, and forward everything unless told otherwise', () => {
    const hosts = new HostBridges([{ config: host(), bridges: [port(0x4000_0000, 1)] }]);
    const at = { address: 0x5000_0000 };
    assert.equal(hosts.resolve(at), -1);
    hosts.bridges[0]!.write(Type1.MemoryLimit, 2, 0x5000);
    assert.deepEqual([hosts.resolve(at), at.address], [0, 0x5000_0000]);
    assert.equal(hosts.ofBus(255), hosts.all[0]);
  });
});
