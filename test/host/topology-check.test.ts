/**
 * Machines that cannot be: each refused with a line that names the key, what was expected and what was got.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pcieSwitch } from '#emu/host/machine-spec.ts';
import { checkMachine } from '#emu/host/topology-check.ts';
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
    'rootPorts[0].device.ports[1].link: link gen must be one of 1, 2, 3, 4, 5; got 9',
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
    "acs: expected 'linux', 'off' or ACS Control bits up to 0x7f, got 'on'",
  ],
  [
    'ACS bits that do not exist',
    ports({ acs: 0x80 }),
    "rootPorts[0].acs: expected 'linux', 'off' or ACS Control bits up to 0x7f, got 128",
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
];

describe('topology check', () => {
  it('accepts what the issue asks for', () => {
    const device = pcieSwitch({ ports: [{ device: plainDevice('a') }, { device: plainDevice() }] });
    const spec = { iommu: true, rootPorts: [{ link: { gen: 4, width: 8 }, device }, {}] };
    assert.equal(refusal(spec), 'accepted');
    assert.equal(refusal(ports({ device: [plainDevice('a')] })), 'accepted');
  });

  for (const [name, spec, message] of cases) {
    it(`refuses ${name}`, () => assert.equal(refusal(spec), message));
  }

  it('refuses what is no specification', () => {
    assert.throws(() => checkMachine(JSON.parse('null')), { code: 'USAGE' });
  });
});
