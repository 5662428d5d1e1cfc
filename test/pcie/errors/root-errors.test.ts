/** Error messages on their way up: what bridges pass, the root port's registers and its interrupt. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf } from '#emu/base/units.ts';
import { addPcie } from '#emu/pcie/config/capabilities.ts';
import {
  BridgeControl,
  CapabilityId,
  Command,
  DevCtl,
  Header,
  Pcie,
  PortType,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { Aer } from '#emu/pcie/errors/aer.ts';
import { AerRegister } from '#emu/pcie/errors/aer-registers.ts';
import { ErrorMessage, passesErrorUp } from '#emu/pcie/errors/error-message.ts';
import { RootErrors } from '#emu/pcie/errors/root-errors.ts';

const { Correctable: COR, NonFatal: NONFATAL, Fatal: FATAL } = ErrorMessage;
const identity = { vendorId: 0x1b36, deviceId: 0x0c, classCode: 0x060400 };
const [first, second] = [bdf(3, 0, 0), bdf(4, 0, 1)];

function bridge(portType: PortType = PortType.RootPort): ConfigSpace {
  const config = new ConfigSpace({ type: 1, identity });
  addPcie(config, { portType });
  return config;
}
const setDeviceControl = (config: ConfigSpace, value: number): void =>
  config.write(config.capability(CapabilityId.Pcie) + Pcie.DevCtl, 2, value);

describe('a bridge', () => {
  const passed = (control: number, command: number, bridgeControl: number) => {
    const config = bridge(PortType.SwitchDownstream);
    setDeviceControl(config, control);
    config.write(Header.Command, 2, command);
    config.write(Type1.BridgeControl, 2, bridgeControl);
    return [COR, NONFATAL, FATAL].filter((message) => passesErrorUp(config, message));
  };

  it('passes error messages up only with its System Error Enable', () => {
    const serr = BridgeControl.SERR.mask;
    assert.deepEqual(passed(0xf, Command.SERR.mask, 0), []);
    assert.deepEqual(passed(0, 0, serr), [COR]);
    assert.deepEqual(passed(0, Command.SERR.mask, serr), [COR, NONFATAL, FATAL]);
    assert.deepEqual(passed(DevCtl.FatalReporting.mask, 0, serr), [COR, FATAL]);
    assert.deepEqual(passed(DevCtl.NonFatalReporting.mask, 0, serr), [COR, NONFATAL]);
  });

  it('notes an uncorrectable one in Secondary Status, passed or not', () => {
    const config = bridge();
    passesErrorUp(config, COR);
    assert.equal(config.read(Type1.SecondaryStatus, 2), 0);
    passesErrorUp(config, NONFATAL);
    assert.equal(config.read(Type1.SecondaryStatus, 2), 0x4000);
  });
});

class Root {
  readonly config = bridge();
  readonly aer = new Aer(this.config);
  readonly errors = new RootErrors(this.config, this.aer, { vector: 5 });
  readonly interrupts: number[] = [];
  constructor() {
    this.errors.onInterrupt = (vector) => this.interrupts.push(vector);
  }
  get status(): number {
    return this.config.read(this.aer.offset + AerRegister.RootStatus, 4);
  }
  set status(value: number) {
    this.config.write(this.aer.offset + AerRegister.RootStatus, 4, value);
  }
  set command(value: number) {
    this.config.write(this.aer.offset + AerRegister.RootCommand, 4, value);
  }
}

describe('a root port', () => {
  const NUMBER = 5 * 2 ** 27;

  it('records the first source of each kind and that there were more', () => {
    const root = new Root();
    root.errors.receive(COR, first);
    assert.equal(root.status, NUMBER + 0x01);
    root.errors.receive(COR, second);
    assert.equal(root.status, NUMBER + 0x03);
    root.errors.receive(NONFATAL, second);
    assert.equal(root.status, NUMBER + 0x27);
    root.errors.receive(FATAL, first);
    assert.equal(root.status, NUMBER + 0x6f);
    assert.deepEqual(
      [root.errors.correctableSource, root.errors.uncorrectableSource],
      [first, second],
    );
    const sources = root.config.read(root.aer.offset + AerRegister.CorrectableSource, 4);
    assert.equal(sources, second * 0x1_0000 + first);
  });

  it('tells whether the first uncorrectable one was fatal', () => {
    const root = new Root();
    root.errors.receive(FATAL, first);
    assert.equal(root.status, NUMBER + 0x54);
    root.status = 0x7f;
    assert.equal(root.status, NUMBER);
    root.errors.receive(NONFATAL, second);
    assert.equal(root.status, NUMBER + 0x24);
    assert.equal(root.errors.uncorrectableSource, second);
  });

  it('interrupts once when an enabled error comes, and again after software cleared it', () => {
    const root = new Root();
    root.command = 0x2;
    root.errors.receive(COR, first);
    root.errors.receive(FATAL, first);
    assert.deepEqual(root.interrupts, []);
    root.errors.receive(NONFATAL, first);
    root.errors.receive(NONFATAL, first);
    assert.deepEqual(root.interrupts, [5]);
    root.status = 0x7f;
    root.errors.receive(NONFATAL, first);
    assert.deepEqual(root.interrupts, [5, 5]);
  });

  it('interrupts when software enables what is already there', () => {
    for (const [message, enable] of [
      [COR, 1],
      [NONFATAL, 2],
      [FATAL, 4],
    ] as const) {
      const root = new Root();
      root.errors.receive(message, first);
      root.command = 7 ^ enable;
      assert.deepEqual(root.interrupts, []);
      root.command = enable;
      root.command = enable;
      assert.deepEqual(root.interrupts, [5]);
    }
  });

  it('keeps status and sources over a reset, but not what software enabled', () => {
    const root = new Root();
    root.command = 0x7;
    root.errors.receive(FATAL, second);
    root.config.reset();
    assert.equal(root.status, NUMBER + 0x54);
    assert.equal(root.errors.uncorrectableSource, second);
    root.command = 0x7;
    assert.deepEqual(root.interrupts, [5, 5]);
    root.errors.powerUp();
    assert.equal(root.status, NUMBER);
    assert.equal(root.errors.uncorrectableSource, 0);
  });
});
