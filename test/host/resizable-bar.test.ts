/**
 * Resizable BARs: sizes chosen before addresses are assigned, refused while the BAR decodes, and back after a reset.
 * [PCIE] 7.8.6
 * @module
 */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { offsetBy } from '#emu/base/units.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import type { BarSizes, MachineSpec } from '#emu/host/machine-spec.ts';
import type { BarSpec } from '#emu/pcie/config/config-header.ts';
import { Command, ExtendedId, Header } from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import {
  ResizableBar as Resizable,
  ResizableBarControl,
} from '#emu/pcie/config/function-registers.ts';
import { codeToSize, ResizableBars, sizeToCode } from '#emu/pcie/config/resizable-bar.ts';
import { plainDevice } from '#test/support/plain-device.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const machines: Machine[] = [];
after(() => {
  for (const built of machines) built.dispose();
});

const BARS: readonly BarSpec[] = [
  {
    index: 0,
    sizeBytes: 256 * MiB,
    otherSizes: [64 * MiB, 8 * GiB],
    width: 64,
    prefetchable: true,
  },
  { index: 2, sizeBytes: 2 * MiB, otherSizes: [MiB], width: 32 },
  { index: 4, sizeBytes: 4096, width: 64 },
];

function boot(barSizes?: BarSizes, bars = BARS): Machine {
  const spec: MachineSpec = {
    rootPorts: [{ device: plainDevice('card', bars) }, { device: plainDevice('other') }],
    ...(barSizes === undefined ? {} : { barSizes }),
  };
  const built = machine(spec).build({ fidelity: 'functional' });
  machines.push(built);
  const booted = built.boot();
  built.kernel.run();
  assert.equal(booted.value, undefined);
  return built;
}

describe('host software', () => {
  it('leaves sizes as they are by default, or takes the largest', () => {
    const sizes = (built: Machine) => built.function('card').bars.map(({ sizeBytes }) => sizeBytes);
    assert.deepEqual(sizes(boot()), [256 * MiB, 2 * MiB, 4096]);
    assert.deepEqual(sizes(boot('largest')), [8 * GiB, 2 * MiB, 4096]);
  });

  it('reaches all of a BAR whose size it chose, and nothing behind it', () => {
    for (const size of [64 * MiB, 8 * GiB]) {
      const built = boot({ card: size }, [BARS[0]!]);
      const { address } = built.function('card').bar(0);
      assert.equal(address % size, 0);
      const { base, limit } = built.pci.node('rc0.port0').high;
      assert.equal(limit - base, size);
      const last = built.cpu.read32(offsetBy(address, size - 4));
      const behind = built.cpu.read32(offsetBy(address, size));
      built.kernel.run();
      assert.deepEqual([last.value, behind.value], [0xfffe_fdfc, 0xffff_ffff]);
    }
  });

  it('names the sizes that a BAR can have', () => {
    throwsCode(
      'USAGE',
      /one of 64 MiB, 256 MiB, 8 GiB for BAR0 of rc0.port0.card, got 134217728/,
      () => boot({ card: 128 * MiB }, [BARS[0]!]),
    );
    throwsCode('USAGE', /barSizes.card: expected a power of two from 1 MiB/, () =>
      boot({ card: 7 }),
    );
    throwsCode('USAGE', /otherSizes: expected powers of two/, () =>
      boot({}, [{ index: 0, sizeBytes: 4096, otherSizes: [MiB], width: 64 }]),
    );
  });
});

describe('the capability', () => {
  const made = () => {
    const config = new ConfigSpace({
      type: 0,
      identity: { vendorId: 1, deviceId: 2, classCode: 0 },
      bars: BARS,
    });
    new ResizableBars(config, BARS.slice(0, 2));
    const at = config.extendedCapability(ExtendedId.ResizableBar) + Resizable.Control;
    const resize = (sizeBytes: number) =>
      config.write(at, 4, ResizableBarControl.Size.of(sizeToCode(sizeBytes)));
    const size = () => codeToSize(ResizableBarControl.Size.get(config.read(at, 4)));
    return { config, resize, size };
  };

  it('clears the address bits that a larger BAR no longer has', () => {
    const { config, resize } = made();
    config.write(Header.Bar0, 4, 0xffff_ffff);
    config.write(Header.Bar0 + 4, 4, 0xff);
    assert.equal(config.read(Header.Bar0, 4), 0xf000_000c);
    resize(8 * GiB);
    assert.equal(config.read(Header.Bar0, 4), 0xc);
    assert.equal(config.read(Header.Bar0 + 4, 4), 0xfe);
    resize(64 * MiB);
    config.write(Header.Bar0, 4, 0xffff_ffff);
    assert.equal(config.read(Header.Bar0, 4), 0xfc00_000c);
  });

  it('takes no size that is not supported, and none while memory is decoded', () => {
    const { config, resize, size } = made();
    resize(128 * MiB);
    assert.equal(size(), 256 * MiB);
    config.write(Header.Command, 2, Command.MSE.of(1));
    resize(64 * MiB);
    assert.equal(size(), 256 * MiB);
    assert.equal(config.bars[0]?.sizeBytes, 256 * MiB);
    config.write(Header.Command, 2, 0);
    resize(64 * MiB);
    assert.equal(config.bars[0]?.sizeBytes, 64 * MiB);
  });

  it('has its first size again after a reset', () => {
    const { config, resize, size } = made();
    resize(8 * GiB);
    config.reset();
    assert.deepEqual([size(), config.bars[0]?.sizeBytes], [256 * MiB, 256 * MiB]);
    config.write(Header.Bar0, 4, 0xffff_ffff);
    assert.equal(config.read(Header.Bar0, 4), 0xf000_000c);
  });
});
