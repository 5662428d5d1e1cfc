/**
 * The list of trusted host bridges, rule by rule. [P2PDMA]
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf } from '#emu/base/units.ts';
import {
  HOST_BRIDGE_ALLOW_LIST,
  hostBridgePolicy,
  hostBridgeVerdict,
  isTrustedCpu,
} from '#emu/dma/p2p/host-bridge-list.ts';
import { FakeView } from '#test/support/dma-rig.ts';

const A = bdf(1, 0, 0);
const B = bdf(2, 0, 0);
const C = bdf(129, 0, 0);
const NOBODY = bdf(200, 0, 0);

/** A and B below the first host bridge, C below the second, with these vendors and devices. */
function view(
  first: readonly [number, number],
  second: readonly [number, number] = first,
): FakeView {
  const made = new FakeView([{ bdf: A }, { bdf: B }, { bdf: C, hostBridge: 1 }]);
  made.hostBridges = [
    { index: 0, bdf: bdf(0, 0, 0), vendorId: first[0], deviceId: first[1] },
    { index: 1, bdf: bdf(128, 0, 0), vendorId: second[0], deviceId: second[1] },
  ];
  return made;
}

/** Whether peers below one bridge, and below the two, are allowed. */
const allowed = (...bridges: Parameters<typeof view>): [boolean, boolean] => {
  const policy = hostBridgePolicy(view(...bridges));
  assert.equal(policy(A, C), policy(C, A));
  return [policy(A, B), policy(A, C)];
};

describe('the default list', () => {
  for (const deviceId of [0x3c00, 0x3c01, 0x2f00, 0x2f01]) {
    it(`8086:${deviceId.toString(16)} forwards between its own root ports only`, () => {
      assert.deepEqual(allowed([0x8086, deviceId]), [true, false]);
      assert.deepEqual(allowed([0x8086, deviceId], [0x8086, 0x2020]), [true, false]);
    });
  }
  for (const deviceId of [0x2030, 0x2031, 0x2032, 0x2033, 0x2020, 0x09a2]) {
    it(`8086:${deviceId.toString(16).padStart(4, '0')} forwards anywhere`, () => {
      assert.deepEqual(allowed([0x8086, deviceId]), [true, true]);
    });
  }
  it('any device of Google forwards', () => {
    assert.deepEqual(allowed([0x1ae0, 1], [0x1ae0, 0xbeef]), [true, true]);
  });
  it('two different ones forward when both are listed', () => {
    assert.deepEqual(allowed([0x8086, 0x2030], [0x1ae0, 7]), [true, true]);
    assert.deepEqual(allowed([0x8086, 0x2030], [0x8086, 0x29c0]), [true, false]);
    assert.deepEqual(allowed([0x8086, 0x29c0], [0x8086, 0x2030]), [false, false]);
  });
  for (const [name, id] of [
    ["QEMU's q35", [0x8086, 0x29c0]],
    ["QEMU's generic host bridge", [0x1b36, 0x0008]],
    ['another vendor with a listed device', [0x1022, 0x2020]],
    ['a root bus where nothing answers', [0xffff, 0xffff]],
  ] as const) {
    it(`${name} is not listed`, () => assert.deepEqual(allowed(id), [false, false]));
  }
});

describe("a list of one's own", () => {
  it('replaces the default, and its first match decides', () => {
    const id = [0x1234, 5] as const;
    const list = [{ vendorId: 0x1234, deviceId: 5, withinOneBridge: true }, { vendorId: 0x1234 }];
    const own = hostBridgePolicy(view(id), list);
    assert.deepEqual([own(A, B), own(A, C)], [true, false]);
    const turned = hostBridgePolicy(view(id), list.toReversed());
    assert.deepEqual([turned(A, B), turned(A, C)], [true, true]);
    assert.equal(hostBridgePolicy(view([0x8086, 0x2020]), list)(A, B), false);
    const extended = hostBridgePolicy(view(id), [...HOST_BRIDGE_ALLOW_LIST, { vendorId: 0x1234 }]);
    assert.equal(extended(A, C), true);
  });
});

describe('the processor', () => {
  it('is trusted from AMD family 17h on, whatever its host bridges', () => {
    const families: [string, number, boolean][] = [
      ['AMD', 0x17, true],
      ['amd', 0x1a, true],
      ['amd', 0x16, false],
      ['intel', 0x17, false],
    ];
    for (const [vendor, family, expected] of families) {
      assert.equal(isTrustedCpu({ vendor, family }), expected);
      const policy = hostBridgePolicy(view([0x1022, 1]), undefined, { vendor, family });
      assert.deepEqual([policy(A, B), policy(A, C)], [expected, expected]);
    }
    assert.equal(isTrustedCpu(undefined), false);
  });
});

describe('reasons', () => {
  const reason = (...args: Parameters<typeof hostBridgeVerdict>): string =>
    hostBridgeVerdict(...args).reason;
  it('name the host bridge and what is the matter with it', () => {
    assert.equal(
      reason(view([0x8086, 0x3c00]), A, C),
      'host bridge 00:00.0 (8086:3c00) is listed for its own root ports only',
    );
    assert.equal(
      reason(view([0x8086, 0x2020], [0x8086, 0x29c0]), A, C),
      'host bridge 80:00.0 (8086:29c0) is not on the list of host bridges',
    );
    assert.equal(
      reason(view([0x8086, 0x2020]), A, B),
      'host bridge 00:00.0 (8086:2020) is on the list of host bridges',
    );
    assert.equal(
      reason(view([0x8086, 0x2020]), C, A),
      'host bridge 80:00.0 (8086:2020) and host bridge 00:00.0 (8086:2020) are on the list of host bridges',
    );
    assert.equal(
      reason(view([1, 1]), A, C, [], { vendor: 'amd', family: 0x19 }),
      'the processor is an AMD of family 17h or newer',
    );
    const unknown = hostBridgeVerdict(view([0x8086, 0x2020]), A, NOBODY);
    assert.deepEqual(unknown, {
      allowed: false,
      reason: 'one of the functions is not in the topology',
    });
  });
});
