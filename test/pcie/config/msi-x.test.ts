/**
 * MSI-X as a driver sees it: table, masks, pending bits, resets. [PCIE] 7.7.2
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addPcie } from '#emu/pcie/config/capabilities.ts';
import {
  CapabilityId,
  DevCtl,
  MsiXControl,
  MsiX as OffsetX,
  Pcie,
  PortType,
} from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { Msix } from '#emu/pcie/config/msi-x.ts';

const identity = { vendorId: 1, deviceId: 2, classCode: 0xff0000 };

class Messages {
  readonly sent: [number, number][] = [];
  message(address: number, data: number): void {
    this.sent.push([address, data]);
  }
  take(): [number, number][] {
    return this.sent.splice(0);
  }
}

const space = (): ConfigSpace =>
  new ConfigSpace({
    type: 0,
    identity,
    bars: [{ index: 0, sizeBytes: 65536, width: 64 }],
  });

const ENABLE = MsiXControl.Enable.of(1);
const MASK_ALL = MsiXControl.FunctionMask.of(1);
const setUp = (vectors = 3) => {
  const config = space();
  const messages = new Messages();
  const options = { vectors, bar: 0, tableOffset: 0x2000, pbaOffset: 0x3000 };
  const msix = new Msix(config, options, messages);
  const at = config.capability(CapabilityId.MsiX);
  const word = new DataView(new ArrayBuffer(4));
  const write = (offset: number, value: number) => {
    word.setUint32(0, value, true);
    msix.mmioWrite(offset, 4, word, 0);
  };
  const read = (offset: number): number => {
    word.setUint32(0, 0);
    msix.mmioRead(offset, 4, word, 0);
    return word.getUint32(0, true);
  };
  const program = (vector: number, masked: 0 | 1) => {
    write(0x2000 + 16 * vector, 0x2800_0000);
    write(0x2004 + 16 * vector, 0);
    write(0x2008 + 16 * vector, 100 + vector);
    write(0x200c + 16 * vector, masked);
  };
  const control = (value: number) => config.write(at + OffsetX.Control, 2, value);
  return { config, messages, msix, at, write, read, program, control };
};

describe('MSI-X table and masks', () => {
  it('says where table and pending bits are', () => {
    const { config, at, msix } = setUp(70);
    assert.equal(MsiXControl.TableSize.get(config.read(at + OffsetX.Control, 2)), 69);
    assert.equal(config.read(at + OffsetX.Table, 4), 0x2000);
    assert.equal(config.read(at + OffsetX.Pba, 4), 0x3000);
    assert.equal(msix.claims(0, 0x1ff8, 8), false);
    assert.equal(msix.claims(0, 0x1ff8, 9), true);
    assert.equal(msix.claims(0, 0x2000 + 70 * 16, 4), false);
    assert.equal(msix.claims(0, 0x300c, 4), true);
    assert.equal(msix.claims(0, 0x3010, 4), false);
    assert.equal(msix.claims(2, 0x2000, 4), false);
  });

  it('comes up masked, keeps reserved bits 0 and sends what is programmed', () => {
    const { messages, msix, read, write, program, control } = setUp();
    assert.equal(read(0x200c), 1);
    write(0x2000, 0xffff_ffff);
    write(0x200c, 0xffff_ffff);
    assert.deepEqual([read(0x2000), read(0x200c)], [0xffff_fffc, 1]);
    program(1, 0);
    assert.equal(msix.raise(1), false);
    control(ENABLE);
    assert.equal(msix.raise(1), true);
    assert.deepEqual(messages.take(), [[0x2800_0000, 101]]);
    assert.equal(msix.raise(3), true);
    assert.deepEqual(messages.take(), []);
  });

  it('keeps a masked vector pending and fires it once on unmask', () => {
    const { messages, msix, read, write, program, control } = setUp();
    control(ENABLE);
    program(2, 1);
    msix.raise(2);
    msix.raise(2);
    write(0x3000, 0);
    assert.equal(read(0x3000), 4);
    write(0x202c, 0);
    assert.deepEqual(messages.take(), [[0x2800_0000, 102]]);
    assert.equal(read(0x3000), 0);
    write(0x202c, 0);
    assert.deepEqual(messages.take(), []);
  });

  it('holds everything back under the function mask, in vector order afterwards', () => {
    const { messages, msix, program, control } = setUp();
    control(ENABLE | MASK_ALL);
    for (const vector of [0, 1, 2]) program(vector, vector === 1 ? 1 : 0);
    for (const vector of [2, 1, 0]) msix.raise(vector);
    program(0, 0);
    assert.deepEqual(messages.take(), []);
    control(ENABLE);
    assert.deepEqual(
      messages.take().map(([, data]) => data),
      [100, 102],
    );
  });
});

describe('MSI-X placement and reset', () => {
  it('leaves bytes beside the table alone', () => {
    const { msix } = setUp();
    const data = new DataView(new ArrayBuffer(32));
    for (let i = 0; i < 32; i++) data.setUint8(i, 0xaa);
    msix.mmioWrite(0x1ff0, 32, data, 0);
    const out = new DataView(new ArrayBuffer(32));
    msix.mmioRead(0x1ff0, 32, out, 0);
    assert.equal(out.getUint32(12, true), 0);
    assert.equal(out.getUint32(16, true), 0xaaaa_aaa8);
  });

  it('forgets table and pending bits on a function-level reset', () => {
    const config = space();
    const messages = new Messages();
    const pcie = addPcie(config, { portType: PortType.Endpoint });
    const options = { vectors: 2, bar: 0, tableOffset: 0, pbaOffset: 0x1000 };
    const msix = new Msix(config, options, messages);
    config.write(config.capability(CapabilityId.MsiX) + OffsetX.Control, 2, ENABLE);
    msix.raise(0);
    const out = new DataView(new ArrayBuffer(1));
    msix.mmioRead(0x1000, 1, out, 0);
    assert.equal(out.getUint8(0), 1);
    config.write(pcie + Pcie.DevCtl, 2, DevCtl.InitiateFlr.of(1));
    msix.mmioRead(0x1000, 1, out, 0);
    assert.deepEqual([out.getUint8(0), msix.enabled, messages.take()], [0, false, []]);
  });

  it('refuses a table that does not fit its BAR or overlaps the pending bits', () => {
    const misplaced = { vectors: 8, bar: 0, tableOffset: 0xfff0, pbaOffset: 0 };
    assert.throws(() => new Msix(space(), misplaced, new Messages()), { code: 'INVARIANT' });
    const overlap = { vectors: 8, bar: 0, tableOffset: 0, pbaOffset: 0x78 };
    assert.throws(() => new Msix(space(), overlap, new Messages()), { code: 'INVARIANT' });
    const noBar = { vectors: 8, bar: 2, tableOffset: 0, pbaOffset: 0x1000 };
    assert.throws(() => new Msix(space(), noBar, new Messages()), { code: 'INVARIANT' });
  });
});
