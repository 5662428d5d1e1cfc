/**
 * Machines that cannot be: each refused with a line that names the key, what was expected and what was got.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkMachine } from '#emu/host/checks/topology-check.ts';
import { pcieSwitch } from '#emu/host/machine-spec.ts';
import { plainDevice } from '#test/support/plain-device.ts';

/** The line with which a specification is refused; untyped, so that impossible values may be given. */
function refusal(spec: object): string {
  try {
    checkMachine(Object.assign({ rootPorts: [] }, spec));
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error);
    assert.equal(error.code, 'USAGE');
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  return 'accepted';
}

const ports = (...rootPorts: object[]): object => ({ rootPorts });
const withPort = (rest: object): object => ({ rootPorts: [{}], ...rest });
const below = (...list: object[]): object =>
  ports({ device: pcieSwitch(Object.assign({ ports: [] }, { ports: list })) });

const shared = plainDevice();
const cases: readonly [name: string, spec: object, message: string][] = [
  ['no root ports', {}, 'rootPorts: expected 1 to 31 root ports, got none'],
  [
    'too many root ports',
    ports(...Array.from({ length: 32 }, () => ({}))),
    'rootPorts: expected at most 31 root ports, got 32',
  ],
  [
    'a width that no link has',
    ports({ link: { gen: 4, width: 3 } }),
    'rootPorts[0].link: link width must be one of 1, 2, 4, 8, 16; got 3',
  ],
  [
    'a generation that no link has',
    below({}, { link: { gen: 9, width: 4 } }),
    'rootPorts[0].device.ports[1].link: link gen must be one of 1, 2, 3, 4, 5, 6; got 9',
  ],
  [
    'two devices on one port',
    ports({ device: [plainDevice('a'), plainDevice()] }),
    'rootPorts[0].device: expected one device on a port, got 2 (a, plain); use pcieSwitch() for more',
  ],
  [
    'one device on two ports',
    ports({ device: shared }, { device: shared }),
    'rootPorts[1].device: expected a device of its own, got the one that is in rootPorts[0].device',
  ],
  [
    'a name used twice',
    ports({ device: plainDevice('disk') }, { device: plainDevice('disk') }),
    "rootPorts[1].device.name: expected a name used once, got 'disk', also in rootPorts[0].device",
  ],
  [
    'a port name used twice',
    ports({ name: 'slot' }, { name: 'slot' }),
    "rootPorts[1].name: expected a name no other port beside it has, got 'slot'",
  ],
  [
    'a name that no path can hold',
    ports({ device: plainDevice('a.b') }),
    "rootPorts[0].device.name: expected a letter, then letters, digits, _ or -, got 'a.b'",
  ],
  [
    'something else in a port',
    ports({ device: { kind: 'x' } }),
    'rootPorts[0].device: expected a device or pcieSwitch(...), got an object',
  ],
  [
    'a string in a port',
    ports({ device: 'nvme' }),
    "rootPorts[0].device: expected a device or pcieSwitch(...), got 'nvme'",
  ],
  ['no port at all', { rootPorts: [null] }, 'rootPorts[0]: expected a port, got null'],
  [
    'a switch without ports',
    below(),
    'rootPorts[0].device.ports: expected 1 to 31 downstream ports, got none',
  ],
  [
    'too much DRAM',
    withPort({ memory: { sizeBytes: 2 ** 50 } }),
    'memory.sizeBytes: expected a multiple of 1 MiB up to 16 TiB, got 1125899906842624',
  ],
  [
    'DRAM of no whole MiB',
    withPort({ memory: { sizeBytes: 5000 } }),
    'memory.sizeBytes: expected a multiple of 1 MiB up to 16 TiB, got 5000',
  ],
  [
    'a rate of 0',
    withPort({ memory: { bytesPerSecond: 0 } }),
    'memory.bytesPerSecond: expected a rate above 0, up to 1e15, got 0',
  ],
  [
    'a negative latency',
    withPort({ memory: { latencyPs: -1 } }),
    'memory.latencyPs: expected an integer of 0 to 1e9 ps, got -1',
  ],
  [
    'an odd window',
    withPort({ mmioWindowBytes: 3 * 2 ** 30 }),
    'mmioWindowBytes: expected a power of two from 1 GiB to 32 TiB, got 3221225472',
  ],
  [
    'an odd payload size',
    withPort({ maxPayloadBytes: 300 }),
    'maxPayloadBytes: expected one of 128, 256, 512, 1024, 2048, 4096, got 300',
  ],
  [
    'ACS in words',
    withPort({ acs: 'on' }),
    "acs: expected 'linux', 'off' or ACS Control bits of 0x10ff, got 'on'",
  ],
  [
    'ACS capabilities that do not exist',
    ports({ acsCapable: 0x200 }),
    "rootPorts[0].acsCapable: expected 'linux', 'off' or ACS Control bits of 0x10ff, got 512",
  ],
  [
    'room for hot-plug that is no room',
    ports({ hotplug: { highBytes: 3 * 2 ** 20 } }),
    'rootPorts[0].hotplug.highBytes: expected a power of two from 1 MiB to 32 TiB, got 3145728',
  ],
  [
    'buses for hot-plug that there are not',
    ports({ hotplug: { buses: 0 } }),
    'rootPorts[0].hotplug.buses: expected 1 to 255 bus numbers, got 0',
  ],
  [
    'hot-plug in words',
    ports({ hotplug: 'yes' }),
    "rootPorts[0].hotplug: expected true, false or the room for devices, got 'yes'",
  ],
  [
    'ACS bits that do not exist',
    ports({ acs: 0x100 }),
    "rootPorts[0].acs: expected 'linux', 'off' or ACS Control bits of 0x10ff, got 256",
  ],
  [
    'forwarding to no root port',
    withPort({ peerForwarding: [{ from: 0, to: 1, allowed: false }] }),
    'peerForwarding[0].to: expected the index of a root port, 0 to 0, got 1',
  ],
  [
    'forwarding in words',
    withPort({ peerForwarding: 'yes' }),
    "peerForwarding: expected true, false, a policy or rules, got 'yes'",
  ],
  [
    'forwarding with a policy that cannot be',
    withPort({ peerForwarding: { splitReadBytes: 65 } }),
    'peerForwarding.splitReadBytes: expected a power of two, 64 to 4096, got 65',
  ],
  [
    'forwarding from no root port',
    withPort({ peerForwarding: [{ from: [0, 3], allowed: false }] }),
    'peerForwarding[0].from: expected the index of a root port, 0 to 0, got 3',
  ],
  [
    'a table for reads without entries',
    withPort({ peerReads: { entries: 0 } }),
    'peerReads.entries: expected 1 to 256, got 0',
  ],
];

const bridges = (...hostBridges: object[]): object => ({ rootPorts: undefined, hostBridges });
const bridge = (rest: object = {}): object => ({ rootPorts: [{}], ...rest });
const bridgeCases: readonly [name: string, spec: object, message: string][] = [
  [
    'both ways to give root ports',
    { rootPorts: [{}], hostBridges: [bridge()] },
    "hostBridges: expected either rootPorts or hostBridges, got 'both'",
  ],
  ['neither', { rootPorts: undefined }, 'rootPorts: expected 1 to 31 root ports, got none'],
  ['no host bridge', bridges(), 'hostBridges: expected 1 to 16 host bridges, got none'],
  [
    'too many host bridges',
    bridges(...Array.from({ length: 17 }, () => bridge())),
    'hostBridges: expected at most 16 host bridges, got 17',
  ],
  [
    'a host bridge without root ports',
    bridges(bridge(), { rootPorts: [] }),
    'hostBridges[1].rootPorts: expected 1 to 31 root ports, got none',
  ],
  [
    'a port that cannot be below a host bridge',
    bridges(bridge(), { rootPorts: [{ acs: 'on' }] }),
    "hostBridges[1].rootPorts[0].acs: expected 'linux', 'off' or ACS Control bits of 0x10ff, got 'on'",
  ],
  [
    'one device below two host bridges',
    bridges({ rootPorts: [{ device: shared }] }, { rootPorts: [{ device: shared }] }),
    'hostBridges[1].rootPorts[0].device: expected a device of its own, got the one that is in hostBridges[0].rootPorts[0].device',
  ],
  [
    'a host bridge named as another',
    bridges(bridge({ name: 'rc1' }), bridge()),
    "hostBridges[1].name: expected a name no other host bridge has, got 'rc1'",
  ],
  [
    'an identity that means nobody',
    bridges(bridge({ identity: { vendorId: 0xffff, deviceId: 1 } })),
    'hostBridges[0].identity.vendorId: expected a number below 0xffff, got 65535',
  ],
  [
    'an identity that is none',
    bridges(bridge({ identity: null })),
    'hostBridges[0].identity: expected { vendorId, deviceId }, got null',
  ],
  [
    'an offset in words',
    bridges(bridge({ busOffset: { low: 'much' } })),
    'hostBridges[0].busOffset: expected multiples of 1 MiB, one or { low, high }, got an object',
  ],
  [
    'an offset of no whole MiB',
    bridges(bridge({ busOffset: 4096 })),
    'hostBridges[0].busOffset: expected multiples of 1 MiB, one or { low, high }, got 4096',
  ],
  [
    'bus addresses of 32-bit BARs beyond 4 GiB',
    bridges(bridge({ busOffset: 2 ** 40 })),
    'hostBridges[0].busOffset: expected the 32-bit window on the bus from 1 MiB to 0x100000000, got 0x10040000000',
  ],
  [
    'bus addresses at 0',
    bridges(bridge({ busOffset: { low: -0x4000_0000 } })),
    'hostBridges[0].busOffset: expected the 32-bit window on the bus from 1 MiB to 0x100000000, got 0x0',
  ],
  [
    'bus addresses below 0',
    bridges(bridge({ busOffset: { high: -(2 ** 40) } })),
    'hostBridges[0].busOffset: expected the 64-bit window on the bus from 1 MiB to 0x10000000000000, got -0xc000000000',
  ],
  [
    'bus addresses that hide DRAM',
    bridges(bridge(), bridge({ busOffset: { low: 0x1000_0000 } })),
    'hostBridges[1].busOffset: expected the 32-bit window on the bus apart from DRAM, got 0x70000000',
  ],
  [
    'bus addresses that hide the doorbell',
    bridges(bridge({ busOffset: { low: -0x2000_0000 } }), bridge()),
    'hostBridges[0].busOffset: expected the 32-bit window on the bus apart from the doorbell, got 0x20000000',
  ],
  [
    'two windows at the same bus addresses',
    bridges(bridge({ busOffset: { high: 0x4000_0000 - 0x40_0000_0000 } })),
    'hostBridges[0].busOffset: expected the 32-bit window on the bus apart from the 64-bit window, got 0x40000000',
  ],
  [
    'a list of host bridges without a vendor',
    withPort({ hostBridgeAllowList: [{ deviceId: 5 }] }),
    'hostBridgeAllowList[0].vendorId: expected a number below 0xffff, got undefined',
  ],
  [
    'a processor without a family',
    withPort({ cpu: { vendor: 'amd' } }),
    'cpu: expected { vendor, family }, got an object',
  ],
];

describe('topology check', () => {
  it('accepts what the issue asks for', () => {
    const device = pcieSwitch({ ports: [{ device: plainDevice('a') }, { device: plainDevice() }] });
    const spec = { iommu: true, rootPorts: [{ link: { gen: 4, width: 8 }, device }, {}] };
    assert.equal(refusal(spec), 'accepted');
    assert.equal(refusal(ports({ device: [plainDevice('a')] })), 'accepted');
  });

  it('accepts host bridges with bus addresses of their own', () => {
    const spec = bridges(
      bridge({ name: 'left', busOffset: -0x1000_0000 }),
      bridge({ busOffset: { high: 2 ** 40 }, identity: { vendorId: 0x8086, deviceId: 0x2f00 } }),
    );
    const rest = { peerForwarding: [{ to: 1, reads: 'refuse' }, { bytesPerSecond: 1e9 }] };
    assert.equal(refusal({ ...spec, ...rest }), 'accepted');
  });

  for (const [name, spec, message] of [...cases, ...bridgeCases]) {
    it(`refuses ${name}`, () => assert.equal(refusal(spec), message));
  }

  it('refuses what is no specification', () => {
    assert.throws(() => checkMachine(JSON.parse('null')), { code: 'USAGE' });
  });
});
