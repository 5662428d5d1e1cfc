/**
 * Downstream Port Containment in a machine: what triggers it, what it cuts off, how it lets go. [PCIE] 6.2.11
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ExtendedId } from '#emu/pcie/config/config-registers.ts';
import { AerRegister, Uncorrectable } from '#emu/pcie/errors/aer-registers.ts';
import { DpcControl, DpcReason, DpcRegister, DpcStatus } from '#emu/pcie/errors/dpc-registers.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import {
  bit,
  DOWN,
  ENDPOINT,
  type ErrorRig,
  failFatally,
  idOf,
  ROOT_PORT,
  RootBits,
  reportAll,
  withErrors,
} from '#test/support/error-rig.ts';

const FIDELITIES = ['timed', 'functional'] as const;

for (const fidelity of FIDELITIES) {
  describe(`containment, ${fidelity}`, () => {
    const arm = (rig: ErrorRig, control: number): void => {
      const at = rig.fn(DOWN).extendedCapability(ExtendedId.Dpc);
      rig.run(rig.fn(DOWN).configWrite16(at + DpcRegister.Control, control));
    };
    const dpc = (rig: ErrorRig, register: number): number => {
      const at = rig.fn(DOWN).extendedCapability(ExtendedId.Dpc);
      return rig.run(rig.fn(DOWN).configRead16(at + register));
    };
    const release = (rig: ErrorRig): void => {
      const at = rig.fn(DOWN).extendedCapability(ExtendedId.Dpc) + DpcRegister.Status;
      rig.run(rig.fn(DOWN).configWrite16(at, DpcStatus.Triggered.mask));
    };

    it('cuts off what has sent a fatal message, which goes no further', () => {
      withErrors(fidelity, (rig) => {
        reportAll(rig);
        arm(rig, DpcControl.Trigger.of(1));
        rig.fail(ENDPOINT, 'ecrc-error');
        assert.equal(rig.aer(ROOT_PORT).rootStatus, RootBits.Uncorrectable | RootBits.NonFatal);
        assert.equal(rig.port(DOWN).isUp, true);
        rig.write(ROOT_PORT, AerRegister.RootStatus, 0xffff_ffff);
        const source = idOf(rig, ENDPOINT);
        failFatally(rig);
        const status = dpc(rig, DpcRegister.Status);
        assert.equal(DpcStatus.Triggered.get(status), 1);
        assert.equal(DpcStatus.Reason.get(status), DpcReason.FatalMessage);
        assert.equal(dpc(rig, DpcRegister.Source), source);
        assert.equal(rig.aer(ROOT_PORT).rootStatus, 0);
        assert.equal(rig.port(DOWN).isUp, false);
      });
    });

    it('cuts off for an error of the port itself, whatever Device Control says', () => {
      withErrors(fidelity, (rig) => {
        arm(rig, DpcControl.Trigger.of(2));
        rig.fail(DOWN, 'ecrc-error');
        assert.equal(DpcStatus.Reason.get(dpc(rig, DpcRegister.Status)), DpcReason.OwnError);
        assert.equal(rig.port(DOWN).isUp, false);
        assert.equal(rig.aer(DOWN).uncorrectable, bit(Uncorrectable.Ecrc));
      });
    });

    it('does not for a masked or an advisory error', () => {
      withErrors(fidelity, (rig) => {
        arm(rig, DpcControl.Trigger.of(2));
        rig.write(DOWN, AerRegister.UncorrectableMask, bit(Uncorrectable.Ecrc));
        rig.fail(DOWN, 'ecrc-error');
        rig.fail(DOWN, 'unexpected-completion');
        assert.equal(dpc(rig, DpcRegister.Status) & 1, 0);
        assert.equal(rig.port(DOWN).isUp, true);
      });
    });

    for (const [control, status] of [
      [0, DmaStatus.CompleterAbort],
      [1, DmaStatus.UnsupportedRequest],
    ] as const) {
      it(`answers requests for below with status ${status}, reports none, and lets go`, () => {
        withErrors(fidelity, (rig) => {
          const target = rig.bar(ENDPOINT);
          arm(rig, DpcControl.Trigger.of(1) | DpcControl.Completion.of(control));
          rig.fail(DOWN, 'surprise-down');
          rig.clear(DOWN);
          assert.equal(rig.transfer(false, target, 'b'), status);
          rig.transfer(true, target, 'b');
          assert.deepEqual([rig.aer(DOWN).uncorrectable, rig.aer(DOWN).correctable], [0, 0]);
          assert.equal(rig.built.fabric.errors.get(`${rig.port(DOWN).path} contained`), 2);
          release(rig);
          assert.equal(rig.port(DOWN).isUp, true);
        });
      });
    }

    it('is triggered by software, and can tell by ERR_COR', () => {
      withErrors(fidelity, (rig) => {
        reportAll(rig);
        arm(rig, DpcControl.Trigger.of(1) | DpcControl.CorrectableEnable.of(1));
        arm(
          rig,
          DpcControl.Trigger.of(1) |
            DpcControl.CorrectableEnable.of(1) |
            DpcControl.SoftwareTrigger.of(1),
        );
        assert.equal(rig.port(DOWN).isUp, false);
        assert.equal(rig.aer(ROOT_PORT).rootStatus, RootBits.Correctable);
        assert.equal(rig.aer(ROOT_PORT).sources[0], idOf(rig, DOWN));
      });
    });
  });
}
