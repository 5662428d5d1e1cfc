/**
 * MSI as a driver sees it: enabling, masking, pending bits, shared vectors. [PCIE] 7.7.1
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CapabilityId, MsiControl, Msi as Offset } from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { Msi } from '#emu/pcie/config/msi.ts';

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

describe('MSI', () => {
  const setUp = (vectors: number) => {
    const config = space();
    const messages = new Messages();
    const msi = new Msi(config, vectors, messages);
    const at = config.capability(CapabilityId.Msi);
    config.write(at + Offset.AddressLow, 4, 0x2800_0003);
    config.write(at + Offset.AddressHigh, 4, 0x1);
    config.write(at + Offset.Data, 2, 0x47);
    return { config, messages, msi, at };
  };

  it('does nothing until enabled', () => {
    const { config, messages, msi, at } = setUp(1);
    assert.equal(msi.raise(0), false);
    config.write(at + Offset.Control, 2, MsiControl.Enable.of(1));
    assert.equal(msi.raise(0), true);
    assert.deepEqual(messages.take(), [[0x1_2800_0000, 0x47]]);
  });

  it('replaces the low bits of the data by the vector, within those allocated', () => {
    const { config, messages, msi, at } = setUp(8);
    config.write(at + Offset.Control, 2, MsiControl.Enable.of(1) | MsiControl.Allocated.of(2));
    for (const vector of [0, 1, 3, 6]) msi.raise(vector);
    assert.deepEqual(
      messages.take().map(([, data]) => data),
      [0x44, 0x45, 0x47, 0x46],
    );
    config.write(at + Offset.Control, 2, MsiControl.Enable.of(1) | MsiControl.Allocated.of(5));
    msi.raise(7);
    assert.deepEqual(messages.take(), [[0x1_2800_0000, 0x47]]);
  });

  it('keeps a masked vector pending and sends it once when unmasked', () => {
    const { config, messages, msi, at } = setUp(4);
    config.write(at + Offset.Control, 2, MsiControl.Enable.of(1) | MsiControl.Allocated.of(2));
    config.write(at + Offset.Mask, 4, 0xffff_fff6);
    assert.equal(config.read(at + Offset.Mask, 4), 0x6);
    msi.raise(1);
    msi.raise(1);
    msi.raise(2);
    assert.equal(config.read(at + Offset.Pending, 4), 0x6);
    config.write(at + Offset.Mask, 4, 0x4);
    assert.deepEqual(messages.take(), [[0x1_2800_0000, 0x45]]);
    config.write(at + Offset.Pending, 4, 0);
    assert.equal(config.read(at + Offset.Pending, 4), 0x4);
  });

  it('drops a message to an address beyond 2^52', () => {
    const { config, messages, msi, at } = setUp(1);
    config.write(at + Offset.AddressHigh, 4, 0x10_0000);
    config.write(at + Offset.Control, 2, 1);
    assert.equal(msi.raise(0), true);
    assert.deepEqual(messages.take(), []);
  });
});
