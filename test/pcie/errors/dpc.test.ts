/** Downstream Port Containment, triggered by messages and by hand, read and cleared by configuration accesses. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf } from '#emu/base/units.ts';
import { addPcie } from '#emu/pcie/config/capabilities.ts';
import {
  CapabilityId,
  DevCtl,
  ExtendedId,
  Pcie,
  PortType,
} from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { Dpc, type DpcOwner } from '#emu/pcie/errors/dpc.ts';
import { DpcControl, DpcRegister, DpcStatus, DpcTrigger } from '#emu/pcie/errors/dpc-registers.ts';
import { ErrorMessage } from '#emu/pcie/errors/error-message.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';

const { Correctable: COR, NonFatal: NONFATAL, Fatal: FATAL } = ErrorMessage;
const identity = { vendorId: 0x1b36, deviceId: 0x0c, classCode: 0x060400 };
const [first, second] = [bdf(3, 0, 0), bdf(4, 0, 1)];

function downstreamPort(): ConfigSpace {
  const config = new ConfigSpace({ type: 1, identity });
  addPcie(config, { portType: PortType.SwitchDownstream });
  return config;
}

class Contained implements DpcOwner {
  readonly config = downstreamPort();
  readonly log: string[] = [];
  readonly dpc = new Dpc(this.config, this, { vector: 2 });
  contain(): void {
    this.log.push('down');
  }
  release(): void {
    this.log.push('up');
  }
  dpcInterrupt(vector: number): void {
    this.log.push(`interrupt ${vector}`);
  }
  dpcCorrectable(): void {
    this.log.push('ERR_COR');
  }
  get(register: number): number {
    return this.config.read(this.dpc.offset + register, 2);
  }
  set(register: number, value: number): void {
    this.config.write(this.dpc.offset + register, 2, value);
  }
}

const { Control, Status, Source, Capability } = DpcRegister;
const ON_FATAL = DpcControl.Trigger.of(DpcTrigger.Fatal);
const ON_ANY = DpcControl.Trigger.of(DpcTrigger.NonFatal);

describe('triggering containment', () => {
  it('is extended capability 001Dh and off until software wants it', () => {
    const port = new Contained();
    assert.equal(port.config.extendedCapability(ExtendedId.Dpc), port.dpc.offset);
    assert.equal(port.config.read(port.dpc.offset, 4) & 0xf_ffff, 0x1_001d);
    assert.equal(port.get(Capability), 0xc2);
    assert.equal(port.dpc.takes(FATAL, first), false);
    assert.deepEqual([port.log, port.get(Status)], [[], 0]);
  });

  it('is triggered by the messages that software chose', () => {
    for (const [control, message, taken, status] of [
      [ON_FATAL, COR, false, 0],
      [ON_FATAL, NONFATAL, false, 0],
      [ON_FATAL, FATAL, true, 0x0d],
      [ON_ANY, COR, false, 0],
      [ON_ANY, NONFATAL, true, 0x0b],
      [ON_ANY, FATAL, true, 0x0d],
      [3, FATAL, false, 0],
    ] as const) {
      const port = new Contained();
      port.set(Control, control);
      assert.equal(port.dpc.takes(message, second), taken);
      assert.deepEqual(
        [port.get(Status), port.get(Source), port.log],
        taken ? [status, second, ['down']] : [0, 0, []],
      );
      assert.equal(port.dpc.contained, taken);
    }
  });

  it('of its own error has no source', () => {
    const port = new Contained();
    port.set(Control, ON_FATAL);
    assert.equal(port.dpc.takes(FATAL, null), true);
    assert.deepEqual([port.get(Status), port.get(Source)], [0x09, 0]);
  });
});

describe('containment', () => {
  it('takes everything while it lasts and lets the link up when software clears it', () => {
    const port = new Contained();
    port.set(Control, ON_FATAL);
    port.dpc.takes(FATAL, first);
    assert.equal(port.dpc.takes(NONFATAL, second), true);
    assert.equal(port.get(Source), first);
    port.set(Status, DpcStatus.Interrupt.mask);
    assert.equal(port.dpc.contained, true);
    port.set(Status, DpcStatus.Triggered.mask);
    assert.deepEqual([port.dpc.contained, port.log], [false, ['down', 'up']]);
    assert.equal(port.dpc.takes(FATAL, second), true);
    assert.equal(port.get(Source), second);
  });

  it('interrupts and signals as enabled', () => {
    const port = new Contained();
    port.set(Control, ON_ANY | DpcControl.InterruptEnable.mask | DpcControl.CorrectableEnable.mask);
    port.dpc.takes(NONFATAL, first);
    assert.deepEqual(port.log, ['down', 'interrupt 2']);
    port.set(Status, 0xffff);
    port.config.write(
      port.config.capability(CapabilityId.Pcie) + Pcie.DevCtl,
      2,
      DevCtl.CorrectableReporting.mask,
    );
    port.dpc.takes(NONFATAL, first);
    assert.deepEqual(port.log.slice(2), ['up', 'down', 'interrupt 2', 'ERR_COR']);
  });

  it('interrupts when software enables it late', () => {
    const port = new Contained();
    port.set(Control, ON_FATAL);
    port.dpc.takes(FATAL, first);
    port.set(Control, ON_FATAL | DpcControl.InterruptEnable.mask);
    port.set(Control, ON_FATAL | DpcControl.InterruptEnable.mask);
    assert.deepEqual(port.log, ['down', 'interrupt 2']);
    port.config.reset();
    port.set(Control, DpcControl.InterruptEnable.mask);
    assert.deepEqual(port.log, ['down', 'interrupt 2', 'interrupt 2']);
  });

  it('can be triggered by hand, when it is on', () => {
    const port = new Contained();
    port.set(Control, DpcControl.SoftwareTrigger.mask);
    assert.equal(port.dpc.contained, false);
    port.set(Control, ON_FATAL | DpcControl.SoftwareTrigger.mask);
    assert.equal(port.get(Control), ON_FATAL);
    assert.equal(port.get(Status), 0x2f);
    assert.deepEqual(port.log, ['down']);
  });

  it('answers requests with Completer Abort or Unsupported Request, and may block poison', () => {
    const port = new Contained();
    const { CompleterAbort, UnsupportedRequest } = DmaStatus;
    assert.deepEqual([port.dpc.refusal, port.dpc.blocksPoisoned], [CompleterAbort, false]);
    port.set(Control, DpcControl.Completion.mask | DpcControl.PoisonedEgressBlocking.mask);
    assert.deepEqual([port.dpc.refusal, port.dpc.blocksPoisoned], [UnsupportedRequest, true]);
  });

  it('lasts over a reset of the port, not over power', () => {
    const port = new Contained();
    port.set(Control, ON_FATAL);
    port.dpc.takes(FATAL, first);
    port.config.reset();
    assert.deepEqual([port.dpc.contained, port.get(Control), port.get(Source)], [true, 0, first]);
    port.dpc.powerUp();
    assert.deepEqual([port.dpc.contained, port.log], [false, ['down', 'up']]);
  });
});
