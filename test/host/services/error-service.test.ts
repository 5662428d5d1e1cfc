/**
 * Errors of a booted machine, from where they happen to the record that host software makes of them.
 * [PCIE] 6.2.6, 6.2.11
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatBdf } from '#emu/base/units.ts';
import type { ErrorSpec } from '#emu/host/checks/error-check.ts';
import { type ErrorRecord, errorLines } from '#emu/host/services/error-record.ts';
import type { ErrorService } from '#emu/host/services/error-service.ts';
import {
  BridgeControl,
  CapabilityId,
  Command,
  Pcie,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import { AerRegister, Correctable } from '#emu/pcie/errors/aer-registers.ts';
import { DpcReason } from '#emu/pcie/errors/dpc-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import {
  ALL_REPORTING,
  bit,
  DOWN,
  ENDPOINT,
  type ErrorRig,
  failFatally,
  ROOT_PORT,
  RootBits,
  SWITCH_UP,
  setCommand,
  withErrors,
} from '#test/support/error-rig.ts';

const FIDELITIES = ['timed', 'functional'] as const;

const serviceOf = (rig: ErrorRig): ErrorService => {
  const { errors } = rig.built;
  assert.ok(errors, 'the machine has an error service');
  return errors;
};
const last = (rig: ErrorRig): ErrorRecord => {
  const record = serviceOf(rig).records.at(-1);
  assert.ok(record, 'an error has been recorded');
  return record;
};
const briefly = ({ path, severity, errors, advised }: ErrorRecord) => ({
  path,
  severity,
  errors,
  advised,
});
const withService = (
  fidelity: Fidelity,
  body: (rig: ErrorRig) => void,
  errors: true | ErrorSpec = true,
  extra = {},
): void => withErrors(fidelity, body, errors, {}, extra);

for (const fidelity of FIDELITIES) {
  describe(`the error service, ${fidelity}`, () => {
    it('has every function report and finds nothing of enumeration', () => {
      withService(fidelity, (rig) => {
        for (const name of [ROOT_PORT, SWITCH_UP, DOWN, ENDPOINT, 'b', 'c']) {
          const fn = rig.fn(name);
          const at = fn.capability(CapabilityId.Pcie) + Pcie.DevCtl;
          assert.equal(rig.run(fn.configRead16(at)) & ALL_REPORTING, ALL_REPORTING, name);
          assert.deepEqual([rig.aer(name).uncorrectable, rig.aer(name).correctable], [0, 0], name);
          assert.equal(rig.deviceStatus(name) & ALL_REPORTING, 0, name);
        }
        const control = rig.run(rig.fn(DOWN).configRead16(Type1.BridgeControl));
        assert.equal(BridgeControl.SERR.get(control), 1);
        assert.equal(serviceOf(rig).count, 0);
      });
    });

    it('records an uncorrectable error with its TLP, in the words of Linux, and clears it', () => {
      withService(fidelity, (rig) => {
        rig.transfer(true);
        const record = last(rig);
        assert.deepEqual(briefly(record), {
          path: ROOT_PORT,
          severity: 'nonfatal',
          errors: ['UnsupReq'],
          advised: [],
        });
        assert.deepEqual([record.first, record.layer], ['UnsupReq', 'Transaction Layer']);
        const id = rig.fn(ENDPOINT).bdf;
        const [first = 0, second = 0, high = 0, low = 0] = record.header;
        assert.deepEqual([first, second >>> 16, second & 0xff], [0x6000_0010, id, 0xff]);
        assert.deepEqual([high, low], [0x7_0000, 0]);
        const name = formatBdf(record.bdf);
        const lines = errorLines(record);
        assert.equal(
          lines[0],
          `${name}: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=Transaction Layer, (Requester ID)`,
        );
        assert.equal(lines[1], `${name}:   device [1b36:000c] error status/mask=00100000/04400000`);
        assert.equal(lines[2], `${name}:    UnsupReq (First)`);
        assert.match(lines[3] ?? '', /TLP Header: 60000010 [0-9a-f]{8} 00070000 00000000$/);
        assert.equal(rig.aer(ROOT_PORT).uncorrectable, 0);
        assert.deepEqual(rig.aer(ROOT_PORT).header, [0, 0, 0, 0]);
        assert.equal(rig.aer(ROOT_PORT).rootStatus, 0);
        assert.equal(rig.deviceStatus(ROOT_PORT) & ALL_REPORTING, 0);
      });
    });

    it('records correctable errors, with the uncorrectable ones that were only advisory', () => {
      withService(fidelity, (rig) => {
        rig.fail(ENDPOINT, 'bad-tlp');
        const bad = last(rig);
        assert.deepEqual([bad.severity, bad.errors], ['corrected', ['BadTLP']]);
        assert.deepEqual(
          [bad.layer, bad.agent, bad.header],
          ['Data Link Layer', 'Receiver ID', []],
        );
        rig.fail(DOWN, 'replay-timeout');
        assert.equal(last(rig).agent, 'Transmitter ID');
        rig.fail(DOWN, 'receiver-error');
        assert.equal(last(rig).layer, 'Physical Layer');
        rig.write(ROOT_PORT, AerRegister.CorrectableMask, 0);
        rig.transfer(false);
        assert.deepEqual(briefly(last(rig)), {
          path: ROOT_PORT,
          severity: 'corrected',
          errors: ['NonFatalErr'],
          advised: ['UnsupReq'],
        });
        assert.equal(last(rig).first, 'UnsupReq');
        assert.equal(serviceOf(rig).count, 4);
      });
    });
  });

  describe(`many errors, ${fidelity}`, () => {
    it('finds everybody who reported at once, and goes on with the next', () => {
      withService(fidelity, (rig) => {
        const { fabric, kernel } = rig.built;
        for (const name of [ENDPOINT, 'b', DOWN]) fabric.fail(rig.port(name).path, 'bad-dllp');
        fabric.fail(rig.port('c').path, 'bad-tlp');
        kernel.run();
        const paths = serviceOf(rig).records.map(({ path }) => path);
        const all = [ENDPOINT, 'b', 'c', DOWN].map((name) => rig.port(name).path);
        assert.deepEqual([...new Set(paths)].sort(), all.sort());
        for (const name of [ENDPOINT, 'b', 'c', DOWN]) assert.equal(rig.aer(name).correctable, 0);
        rig.fail('c', 'bad-dllp');
        assert.deepEqual(last(rig).errors, ['BadDLLP']);
      });
    });

    it('tells an advisory error from the same one that nobody was told of', () => {
      withService(fidelity, (rig) => {
        rig.write(ROOT_PORT, AerRegister.CorrectableMask, 0);
        rig.transferAll([false, true]);
        const severities = serviceOf(rig).records.map(({ severity }) => severity);
        // With time, the second may come while the first is read, and is cleared with it.
        const both = ['corrected', 'nonfatal'];
        assert.deepEqual(severities.sort(), fidelity === 'functional' ? both : ['corrected']);
      });
    });

    it('makes nothing of a function that is gone by the time it is asked', () => {
      withService(fidelity, (rig) => {
        const { interrupts } = rig.built;
        interrupts.probe = { interrupt: () => rig.port(DOWN).linkDown() };
        rig.fail(ENDPOINT, 'bad-tlp');
        assert.equal(interrupts.dispatched, 1);
        assert.equal(serviceOf(rig).count, 0);
      });
    });

    it('keeps the latest records, and counts all', () => {
      withService(fidelity, (rig) => {
        let seen = 0;
        serviceOf(rig).probe = { error: () => seen++ };
        for (let i = 0; i < 300; i++) rig.fail('c', 'bad-tlp');
        rig.fail('c', 'bad-dllp');
        const { records, count } = serviceOf(rig);
        assert.deepEqual([records.length, count, seen], [256, 301, 301]);
        assert.deepEqual(last(rig).errors, ['BadDLLP']);
      });
    });

    it('reads every record of a function that keeps several', () => {
      withService(
        fidelity,
        (rig) => {
          const control = rig.read(ROOT_PORT, AerRegister.Control);
          rig.write(ROOT_PORT, AerRegister.Control, control | (1 << 10));
          rig.write(ROOT_PORT, AerRegister.CorrectableMask, bit(Correctable.Internal));
          rig.transferAll([true, true, true]);
          const unsupported = serviceOf(rig).records.filter((one) =>
            one.errors.includes('UnsupReq'),
          );
          assert.equal(unsupported.length, 3);
          assert.ok(
            unsupported.every(({ header }) => header.length === 4),
            'each has its header',
          );
        },
        { aer: { headerRecords: 4 } },
      );
    });
  });

  describe(`choices of a machine, ${fidelity}`, () => {
    it('hears of nothing from a port that may not write memory', () => {
      withService(fidelity, (rig) => {
        setCommand(rig, ROOT_PORT, -Command.BME.mask);
        rig.fail(ENDPOINT, 'bad-tlp');
        assert.equal(serviceOf(rig).count, 0);
        assert.equal(rig.aer(ROOT_PORT).rootStatus, RootBits.Correctable);
      });
    });

    it('serves containment and reports of one root port by the same interrupt', () => {
      withService(
        fidelity,
        (rig) => {
          rig.fail('c', 'bad-tlp');
          assert.deepEqual(last(rig).errors, ['BadTLP']);
          rig.fail('rc0.port1', 'surprise-down');
          assert.equal(serviceOf(rig).containments[0]?.path, 'rc0.port1');
        },
        { containment: 'fatal' },
      );
    });

    it('hears of no containment from a port that may not write memory', () => {
      withService(
        fidelity,
        (rig) => {
          setCommand(rig, DOWN, -Command.BME.mask);
          rig.fail(DOWN, 'surprise-down');
          assert.equal(serviceOf(rig).containments.length, 0);
          assert.equal(rig.port(DOWN).isUp, false);
        },
        { containment: 'fatal' },
      );
    });

    it('has root ports report what they refuse, and the IOMMU what it does', () => {
      for (const [extra, errors] of [
        [{ peerForwarding: false }, ['UnsupReq']],
        [{ iommu: true }, undefined],
      ] as const) {
        withService(
          fidelity,
          (rig) => {
            rig.transfer(true, rig.bar('c'));
            assert.deepEqual(serviceOf(rig).records[0]?.errors, errors);
          },
          true,
          extra,
        );
      }
    });

    it('leaves a machine as hardware resets it where it is not wanted', () => {
      withErrors(fidelity, (rig) => {
        assert.equal(rig.built.errors, null);
        rig.transfer(true);
        assert.equal(rig.aer(ROOT_PORT).rootStatus, 0);
        assert.equal(rig.built.interrupts.dispatched, 0);
      });
    });

    for (const iommu of [false, true]) {
      it(`contains what fails, and lets go${iommu ? ', through the IOMMU' : ''}`, () => {
        withService(
          fidelity,
          (rig) => {
            rig.fail('c', 'bad-tlp');
            assert.deepEqual(last(rig).errors, ['BadTLP']);
            failFatally(rig);
            const [contained, ...more] = serviceOf(rig).containments;
            assert.deepEqual(more, []);
            assert.equal(contained?.path, DOWN);
            assert.equal(contained?.reason, DpcReason.FatalMessage);
            assert.equal(contained?.source, rig.fn(ENDPOINT).bdf);
            assert.equal(rig.port(DOWN).isUp, false);
            rig.run(serviceOf(rig).release(rig.built.pci.node(DOWN)));
            assert.equal(rig.port(DOWN).isUp, true);
            rig.fail(DOWN, 'surprise-down');
            const own = serviceOf(rig).containments.at(-1);
            assert.deepEqual([own?.reason, own?.source], [DpcReason.OwnError, 0]);
            assert.deepEqual(last(rig).errors, ['SDES']);
          },
          { containment: 'fatal' },
          { iommu },
        );
      });
    }
  });
}

describe('what a machine says about errors', () => {
  it('is checked', () => {
    for (const [errors, message] of [
      [{ containment: 'always' }, /errors\.containment: expected one of off, fatal, nonfatal/],
      [{ containment: 'fatal', dpc: false }, /errors\.containment: expected 'off' without/],
      [{ aer: { headerRecords: 0 } }, /errors\.aer\.headerRecords: expected 1 to 32, got 0/],
      [{ aer: { ecrc: 1 } }, /errors\.aer\.ecrc: expected true or false/],
      [{ aer: 3 }, /errors\.aer: expected true, false or options/],
      [{ service: 'yes' }, /errors\.service: expected true or false/],
      [{ dpc: 0 }, /errors\.dpc: expected true or false/],
      ['all', /errors: expected true, false or a specification object/],
    ] as const) {
      // @ts-expect-error: as a topology without types would say it
      assert.throws(() => withErrors('timed', () => {}, errors), message);
    }
  });
});
