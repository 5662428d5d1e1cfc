/**
 * Registers of the optional capabilities of functions, of Device Capabilities 2 and Control 2, and of the header of a
 * virtual function. [PCIE] 7.5.3.15, 7.8, 9.3.4, 10.5
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { addPcie } from '#emu/pcie/config/capabilities.ts';
import {
  CapabilityId,
  Command,
  DevCap2,
  DevCtl,
  DevCtl2,
  ExtendedId,
  Header,
  Pcie,
  PortType,
  RootCtl,
} from '#emu/pcie/config/config-registers.ts';
import { visibleRetry } from '#emu/pcie/config/config-retry.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { addFunctionCapabilities } from '#emu/pcie/config/function-capabilities.ts';
import {
  Ats,
  AtsCapability,
  AtsControl,
  Pasid,
  PasidCapability,
  PasidControl,
  Pri,
  PriControl,
  PriStatus,
} from '#emu/pcie/config/function-registers.ts';

const identity = { vendorId: 0x1234, deviceId: 0x5678, classCode: 0x020000 };
const plain = (): ConfigSpace => new ConfigSpace({ type: 0, identity });

describe('optional capabilities', () => {
  it('are absent when nobody asks for them', () => {
    const config = plain();
    addFunctionCapabilities(config, { bars: [] });
    for (const id of Object.values(ExtendedId)) assert.equal(config.extendedCapability(id), 0);
    assert.equal(config.read(Header.InterruptPin, 1), 0);
  });

  it('have the interrupt pin and the serial number', () => {
    const config = plain();
    addFunctionCapabilities(config, { bars: [], interruptPin: 3, serialNumber: 0x1_2345_6789 });
    config.write(Header.InterruptPin, 1, 1);
    assert.equal(config.read(Header.InterruptPin, 1), 3);
    const at = config.extendedCapability(ExtendedId.SerialNumber);
    assert.deepEqual([config.read(at + 4, 4), config.read(at + 8, 4)], [0x2345_6789, 1]);
  });

  it('let software turn address translation on', () => {
    const config = plain();
    addFunctionCapabilities(config, { bars: [], ats: { queueDepth: 8 } });
    const at = config.extendedCapability(ExtendedId.Ats);
    const capability = config.read(at + Ats.Capability, 2);
    assert.equal(AtsCapability.InvalidateQueueDepth.get(capability), 8);
    config.write(at + Ats.Control, 2, 0xffff);
    assert.equal(config.read(at + Ats.Control, 2), AtsControl.Enable.mask | AtsControl.Stu.mask);
    const deepest = plain();
    addFunctionCapabilities(deepest, { bars: [], ats: true });
    const word = deepest.read(deepest.extendedCapability(ExtendedId.Ats) + Ats.Capability, 2);
    assert.equal(AtsCapability.InvalidateQueueDepth.get(word), 0);
  });

  it('show page requests as stopped until they are enabled', () => {
    const config = plain();
    const pasid = { width: 20, execute: true };
    addFunctionCapabilities(config, { bars: [], pri: { capacity: 32 }, pasid });
    const at = config.extendedCapability(ExtendedId.Pri);
    const status = config.read(at + Pri.Status, 2);
    assert.equal(status, PriStatus.Stopped.mask | PriStatus.PasidRequired.mask);
    assert.equal(config.read(at + Pri.Capacity, 4), 32);
    config.write(at + Pri.Allocation, 4, 7);
    config.write(at + Pri.Control, 2, 0xffff);
    assert.equal(config.read(at + Pri.Allocation, 4), 7);
    assert.equal(config.read(at + Pri.Control, 2), PriControl.Enable.mask);
    config.setStatus(at + Pri.Status, PriStatus.ResponseFailure.mask);
    config.write(at + Pri.Status, 2, 0xffff);
    assert.equal(config.read(at + Pri.Status, 2), status);
  });

  it('take of process address spaces only what the function can', () => {
    const config = plain();
    addFunctionCapabilities(config, { bars: [], pasid: { width: 16, privileged: true } });
    const at = config.extendedCapability(ExtendedId.Pasid);
    const capability = config.read(at + Pasid.Capability, 2);
    assert.equal(PasidCapability.MaxWidth.get(capability), 16);
    config.write(at + Pasid.Control, 2, 0xffff);
    const { Enable, Privileged } = PasidControl;
    assert.equal(config.read(at + Pasid.Control, 2), Enable.mask | Privileged.mask);
  });
});

describe('Device Capabilities 2 and Control 2', () => {
  const made = (options: Parameters<typeof addPcie>[1]) => {
    const config = new ConfigSpace({
      type: options.portType === PortType.Endpoint ? 0 : 1,
      identity,
    });
    const at = addPcie(config, options);
    config.write(at + Pcie.DevCtl2, 2, 0xffff);
    return { config, capability: config.read(at + Pcie.DevCap2, 4) };
  };

  it('of an endpoint are what it was made with', () => {
    const { config, capability } = made({ portType: PortType.Endpoint });
    assert.equal(DevCap2.TenBitTagCompleter.get(capability), 1);
    assert.equal(DevCap2.TenBitTagRequester.get(capability), 0);
    assert.equal(DevCap2.AtomicRouting.get(capability), 0);
    assert.deepEqual(
      [config.tenBitTags, config.atomicRequester, config.ariForwarding, config.prefixBlocking],
      [false, false, false, false],
    );
    assert.deepEqual([config.idoRequest, config.idoCompletion], [true, true]);
    const able = made({ portType: PortType.Endpoint, tenBitTags: true, atomics: true });
    assert.deepEqual([able.config.tenBitTags, able.config.atomicRequester], [true, true]);
    assert.equal(DevCap2.CasCompleter128.get(able.capability), 1);
    const old = made({ portType: PortType.Endpoint, tenBitCompleter: false });
    assert.equal(DevCap2.TenBitTagCompleter.get(old.capability), 0);
  });

  it('of a port forward 8-bit function numbers and can block', () => {
    const { config, capability } = made({ portType: PortType.SwitchDownstream });
    assert.deepEqual(
      [config.ariForwarding, config.atomicEgressBlocking, config.prefixBlocking],
      [true, true, true],
    );
    assert.equal(DevCap2.AtomicRouting.get(capability), 1);
    assert.equal(DevCap2.EndEndPrefix.get(capability), 1);
    const upstream = made({ portType: PortType.SwitchUpstream });
    assert.equal(upstream.config.ariForwarding, false);
  });
});

it('a root complex shows a retry only in reads of the whole vendor ID, where software wants it', () => {
  const bridge = new ConfigSpace({ type: 1, identity });
  const at = addPcie(bridge, { portType: PortType.RootPort }) + Pcie.RootCtl;
  assert.equal(visibleRetry(bridge, true, 0, 4), -1);
  bridge.write(at, 2, RootCtl.CrsVisibility.of(1));
  assert.equal(visibleRetry(bridge, true, 0, 4), 0xffff_0001);
  assert.equal(visibleRetry(bridge, true, 0, 2), 1);
  assert.equal(visibleRetry(bridge, true, 0, 1), -1);
  assert.equal(visibleRetry(bridge, true, 2, 2), -1);
  assert.equal(visibleRetry(bridge, false, 0, 4), -1);
});

describe('a virtual function', () => {
  const bars = [{ index: 0, sizeBytes: 4096, width: 64 }] as const;

  it('has no IDs and no BARs, and of Command only Bus Master Enable', () => {
    const config = new ConfigSpace({ type: 0, identity, bars, isVirtual: true });
    assert.equal(config.read(Header.VendorId, 4), 0xffff_ffff);
    config.write(Header.Bar0, 4, 0xffff_ffff);
    config.write(Header.Command, 2, 0xffff);
    assert.equal(config.read(Header.Bar0, 4), 0);
    assert.equal(config.read(Header.Command, 2), Command.BME.mask);
    config.bars[0]!.place(0x1000, true);
    config.write(Header.Command, 2, 0);
    assert.deepEqual([config.bars[0]!.base, config.bars[0]!.enabled], [0x1000, true]);
  });

  it('takes payload and read request sizes from its physical function', () => {
    const physical = plain();
    const config = new ConfigSpace({ type: 0, identity, isVirtual: true });
    for (const one of [physical, config]) addPcie(one, { portType: PortType.Endpoint });
    config.physical = physical;
    const at = physical.capability(CapabilityId.Pcie) + Pcie.DevCtl;
    config.write(at, 2, DevCtl.MaxPayload.of(0) | DevCtl.MaxReadRequest.of(0));
    assert.equal(config.maxReadRequestBytes, 512);
    physical.write(at, 2, DevCtl.MaxPayload.of(1) | DevCtl.MaxReadRequest.of(5));
    config.refresh();
    assert.deepEqual([config.maxPayloadBytes, config.maxReadRequestBytes], [256, 4096]);
    physical.write(at + Pcie.DevCtl2 - Pcie.DevCtl, 2, DevCtl2.IdoRequest.of(1));
    config.refresh();
    assert.equal(config.idoRequest, true);
  });
});
