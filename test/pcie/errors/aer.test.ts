/** Advanced Error Reporting driven by reports and read back, cleared and masked by configuration accesses. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf } from '#emu/base/units.ts';
import { addPcie } from '#emu/pcie/config/capabilities.ts';
import {
  CapabilityId,
  Command,
  DevCtl,
  ExtendedId,
  Header,
  Pcie,
  PortType,
} from '#emu/pcie/config/config-registers.ts';
import { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { Aer, ErrorRole, isAdvisory } from '#emu/pcie/errors/aer.ts';
import {
  AerControl,
  type AerOptions,
  AerRegister,
  Correctable,
  Uncorrectable,
} from '#emu/pcie/errors/aer-registers.ts';
import { ErrorMessage } from '#emu/pcie/errors/error-message.ts';
import { loggedTlp } from '#emu/pcie/tlp/tlp-encode.ts';
import { SAMPLE_TLPS } from '#test/support/any-tlp.ts';

const identity = { vendorId: 0x1b36, deviceId: 0x10, classCode: 0x010802 };
const ALL_REPORTING = 0x000f;
const { Correctable: COR, NonFatal: NONFATAL, Fatal: FATAL } = ErrorMessage;
const write = loggedTlp({
  ...SAMPLE_TLPS.MWr,
  prefixes: [0x8000_0000, 0x9100_0007],
  requester: bdf(1, 0, 0),
  address: 0x12_3456_7000,
});
const read = loggedTlp({ ...SAMPLE_TLPS.MRd, tag: 9, address: 0xdead_b000 });

class Device {
  readonly config = new ConfigSpace({ type: 0, identity });
  readonly aer: Aer;

  constructor(options?: AerOptions, reporting = ALL_REPORTING) {
    addPcie(this.config, { portType: PortType.Endpoint });
    this.aer = new Aer(this.config, options);
    this.deviceControl = reporting;
  }
  get(register: number): number {
    return this.config.read(this.aer.offset + register, 4);
  }
  set(register: number, value: number): void {
    this.config.write(this.aer.offset + register, 4, value);
  }
  get pcie(): number {
    return this.config.capability(CapabilityId.Pcie);
  }
  set deviceControl(value: number) {
    this.config.write(this.pcie + Pcie.DevCtl, 2, value);
  }
  get deviceStatus(): number {
    return this.config.read(this.pcie + Pcie.DevSta, 2);
  }
  get firstError(): number {
    return AerControl.FirstError.get(this.get(AerRegister.Control));
  }
  /** Header log and prefix log. */
  get logs(): number[] {
    const at = [0, 4, 8, 12];
    return [
      ...at.map((i) => this.get(AerRegister.HeaderLog + i)),
      ...at.map((i) => this.get(AerRegister.PrefixLog + i)),
    ];
  }
  clear(...errors: number[]): void {
    const bits = errors.reduce((mask, bit) => mask | (1 << bit), 0);
    this.set(AerRegister.UncorrectableStatus, bits >>> 0);
  }
}
const bit = (n: number): number => 2 ** n;
const WRITE_LOG = [...write.header, 0x9100_0007, 0, 0, 0];
const READ_LOG = [...read.header, 0, 0, 0, 0, 0];
const EMPTY_LOG = [0, 0, 0, 0, 0, 0, 0, 0];

describe('the capability', () => {
  it('is extended capability 0001h, version 2, with the values of reset', () => {
    const device = new Device();
    const { offset } = device.aer;
    assert.equal(device.config.extendedCapability(ExtendedId.Aer), offset);
    assert.equal(device.config.read(offset, 4) & 0xf_ffff, 0x2_0001);
    assert.equal(device.get(AerRegister.UncorrectableStatus), 0);
    assert.equal(device.get(AerRegister.UncorrectableSeverity), 0x0046_2030);
    assert.equal(device.get(AerRegister.UncorrectableMask), 0x0440_0000);
    assert.equal(device.get(AerRegister.CorrectableMask), 0x0000_e000);
    assert.equal(device.get(AerRegister.Control), 0x0000_00a0);
  });

  it('takes masks, severities and enables, nothing else', () => {
    const device = new Device({ headerRecords: 4 });
    for (let register = 4; register < AerRegister.SIZE; register += 4) {
      device.set(register, 0xffff_ffff);
    }
    assert.equal(device.get(AerRegister.UncorrectableStatus), 0);
    assert.equal(device.get(AerRegister.UncorrectableMask), 0x07ff_f030);
    assert.equal(device.get(AerRegister.UncorrectableSeverity), 0x07ff_f030);
    assert.equal(device.get(AerRegister.CorrectableMask), 0x0000_f1c1);
    assert.equal(device.get(AerRegister.Control), 0x0000_07e0);
    assert.deepEqual(device.logs, EMPTY_LOG);
    assert.equal(device.get(AerRegister.RootStatus), 0);
  });

  it('shows the owner what software wants of digests', () => {
    const device = new Device();
    assert.deepEqual([device.aer.ecrcGeneration, device.aer.ecrcCheck], [false, false]);
    device.set(AerRegister.Control, AerControl.EcrcGenerationEnable.mask);
    assert.deepEqual([device.aer.ecrcGeneration, device.aer.ecrcCheck], [true, false]);
    device.set(AerRegister.Control, AerControl.EcrcCheckEnable.mask);
    assert.deepEqual([device.aer.ecrcGeneration, device.aer.ecrcCheck], [false, true]);
    device.aer.powerUp();
    assert.equal(device.aer.ecrcCheck, false);
    const without = new Device({ ecrc: false });
    without.set(AerRegister.Control, 0xffff_ffff);
    assert.equal(without.get(AerRegister.Control), 0);
  });
});

describe('an uncorrectable error', () => {
  for (const [name, error] of Object.entries(Uncorrectable)) {
    it(`${name}: status, log, device status and message by severity`, () => {
      const device = new Device();
      device.set(AerRegister.UncorrectableMask, 0);
      device.set(AerRegister.UncorrectableSeverity, bit(error));
      assert.deepEqual(device.aer.report(error, write), [FATAL]);
      assert.equal(device.get(AerRegister.UncorrectableStatus), bit(error));
      assert.equal(device.firstError, error);
      assert.deepEqual(device.logs, WRITE_LOG);
      const isUnsupported = error === Uncorrectable.UnsupportedRequest;
      assert.equal(device.deviceStatus & 0xf, isUnsupported ? 0xc : 0x4);
      device.clear(error);
      assert.equal(device.get(AerRegister.UncorrectableStatus), 0);

      device.set(AerRegister.UncorrectableSeverity, 0);
      device.set(AerRegister.CorrectableMask, 0);
      const isUnexpected = error === Uncorrectable.UnexpectedCompletion;
      assert.deepEqual(device.aer.report(error, null), [isUnexpected ? COR : NONFATAL]);
      assert.equal(device.get(AerRegister.UncorrectableStatus), bit(error));
    });
  }

  it('is fatal or not by default as its kind says', () => {
    const { MalformedTlp, PoisonedTlp } = Uncorrectable;
    assert.deepEqual(new Device().aer.report(MalformedTlp, null), [FATAL]);
    assert.deepEqual(new Device().aer.report(PoisonedTlp, null), [NONFATAL]);
  });

  it('that is masked sets its status and no more', () => {
    const device = new Device();
    device.set(AerRegister.UncorrectableMask, bit(Uncorrectable.PoisonedTlp));
    assert.deepEqual(device.aer.report(Uncorrectable.PoisonedTlp, write), []);
    assert.equal(device.get(AerRegister.UncorrectableStatus), bit(Uncorrectable.PoisonedTlp));
    assert.equal(device.deviceStatus & 0xf, 0x2);
    assert.deepEqual([device.firstError, device.logs], [0, EMPTY_LOG]);
    // The first unmasked one is the first that is logged.
    device.aer.report(Uncorrectable.Ecrc, read);
    assert.deepEqual([device.firstError, device.logs], [Uncorrectable.Ecrc, READ_LOG]);
  });

  it('keeps the log of the first until its status is cleared', () => {
    const device = new Device();
    device.aer.report(Uncorrectable.PoisonedTlp, write);
    device.aer.report(Uncorrectable.UnsupportedRequest, read);
    device.aer.report(Uncorrectable.PoisonedTlp, read);
    assert.deepEqual([device.firstError, device.logs], [Uncorrectable.PoisonedTlp, WRITE_LOG]);
    assert.equal(AerControl.PrefixLogPresent.get(device.get(AerRegister.Control)), 1);
    device.clear(Uncorrectable.UnsupportedRequest);
    assert.equal(device.firstError, Uncorrectable.PoisonedTlp);
    device.clear(Uncorrectable.PoisonedTlp);
    assert.equal(device.get(AerRegister.UncorrectableStatus), 0);
    assert.deepEqual([device.firstError, device.logs], [0, EMPTY_LOG]);
    device.aer.report(Uncorrectable.UnsupportedRequest, read);
    assert.deepEqual(
      [device.firstError, device.logs],
      [Uncorrectable.UnsupportedRequest, READ_LOG],
    );
    assert.equal(AerControl.PrefixLogPresent.get(device.get(AerRegister.Control)), 0);
  });

  it('is sent only when Device Control or System Error Enable says so', () => {
    const { PoisonedTlp, MalformedTlp, UnsupportedRequest } = Uncorrectable;
    const sent = (control: number, command: number) => {
      const device = new Device({}, control);
      device.config.write(Header.Command, 2, command);
      const all = [PoisonedTlp, MalformedTlp, UnsupportedRequest].flatMap((error) =>
        device.aer.report(error, null),
      );
      return { all, signaled: (device.config.read(Header.Status, 2) >> 14) & 1 };
    };
    const serr = Command.SERR.mask;
    const nonFatal = DevCtl.NonFatalReporting.mask;
    const unsupported = DevCtl.UnsupportedReporting.mask;
    assert.deepEqual(sent(0, 0), { all: [], signaled: 0 });
    assert.deepEqual(sent(nonFatal, 0), { all: [NONFATAL], signaled: 0 });
    assert.deepEqual(sent(DevCtl.FatalReporting.mask, 0), { all: [FATAL], signaled: 0 });
    assert.deepEqual(sent(unsupported, 0), { all: [], signaled: 0 });
    assert.deepEqual(sent(nonFatal | unsupported, 0).all, [NONFATAL, NONFATAL]);
    assert.deepEqual(sent(0, serr), { all: [NONFATAL, FATAL, NONFATAL], signaled: 1 });
  });
});

describe('an advisory error', () => {
  const { Completer, Forwarder, Receiver, Recovering } = ErrorRole;

  it('is one whose requester or target knows', () => {
    const advisory = (role: ErrorRole): number[] =>
      Object.values(Uncorrectable).filter((error) => isAdvisory(error, role));
    assert.deepEqual(advisory(Receiver), [16]);
    assert.deepEqual(advisory(Completer), [15, 16, 20, 21, 24, 25, 26]);
    assert.deepEqual(advisory(Forwarder), [12, 16, 19]);
    assert.deepEqual(advisory(Recovering), [12, 14, 16]);
  });

  it('is masked by default: only its correctable status is set', () => {
    const device = new Device();
    assert.deepEqual(device.aer.report(Uncorrectable.UnsupportedRequest, read, Completer), []);
    assert.equal(device.get(AerRegister.CorrectableStatus), bit(Correctable.AdvisoryNonFatal));
    assert.equal(device.get(AerRegister.UncorrectableStatus), 0);
    assert.deepEqual(device.logs, EMPTY_LOG);
    assert.equal(device.deviceStatus & 0xf, 0x9);
  });

  it('unmasked is logged and sent as correctable', () => {
    const device = new Device();
    device.set(AerRegister.CorrectableMask, 0);
    assert.deepEqual(device.aer.report(Uncorrectable.CompleterAbort, read, Completer), [COR]);
    assert.equal(device.get(AerRegister.UncorrectableStatus), bit(Uncorrectable.CompleterAbort));
    assert.deepEqual([device.firstError, device.logs], [Uncorrectable.CompleterAbort, READ_LOG]);
    assert.equal(device.deviceStatus & 0xf, 0x1);
  });

  it('with its own mask set is sent but not logged', () => {
    const device = new Device();
    device.set(AerRegister.CorrectableMask, 0);
    device.set(AerRegister.UncorrectableMask, 0xffff_ffff);
    assert.deepEqual(device.aer.report(Uncorrectable.PoisonedTlp, read, Forwarder), [COR]);
    assert.equal(device.get(AerRegister.UncorrectableStatus), bit(Uncorrectable.PoisonedTlp));
    assert.deepEqual(device.logs, EMPTY_LOG);
  });

  it('needs correctable reporting, and that of unsupported requests for those', () => {
    const correctable = DevCtl.CorrectableReporting.mask;
    for (const [control, error, expected] of [
      [correctable, Uncorrectable.CompleterAbort, [COR]],
      [correctable, Uncorrectable.UnsupportedRequest, []],
      [correctable | DevCtl.UnsupportedReporting.mask, Uncorrectable.UnsupportedRequest, [COR]],
      [DevCtl.NonFatalReporting.mask, Uncorrectable.CompleterAbort, []],
    ] as const) {
      const device = new Device({}, control);
      device.config.write(Header.Command, 2, Command.SERR.mask);
      device.set(AerRegister.CorrectableMask, 0);
      assert.deepEqual(device.aer.report(error, null, Completer), expected);
    }
  });

  it('is none when its severity is fatal', () => {
    const device = new Device();
    device.set(AerRegister.UncorrectableSeverity, 0xffff_ffff);
    assert.deepEqual(device.aer.report(Uncorrectable.CompleterAbort, read, Completer), [FATAL]);
  });
});

describe('a correctable error', () => {
  it('sets its bit, is cleared by writing it, and is sent unless masked or switched off', () => {
    for (const [name, error] of Object.entries(Correctable)) {
      const device = new Device();
      device.set(AerRegister.CorrectableMask, 0);
      assert.deepEqual(device.aer.reportCorrectable(error), [COR], name);
      assert.equal(device.get(AerRegister.CorrectableStatus), bit(error));
      assert.equal(device.deviceStatus & 0xf, 0x1);
      device.set(AerRegister.CorrectableStatus, bit(error));
      assert.equal(device.get(AerRegister.CorrectableStatus), 0);
      device.set(AerRegister.CorrectableMask, bit(error));
      assert.deepEqual(device.aer.reportCorrectable(error), []);
      assert.equal(device.get(AerRegister.CorrectableStatus), bit(error));
    }
    assert.deepEqual(new Device({}, 0xe).aer.reportCorrectable(Correctable.BadTlp), []);
  });
});

describe('resets', () => {
  const { PoisonedTlp } = Uncorrectable;
  const used = (): Device => {
    const device = new Device();
    device.set(AerRegister.UncorrectableSeverity, 0x1000);
    device.set(AerRegister.Control, AerControl.EcrcCheckEnable.mask);
    device.aer.report(PoisonedTlp, write);
    device.aer.reportCorrectable(Correctable.BadDllp);
    return device;
  };
  const kept = (device: Device): void => {
    assert.equal(device.get(AerRegister.UncorrectableStatus), bit(PoisonedTlp));
    assert.equal(device.get(AerRegister.CorrectableStatus), bit(Correctable.BadDllp));
    assert.equal(device.get(AerRegister.UncorrectableSeverity), 0x1000);
    assert.deepEqual([device.firstError, device.logs], [PoisonedTlp, WRITE_LOG]);
    assert.equal(device.aer.ecrcCheck, true);
  };

  it('of the function and of the link keep everything', () => {
    const device = used();
    device.deviceControl = DevCtl.InitiateFlr.mask;
    assert.equal(device.config.read(device.pcie + Pcie.DevCtl, 2) & 0xf, 0);
    kept(device);
    device.config.reset('conventional');
    kept(device);
    device.clear(PoisonedTlp);
    assert.equal(device.get(AerRegister.UncorrectableStatus), 0);
  });

  it('by power keep nothing', () => {
    const device = used();
    device.config.reset();
    device.aer.powerUp();
    assert.equal(device.get(AerRegister.UncorrectableStatus), 0);
    assert.equal(device.get(AerRegister.CorrectableStatus), 0);
    assert.equal(device.get(AerRegister.UncorrectableSeverity), 0x0046_2030);
    assert.deepEqual([device.firstError, device.logs], [0, EMPTY_LOG]);
    device.aer.report(Uncorrectable.Ecrc, null);
    assert.equal(device.firstError, Uncorrectable.Ecrc);
  });
});

describe('multiple header recording', () => {
  const { PoisonedTlp, Ecrc, UnsupportedRequest, CompletionTimeout } = Uncorrectable;
  const recording = (): Device => {
    const device = new Device({ headerRecords: 3 });
    device.set(AerRegister.Control, AerControl.MultipleHeaderEnable.mask);
    device.set(AerRegister.CorrectableMask, 0);
    return device;
  };

  it('shows one after the other as software clears them', () => {
    const device = recording();
    device.aer.report(PoisonedTlp, write);
    device.aer.report(Ecrc, read);
    device.aer.report(PoisonedTlp, read);
    assert.deepEqual([device.firstError, device.logs], [PoisonedTlp, WRITE_LOG]);
    // Another error's bit stays while it waits for its turn.
    device.clear(Ecrc);
    assert.equal(device.get(AerRegister.UncorrectableStatus), bit(PoisonedTlp) + bit(Ecrc));
    device.clear(PoisonedTlp);
    assert.deepEqual([device.firstError, device.logs], [Ecrc, READ_LOG]);
    assert.equal(device.get(AerRegister.UncorrectableStatus), bit(PoisonedTlp) + bit(Ecrc));
    device.clear(Ecrc);
    assert.deepEqual([device.firstError, device.logs], [PoisonedTlp, READ_LOG]);
    device.clear(PoisonedTlp);
    assert.equal(device.get(AerRegister.UncorrectableStatus), 0);
    assert.deepEqual([device.firstError, device.logs], [0, EMPTY_LOG]);
  });

  it('without room for a header reports the overflow', () => {
    const device = recording();
    for (const error of [PoisonedTlp, Ecrc, UnsupportedRequest]) device.aer.report(error, read);
    assert.equal(device.get(AerRegister.CorrectableStatus), 0);
    device.deviceControl = ALL_REPORTING & ~DevCtl.UnsupportedReporting.mask;
    assert.deepEqual(device.aer.report(CompletionTimeout, read), [NONFATAL, COR]);
    assert.deepEqual(device.aer.report(CompletionTimeout, null), [NONFATAL]);
    assert.equal(device.get(AerRegister.CorrectableStatus), bit(Correctable.HeaderLogOverflow));
    assert.deepEqual(device.aer.report(PoisonedTlp, read, ErrorRole.Forwarder), [COR, COR]);
    device.deviceControl = 0;
    assert.deepEqual(device.aer.report(Ecrc, read), []);
  });

  it('switched off forgets what waits', () => {
    const device = recording();
    device.aer.report(PoisonedTlp, write);
    device.aer.report(Ecrc, read);
    device.set(AerRegister.Control, 0);
    device.clear(PoisonedTlp);
    assert.deepEqual([device.firstError, device.logs], [0, EMPTY_LOG]);
    assert.equal(device.get(AerRegister.UncorrectableStatus), bit(Ecrc));
  });
});
