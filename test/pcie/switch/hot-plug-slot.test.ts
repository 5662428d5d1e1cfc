/**
 * Slot registers as hardware keeps them: what hands, power and link set, what software clears, and when the port
 * interrupts. No host software runs. [PCIE] 6.7, 7.5.3.9
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Bits } from '#emu/base/layout.ts';
import { lo32 } from '#emu/base/units.ts';
import { machine } from '#emu/host/machine.ts';
import type { PortSpec } from '#emu/host/machine-spec.ts';
import {
  CapabilityId,
  Command,
  Header,
  LinkSta,
  Msi,
  MsiControl,
  Pcie,
  PcieCaps,
} from '#emu/pcie/config/config-registers.ts';
import { SlotCap, SlotCtl, SlotSta } from '#emu/pcie/config/slot-registers.ts';
import { POWER_UP_PS } from '#emu/pcie/switch/hot-plug-slot.ts';
import { barMemory } from '#test/support/bar-memory.ts';

const MiB = 2 ** 20;
const { AttentionPressed, PresenceChanged, CommandCompleted, PresenceDetect, LinkStateChanged } =
  SlotSta;
const EVENTS = AttentionPressed.mask | PresenceChanged.mask | LinkStateChanged.mask;

function setUp(port: PortSpec = { hotplug: true }) {
  const spec = { rootPorts: [{}, { device: barMemory('a', MiB), ...port }] };
  const built = machine(spec).build();
  const config = built.root.bridges[1]!;
  const at = config.capability(CapabilityId.Pcie);
  const slot = built.root.ports[1]!.slot!;
  const raised: number[] = [];
  built.root.onInterrupt = (data) => raised.push(data);
  const msi = config.capability(CapabilityId.Msi);
  config.write(Header.Command, 2, Command.BME.of(1));
  config.write(msi + Msi.AddressLow, 4, lo32(built.map.doorbell.base));
  config.write(msi + Msi.Data, 2, 9);
  config.write(msi + Msi.Control, 2, MsiControl.Enable.of(1));
  return {
    ...{ built, slot, config },
    port: built.root.ports[1]!,
    status: (): number => config.read(at + Pcie.SlotSta, 2),
    clear: (bits: number): void => config.write(at + Pcie.SlotSta, 2, bits),
    command: (bits: number): void => config.write(at + Pcie.SlotCtl, 2, bits),
    isActive: (): boolean => LinkSta.DllActive.get(config.read(at + Pcie.LinkSta, 2)) === 1,
    capability: (): number => config.read(at + Pcie.SlotCap, 4),
    isSlot: (): number => PcieCaps.SlotImplemented.get(config.read(at + Pcie.Capabilities, 2)),
    interrupts: (): number => {
      built.kernel.run();
      return raised.splice(0).length;
    },
  };
}

test('the capability names what the slot has, and its number', () => {
  const one = setUp();
  assert.equal(one.isSlot(), 1);
  assert.equal(one.capability() & 0x7f, 0b101_1011);
  assert.equal(SlotCap.SlotNumber.get(one.capability()), 1);
  const sudden = setUp({ hotplug: { surprise: true } });
  assert.equal(SlotCap.HotPlugSurprise.get(sudden.capability()), 1);
  const plain = machine({ rootPorts: [{ device: barMemory('a', MiB) }] }).build();
  const config = plain.root.bridges[0]!;
  assert.equal(config.read(config.capability(CapabilityId.Pcie) + Pcie.SlotCap, 4), 0);
  assert.equal(plain.root.ports[0]!.slot, null);
});

test('a card pulled out: nothing there, both changes, and the link down by surprise', () => {
  const one = setUp();
  assert.equal(one.status(), PresenceDetect.mask);
  one.slot.removed();
  assert.equal(one.status(), PresenceChanged.mask | LinkStateChanged.mask);
  assert.equal(one.isActive(), false);
  assert.equal(one.built.fabric.errors.get('rc0.port1 surprise-down'), 1);
  assert.equal(one.slot.isOccupied, false);
  one.port.linkUp();
  assert.equal(one.port.isUp, false, 'a link to a card that is gone');
  one.slot.removed();
  one.clear(PresenceChanged.mask);
  assert.equal(one.status(), LinkStateChanged.mask);
});

test('power: taken at once and without an error, given with the time to train', () => {
  const one = setUp();
  const { kernel } = one.built;
  const endpoint = one.built.endpoint('a');
  endpoint.config.write(Header.Command, 2, 6);
  one.command(SlotCtl.PowerOff.of(1));
  assert.deepEqual([one.isActive(), one.slot.isPowered, endpoint.busMaster], [false, false, false]);
  assert.equal(one.status() & CommandCompleted.mask, CommandCompleted.mask);
  assert.equal(PresenceDetect.get(one.status()), 1);
  assert.equal(one.built.fabric.errors.size, 0);
  one.command(0);
  kernel.runUntil(POWER_UP_PS - 1);
  assert.equal(one.isActive(), false);
  kernel.runUntil(POWER_UP_PS);
  assert.deepEqual([one.isActive(), one.port.isUp], [true, true]);
  // Taken away while it trains.
  one.command(SlotCtl.PowerOff.of(1));
  one.command(0);
  one.command(SlotCtl.PowerOff.of(1));
  kernel.run();
  assert.equal(one.isActive(), false);
});

test('each event interrupts by its own enable bit and the common one', () => {
  const cases: [event: string, enable: Bits, cause: (one: ReturnType<typeof setUp>) => void][] = [
    ['attention', SlotCtl.AttentionEnable, ({ slot }) => slot.pressAttention()],
    ['presence', SlotCtl.PresenceEnable, ({ slot }) => slot.removed()],
    ['link state', SlotCtl.LinkStateEnable, ({ port }) => port.linkDown()],
    ['command', SlotCtl.CommandEnable, ({ command }) => command(enabledOf(SlotCtl.CommandEnable))],
  ];
  const enabledOf = (bits: Bits): number => bits.of(1) | SlotCtl.InterruptEnable.of(1);
  for (const [event, enable, cause] of cases) {
    const quiet = [0, enable.of(1), enabledOf(enable) & ~enable.mask];
    for (const control of event === 'command' ? [] : quiet) {
      const one = setUp();
      one.command(control);
      one.clear(CommandCompleted.mask);
      cause(one);
      assert.equal(one.interrupts(), 0, `${event} with ${control}`);
    }
    const one = setUp();
    one.command(enabledOf(enable));
    one.clear(CommandCompleted.mask);
    one.interrupts();
    cause(one);
    assert.equal(one.interrupts(), 1, event);
  }
});

test('one interrupt until every event is cleared, and at once when an event is enabled late', () => {
  const one = setUp();
  const enabled =
    SlotCtl.AttentionEnable.of(1) | SlotCtl.PresenceEnable.of(1) | SlotCtl.InterruptEnable.of(1);
  one.command(enabled);
  one.slot.pressAttention();
  one.slot.pressAttention();
  one.slot.removed();
  assert.equal(one.interrupts(), 1);
  one.clear(AttentionPressed.mask);
  one.slot.pressAttention();
  assert.equal(one.interrupts(), 0);
  one.clear(EVENTS);
  assert.equal(one.status() & EVENTS, 0);
  one.slot.pressAttention();
  assert.equal(one.interrupts(), 1);
  one.command(0);
  one.clear(EVENTS);
  one.slot.pressAttention();
  assert.equal(one.interrupts(), 0);
  one.command(enabled);
  assert.equal(one.interrupts(), 1);
});
