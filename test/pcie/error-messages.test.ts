/**
 * Error messages on their way from the function that reports to the root port: what software lets through, what
 * the root port notes, and what containment keeps. [PCIE] 6.2.5, 6.2.6, 6.2.11
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  Command,
  DevCtl,
  DevSta,
  ExtendedId,
  Header,
  Status,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import { AerRegister, Correctable, Uncorrectable } from '#emu/pcie/errors/aer-registers.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import {
  ALL_REPORTING,
  bit,
  DOWN,
  ENDPOINT,
  failFatally,
  idOf,
  ROOT_PORT,
  RootBits,
  reportAll,
  SWITCH_UP,
  setBridge,
  setCommand,
  withErrors,
} from '#test/support/error-rig.ts';

const FIDELITIES = ['timed', 'functional'] as const;

it('no more messages wait at a port than it takes, however many errors there are', () => {
  withErrors('timed', (rig) => {
    reportAll(rig);
    const { fabric, kernel } = rig.built;
    for (let i = 0; i < 1000; i++) fabric.fail(rig.port(ENDPOINT).path, 'bad-tlp');
    const backlog = rig.port(ENDPOINT).channels.waiting;
    assert.equal(backlog, 32);
    kernel.run();
    assert.equal(rig.aer(ROOT_PORT).rootStatus, RootBits.Correctable | RootBits.ManyCorrectable);
  });
});

for (const fidelity of FIDELITIES) {
  describe(`error messages, ${fidelity}`, () => {
    it('reach the root port, which notes who sent the first of each kind', () => {
      withErrors(fidelity, (rig) => {
        reportAll(rig);
        rig.fail(ENDPOINT, 'bad-tlp');
        assert.equal(rig.aer(ROOT_PORT).rootStatus, RootBits.Correctable);
        rig.fail(DOWN, 'bad-dllp');
        assert.equal(
          rig.aer(ROOT_PORT).rootStatus,
          RootBits.Correctable | RootBits.ManyCorrectable,
        );
        failFatally(rig);
        rig.fail(ROOT_PORT, 'flow-control-protocol');
        const { rootStatus, sources } = rig.aer(ROOT_PORT);
        const expected =
          RootBits.Correctable |
          RootBits.ManyCorrectable |
          RootBits.Uncorrectable |
          RootBits.ManyUncorrectable |
          RootBits.FirstFatal |
          RootBits.Fatal;
        assert.equal(rootStatus, expected);
        assert.deepEqual(sources, [idOf(rig, ENDPOINT), idOf(rig, ENDPOINT)]);
      });
    });

    it('of a switch port carry its own ID, and a non-fatal one is not the first fatal', () => {
      withErrors(fidelity, (rig) => {
        reportAll(rig);
        rig.setDeviceControl(SWITCH_UP, ALL_REPORTING);
        rig.fail(SWITCH_UP, 'ecrc-error');
        const { rootStatus, sources } = rig.aer(ROOT_PORT);
        assert.equal(rootStatus, RootBits.Uncorrectable | RootBits.NonFatal);
        assert.equal(sources[1], idOf(rig, SWITCH_UP));
        rig.write(ROOT_PORT, AerRegister.RootStatus, 0xffff_ffff);
        rig.fail(DOWN, 'ecrc-error');
        assert.equal(rig.aer(ROOT_PORT).sources[1], idOf(rig, DOWN));
      });
    });

    it('stop at each function and bridge that software does not let them pass', () => {
      withErrors(fidelity, (rig) => {
        const reaches = (): boolean => {
          rig.fail(ENDPOINT, 'bad-tlp');
          const { rootStatus } = rig.aer(ROOT_PORT);
          rig.write(ROOT_PORT, AerRegister.RootStatus, 0xffff_ffff);
          return rootStatus !== 0;
        };
        reportAll(rig);
        assert.equal(reaches(), true);
        for (const name of [ROOT_PORT, SWITCH_UP, DOWN]) {
          setBridge(rig, name, 0);
          assert.equal(reaches(), false, name);
          setBridge(rig, name, 1);
        }
        rig.setDeviceControl(ENDPOINT, ALL_REPORTING & ~DevCtl.CorrectableReporting.mask);
        assert.equal(reaches(), false);
        assert.equal(rig.deviceStatus(ENDPOINT) & ALL_REPORTING, DevSta.Correctable.mask);
      });
    });

    it('go for System Error Enable alone, which Status tells', () => {
      withErrors(fidelity, (rig) => {
        reportAll(rig);
        rig.setDeviceControl(ENDPOINT, 0);
        failFatally(rig);
        assert.equal(rig.aer(ROOT_PORT).rootStatus, 0);
        setCommand(rig, ENDPOINT, Command.SERR.mask);
        failFatally(rig);
        assert.equal(
          rig.aer(ROOT_PORT).rootStatus,
          RootBits.Uncorrectable | RootBits.FirstFatal | RootBits.Fatal,
        );
        assert.equal(rig.status(ENDPOINT), Status.SignaledSystemError.mask);
        // The bit of the same place in Secondary Status: a bridge has received one.
        assert.equal(rig.status(DOWN, Type1.SecondaryStatus), Status.SignaledSystemError.mask);
      });
    });
  });

  describe(`severity, ${fidelity}`, () => {
    it('are as loud as severity and mask make the error', () => {
      withErrors(fidelity, (rig) => {
        reportAll(rig);
        const loud = (mask: number, severity: number): number => {
          rig.write(DOWN, AerRegister.UncorrectableMask, mask);
          rig.write(DOWN, AerRegister.UncorrectableSeverity, severity);
          rig.fail(DOWN, 'surprise-down');
          const { rootStatus } = rig.aer(ROOT_PORT);
          rig.write(ROOT_PORT, AerRegister.RootStatus, 0xffff_ffff);
          return rootStatus;
        };
        const own = bit(Uncorrectable.SurpriseDown);
        assert.equal(loud(0, own), RootBits.Uncorrectable | RootBits.FirstFatal | RootBits.Fatal);
        assert.equal(loud(0, 0), RootBits.Uncorrectable | RootBits.NonFatal);
        assert.equal(loud(own, 0), 0);
        assert.equal(rig.aer(DOWN).uncorrectable, own);
      });
    });

    it('are advisory for a request that is answered, until its severity is fatal', () => {
      withErrors(fidelity, (rig) => {
        reportAll(rig);
        rig.write(ROOT_PORT, AerRegister.CorrectableMask, 0);
        assert.equal(rig.transfer(false), DmaStatus.UnsupportedRequest);
        assert.equal(rig.aer(ROOT_PORT).rootStatus, RootBits.Correctable);
        assert.equal(rig.aer(ROOT_PORT).correctable, bit(Correctable.AdvisoryNonFatal));
        rig.clear(ROOT_PORT);
        rig.write(ROOT_PORT, AerRegister.RootStatus, 0xffff_ffff);
        const fatal = bit(Uncorrectable.UnsupportedRequest);
        rig.write(ROOT_PORT, AerRegister.UncorrectableSeverity, fatal);
        rig.transfer(false);
        assert.equal(
          rig.aer(ROOT_PORT).rootStatus,
          RootBits.Uncorrectable | RootBits.FirstFatal | RootBits.Fatal,
        );
        assert.equal(rig.aer(ROOT_PORT).correctable, 0);
      });
    });

    it('of a function without AER follow the severities of reset, and none is advisory', () => {
      const plain = { aer: false };
      withErrors(
        fidelity,
        (rig) => {
          reportAll(rig);
          rig.fail(ENDPOINT, 'internal-error');
          assert.equal(
            rig.aer(ROOT_PORT).rootStatus,
            RootBits.Uncorrectable | RootBits.FirstFatal | RootBits.Fatal,
          );
          assert.equal(rig.deviceStatus(ENDPOINT) & ALL_REPORTING, DevSta.Fatal.mask);
          assert.equal(rig.fn(ENDPOINT).extendedCapability(ExtendedId.Aer), 0);
          rig.write(ROOT_PORT, AerRegister.RootStatus, 0xffff_ffff);
          rig.run(rig.fn('b').configWrite16(Header.Command, 0));
          rig.fail(ENDPOINT, 'unexpected-completion');
          assert.equal(rig.aer(ROOT_PORT).rootStatus, 0);
          assert.equal(
            rig.deviceStatus(ENDPOINT) & ALL_REPORTING,
            DevSta.Fatal.mask | DevSta.Correctable.mask,
          );
          rig.fail(ENDPOINT, 'bad-tlp');
          assert.equal(rig.aer(ROOT_PORT).rootStatus, RootBits.Correctable);
          rig.write(ROOT_PORT, AerRegister.RootStatus, 0xffff_ffff);
          rig.setDeviceControl(ENDPOINT, 0);
          rig.fail(ENDPOINT, 'bad-tlp');
          assert.equal(rig.aer(ROOT_PORT).rootStatus, 0);
          setCommand(rig, ENDPOINT, Command.SERR.mask);
          rig.fail(ENDPOINT, 'ecrc-error');
          assert.equal(rig.status(ENDPOINT), Status.SignaledSystemError.mask);
        },
        false,
        plain,
      );
    });
  });
}
