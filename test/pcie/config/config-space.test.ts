/**
 * Configuration space driven as host software does: sizing, masks, partial writes, capability lists, resets.
 * [PCIE] 7.5, 7.7
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addAcs, addPcie, addSerialNumber, setLinkUp } from '#emu/pcie/config/capabilities.ts';
import type { BarSpec } from '#emu/pcie/config/config-header.ts';
import {
  Acs,
  AcsBit,
  acsControlBits,
  CapabilityId,
  DevCtl,
  ExtendedId,
  Header,
  LinkSta,
  Pcie,
  PcieCaps,
  PortType,
  Type0,
  Type1,
  windowRegister,
  windowUpper,
} from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { SlotSta } from '#emu/pcie/config/slot-registers.ts';

const identity = { vendorId: 0x1b36, deviceId: 0x0010, revisionId: 2, classCode: 0x010802 };
const GiB = 2 ** 30;

const endpoint = (...bars: BarSpec[]): ConfigSpace => new ConfigSpace({ type: 0, identity, bars });
const bridge = (): ConfigSpace =>
  new ConfigSpace({ type: 1, identity: { ...identity, classCode: 0x060400 } });

/** Sizes a BAR as software does: all ones, read back, restore. */
function sizeOf(config: ConfigSpace, index: number): { low: number; high: number } {
  const at = Header.Bar0 + 4 * index;
  config.write(at, 4, 0xffff_ffff);
  config.write(at + 4, 4, 0xffff_ffff);
  const result = { low: config.read(at, 4), high: config.read(at + 4, 4) };
  config.write(at, 4, 0);
  config.write(at + 4, 4, 0);
  return result;
}

describe('header', () => {
  it('shows identity and class in their bytes', () => {
    const config = endpoint();
    assert.equal(config.read(0, 4), 0x0010_1b36);
    assert.equal(config.read(Header.RevisionId, 4), 0x0108_0202);
    assert.equal(config.read(Header.HeaderType, 1), 0);
    assert.equal(bridge().read(Header.HeaderType, 1), 1);
    assert.equal(config.read(Header.InterruptPin, 1), 0);
    assert.equal(config.read(Type0.SubsystemVendorId, 4), 0x0010_1b36);
    config.write(Header.VendorId, 4, 0);
    assert.equal(config.read(0, 4), 0x0010_1b36);
  });

  it('reads absent registers as 0 and ignores writes to them', () => {
    const config = endpoint();
    for (const offset of [0x30, 0x38, 0xc0, 0x100, 0xffc]) {
      config.write(offset, 4, 0xffff_ffff);
      assert.equal(config.read(offset, 4), 0);
    }
  });

  it('decodes Command, byte by byte, and clears Status by writing ones', () => {
    const config = endpoint();
    config.write(Header.Command, 1, 0xff);
    assert.deepEqual([config.memoryEnable, config.busMaster], [true, true]);
    assert.equal(config.read(Header.Command, 2), 0x0047);
    config.write(Header.Command + 1, 1, 0xff);
    assert.equal(config.read(Header.Command, 2), 0x0547);
    config.write(Header.Command, 2, 0);
    assert.deepEqual([config.memoryEnable, config.busMaster], [false, false]);
    config.setStatus(Header.Status, 0xa000);
    config.write(Header.Status, 2, 0x2000);
    assert.equal(config.read(Header.Status, 2), 0x8000);
    config.reset();
    addPcie(config, { portType: PortType.Endpoint });
    assert.equal(config.read(Header.Status, 2), 0x0010);
  });

  it('tells its owner of a write once decoding is done', () => {
    const config = endpoint();
    const seen: [number, boolean][] = [];
    config.onWrite = (offset) => seen.push([offset, config.busMaster]);
    config.write(Header.Command, 2, 4);
    assert.deepEqual(seen, [[Header.Command, true]]);
  });
});

describe('base address registers', () => {
  it('answer sizing with the mask and keep their type bits', () => {
    const config = endpoint(
      { index: 0, sizeBytes: 16384, width: 64 },
      { index: 2, sizeBytes: 128, width: 32, prefetchable: true },
      { index: 4, sizeBytes: 16 * GiB, width: 64, prefetchable: true },
    );
    assert.deepEqual(sizeOf(config, 0), { low: 0xffff_c004, high: 0xffff_ffff });
    assert.equal(sizeOf(config, 2).low, 0xffff_ff88);
    assert.deepEqual(sizeOf(config, 4), { low: 0x0000_000c, high: 0xffff_fffc });
  });

  it('size any power of two by the mask', () => {
    fc.assert(
      fc.property(fc.integer({ min: 7, max: 50 }), (log) => {
        const { low, high } = sizeOf(endpoint({ index: 0, sizeBytes: 2 ** log, width: 64 }), 0);
        const mask = (BigInt(high) << 32n) | BigInt(low & ~0xf);
        assert.equal(BigInt.asUintN(64, -mask & ((1n << 64n) - 1n)), 1n << BigInt(log));
      }),
    );
  });

  it('decode only with memory space on and an address given', () => {
    const config = endpoint({ index: 0, sizeBytes: 1 << 20, width: 64 });
    const [bar] = config.bars;
    assert.ok(bar);
    config.write(Header.Command, 2, 2);
    assert.equal(bar.enabled, false);
    config.write(Header.Bar0, 4, 0x2345_6789);
    config.write(Header.Bar0 + 4, 4, 0x40);
    assert.equal(bar.base, 0x40_2340_0000);
    assert.equal(bar.limit, 0x40_2350_0000);
    assert.equal(bar.enabled, true);
    config.write(Header.Command, 2, 0);
    assert.equal(bar.enabled, false);
  });

  it('treat an address beyond 2^52 as unassigned', () => {
    const config = endpoint({ index: 0, sizeBytes: 1 << 20, width: 64 });
    config.write(Header.Command, 2, 2);
    config.write(Header.Bar0 + 4, 4, 0x10_0000);
    assert.deepEqual([config.bars[0]?.base, config.bars[0]?.enabled], [0, false]);
  });

  it('refuse shapes that no hardware has, by name', () => {
    const refused: [BarSpec[], RegExp][] = [
      [[{ index: 1, sizeBytes: 100, width: 32 }], /bars\[1\]\.sizeBytes: .*power of two.* got 100/],
      [[{ index: 0, sizeBytes: 64, width: 32 }], /bars\[0\]\.sizeBytes/],
      [[{ index: 0, sizeBytes: 2 ** 32, width: 32 }], /bars\[0\]\.sizeBytes/],
      [[{ index: 0, sizeBytes: 3 * 2 ** 33, width: 64 }], /bars\[0\]\.sizeBytes/],
      [[{ index: 5, sizeBytes: 4096, width: 64 }], /bars\[5\]\.width/],
      [
        [
          { index: 0, sizeBytes: 4096, width: 64 },
          { index: 1, sizeBytes: 4096, width: 32 },
        ],
        /bars\[1\]: expected a free BAR/,
      ],
    ];
    for (const [bars, message] of refused) {
      assert.throws(() => endpoint(...bars), { code: 'USAGE', message });
    }
  });
});

describe('type 1 header', () => {
  it('comes up with closed windows and decodes what software writes', () => {
    const config = bridge();
    assert.ok(config.memBase > config.memLimit && config.prefBase > config.prefLimit);
    config.write(Type1.PrimaryBus, 4, 0x00_09_03_01);
    assert.deepEqual([config.primary, config.secondary, config.subordinate], [1, 3, 9]);
    config.write(Type1.MemoryBase, 2, windowRegister(0x4010_0000));
    config.write(Type1.MemoryLimit, 2, windowRegister(0x403f_ffff));
    assert.deepEqual([config.memBase, config.memLimit], [0x4010_0000, 0x403f_ffff]);
    const [base, last] = [0x7f_ffe0_0000, 0x80_0fff_ffff];
    config.write(Type1.PrefetchBase, 2, windowRegister(base));
    config.write(Type1.PrefetchBaseUpper, 4, windowUpper(base));
    config.write(Type1.PrefetchLimit, 2, windowRegister(last));
    config.write(Type1.PrefetchLimitUpper, 4, windowUpper(last));
    assert.deepEqual([config.prefBase, config.prefLimit], [base, last]);
    assert.equal(config.read(Type1.PrefetchBase, 2) & 0xf, 1);
  });

  it('decodes an I/O window of 32 bits, closed at first', () => {
    const config = bridge();
    assert.ok(config.ioBase > config.ioLimit, 'open after reset');
    assert.equal(config.read(Type1.IoBase, 2), 0x01f1);
    config.write(Type1.IoBase, 2, 0x3f20);
    config.write(Type1.IoBaseUpper, 4, 0x0002_0001);
    assert.equal(config.read(Type1.IoBase, 2), 0x3121);
    assert.deepEqual([config.ioBase, config.ioLimit], [0x1_2000, 0x2_3fff]);
    assert.equal(config.ioEnable, false);
    config.write(Header.Command, 1, 1);
    assert.equal(config.ioEnable, true);
  });

  it('reports a secondary bus reset', () => {
    const config = bridge();
    config.write(Type1.BridgeControl, 2, 0x40);
    assert.equal(config.secondaryBusReset, true);
  });
});

describe('PCI Express capability', () => {
  const device = (): ConfigSpace => {
    const config = endpoint({ index: 0, sizeBytes: 4096, width: 32 });
    addPcie(config, { portType: PortType.Endpoint, extendedTags: true });
    return config;
  };

  it('codes payload and read request sizes', () => {
    const config = device();
    const at = config.capability(CapabilityId.Pcie) + Pcie.DevCtl;
    assert.deepEqual([config.maxPayloadBytes, config.maxReadRequestBytes], [128, 512]);
    config.write(at, 2, DevCtl.MaxPayload.of(1) | DevCtl.MaxReadRequest.of(5));
    assert.deepEqual([config.maxPayloadBytes, config.maxReadRequestBytes], [256, 4096]);
    config.write(at, 2, DevCtl.MaxPayload.of(7) | DevCtl.ExtendedTag.of(1));
    assert.deepEqual([config.maxPayloadBytes, config.extendedTags], [4096, true]);
  });

  it('lets software enable extended tags only where they are supported', () => {
    const config = endpoint();
    const at = addPcie(config, { portType: PortType.Endpoint });
    config.write(at + Pcie.DevCtl, 2, DevCtl.ExtendedTag.of(1));
    assert.equal(config.extendedTags, false);
  });

  it('decodes the completion timeout and its disable bit', () => {
    const config = device();
    const at = config.capability(CapabilityId.Pcie) + Pcie.DevCtl2;
    assert.equal(config.completionTimeoutPs, 50e9);
    config.write(at, 2, 1);
    assert.equal(config.completionTimeoutPs, 100e6);
    config.write(at, 2, 0x10);
    assert.equal(config.completionTimeoutPs, 0);
  });

  it('has slot and root registers where the port type has them', () => {
    const port = bridge();
    const at = addPcie(port, { portType: PortType.RootPort, link: { gen: 3, width: 8 } });
    assert.equal(PcieCaps.PortType.get(port.read(at + Pcie.Capabilities, 2)), PortType.RootPort);
    port.write(at + Pcie.RootCtl, 2, 0xffff);
    assert.equal(port.read(at + Pcie.RootCtl, 2), 0x1f);
    assert.equal(port.read(at + Pcie.LinkSta, 2), 0);
    setLinkUp(port, { gen: 2, width: 4 });
    port.reset();
    assert.equal(port.read(at + Pcie.LinkCap, 4) & 0x3ff, 0x83);
    const status = port.read(at + Pcie.LinkSta, 2);
    assert.deepEqual([LinkSta.Speed.get(status), LinkSta.Width.get(status)], [2, 4]);
    assert.equal(LinkSta.DllActive.get(status), 1);
    assert.equal(SlotSta.PresenceDetect.get(port.read(at + Pcie.SlotSta, 2)), 1);
    const config = device();
    config.write(config.capability(CapabilityId.Pcie) + Pcie.SlotCtl, 2, 0xffff);
    assert.equal(config.read(config.capability(CapabilityId.Pcie) + Pcie.SlotCtl, 2), 0);
  });

  it('resets everything but payload size on a function-level reset', () => {
    const config = device();
    const at = config.capability(CapabilityId.Pcie) + Pcie.DevCtl;
    let resets = 0;
    config.onFunctionReset = () => resets++;
    config.write(Header.Command, 2, 6);
    config.write(Header.Bar0, 4, 0x4000_0000);
    config.write(at, 2, DevCtl.MaxPayload.of(1) | DevCtl.ExtendedTag.of(1));
    config.write(at, 2, config.read(at, 2) | DevCtl.InitiateFlr.of(1));
    assert.equal(resets, 1);
    assert.deepEqual(
      [config.busMaster, config.extendedTags, config.bars[0]?.base],
      [false, false, 0],
    );
    assert.equal(config.maxPayloadBytes, 256);
    assert.equal(config.read(at, 2) & DevCtl.InitiateFlr.mask, 0);
    config.reset();
    assert.equal(config.maxPayloadBytes, 128);
    assert.equal(config.capability(CapabilityId.Pcie), config.read(Header.CapabilitiesPointer, 1));
  });
});

describe('ACS capability', () => {
  it('lets software set only what the port is capable of', () => {
    const config = bridge();
    const at = addAcs(config, { capable: AcsBit.SV | AcsBit.RR | AcsBit.TB });
    config.write(at + Acs.Control, 2, 0xffff);
    assert.equal(config.acs, AcsBit.SV | AcsBit.RR | AcsBit.TB);
    assert.equal(config.read(at + Acs.Capability, 2), 0x0007);
  });

  it('shows the enhanced bits as one in its capability, outside of the size of the vector', () => {
    const config = bridge();
    const at = addAcs(config, { capable: AcsBit.SV | AcsBit.IB | AcsBit.URR });
    assert.equal(config.read(at + Acs.Capability, 2), 0x0081);
    assert.equal(acsControlBits(0x0881), AcsBit.SV | AcsBit.IB | AcsBit.URR);
    assert.equal(acsControlBits(0xff7f), 0x7f);
    config.write(at + Acs.Control, 2, 0xffff);
    assert.equal(config.acs, AcsBit.SV | AcsBit.IB | AcsBit.URR);
  });

  it('keeps an egress vector when it has EC, and applies it when EC is on', () => {
    const config = bridge();
    const at = addAcs(config, { egressPorts: 4 });
    assert.equal(config.read(at + Acs.Capability, 2), 0x04ff);
    config.write(at + Acs.EgressVector, 4, 0xffff_fff4);
    assert.equal(config.read(at + Acs.EgressVector, 4), 4);
    assert.equal(config.acsEgressBlocked(2), false);
    config.write(at + Acs.Control, 1, AcsBit.EC);
    assert.deepEqual([config.acsEgressBlocked(2), config.acsEgressBlocked(1)], [true, false]);
  });

  it('has no EC without an egress vector', () => {
    const config = bridge();
    const at = addAcs(config);
    config.write(at + Acs.Control, 2, 0xffff);
    assert.equal(config.acs, 0x10ff & ~AcsBit.EC);
  });
});

describe('capability lists', () => {
  it('link in order of appending and survive a reset', () => {
    const config = bridge();
    addPcie(config, { portType: PortType.SwitchDownstream });
    addAcs(config, { egressPorts: 2 });
    addSerialNumber(config, 0x1234_5678_9abc);
    for (let round = 0; round < 2; round++) {
      const extended: number[] = [];
      for (let at = 0x100; at !== 0; at = config.read(at, 4) >>> 20) {
        extended.push(config.read(at, 2));
      }
      assert.deepEqual(extended, [ExtendedId.Acs, ExtendedId.SerialNumber]);
      config.reset();
    }
    const serial = config.extendedCapability(ExtendedId.SerialNumber);
    assert.equal(config.read(serial + 4, 4), 0x5678_9abc);
    assert.equal(config.read(serial + 8, 4), 0x1234);
    assert.equal(config.capability(CapabilityId.Msi), 0);
  });
});
