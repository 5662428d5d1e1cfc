/**
 * What stays in the registers of a function after an error: logs, sticky status, and the Status registers of
 * conventional PCI. [PCIE] 6.2.4.2, 7.5.1.1.4
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Command, DevCtl, ExtendedId, Status, Type1 } from '#emu/pcie/config/config-registers.ts';
import { AerRegister, Correctable, Uncorrectable } from '#emu/pcie/errors/aer-registers.ts';
import { DpcControl, DpcRegister } from '#emu/pcie/errors/dpc-registers.ts';
import { Effect } from '#emu/pcie/errors/injector.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import {
  ALL_REPORTING,
  bit,
  DOWN,
  DOWN_B,
  ENDPOINT,
  ROOT_PORT,
  SWITCH_UP,
  setCommand,
  withErrors,
} from '#test/support/error-rig.ts';

const FIDELITIES = ['timed', 'functional'] as const;

for (const fidelity of FIDELITIES) {
  describe(`registers of errors, ${fidelity}`, () => {
    it('keep the first TLP while others follow, and give the next once cleared', () => {
      withErrors(fidelity, (rig) => {
        rig.transfer(true);
        const first = rig.aer(ROOT_PORT);
        rig.fail(ROOT_PORT, 'ecrc-error');
        const both = rig.aer(ROOT_PORT);
        assert.equal(both.first, Uncorrectable.UnsupportedRequest);
        assert.deepEqual(both.header, first.header);
        assert.equal(both.header[2], 0x7_0000);
        const all = bit(Uncorrectable.UnsupportedRequest) + bit(Uncorrectable.Ecrc);
        assert.equal(both.uncorrectable, all);
        rig.clear(ROOT_PORT);
        assert.deepEqual(rig.aer(ROOT_PORT).header, [0, 0, 0, 0]);
        rig.fail(ROOT_PORT, 'ecrc-error');
        assert.equal(rig.aer(ROOT_PORT).first, Uncorrectable.Ecrc);
      });
    });

    it('record as many headers as the function can, then overflow', () => {
      withErrors(
        fidelity,
        (rig) => {
          const control = rig.read(ROOT_PORT, AerRegister.Control);
          rig.write(ROOT_PORT, AerRegister.Control, control | (1 << 10));
          rig.write(ROOT_PORT, AerRegister.CorrectableMask, 0);
          for (let i = 0; i < 3; i++) rig.transfer(true);
          assert.equal(rig.aer(ROOT_PORT).correctable, bit(Correctable.HeaderLogOverflow));
          const unsupported = bit(Uncorrectable.UnsupportedRequest);
          for (const left of [unsupported, 0]) {
            rig.write(ROOT_PORT, AerRegister.UncorrectableStatus, unsupported);
            assert.equal(rig.aer(ROOT_PORT).uncorrectable, left);
          }
        },
        { service: false, aer: { headerRecords: 2 } },
      );
    });

    it('stay over a function-level reset, which clears what enables them', () => {
      withErrors(fidelity, (rig) => {
        rig.setDeviceControl(ENDPOINT, ALL_REPORTING);
        rig.fail(ENDPOINT, 'ecrc-error');
        rig.setDeviceControl(ENDPOINT, DevCtl.InitiateFlr.mask);
        rig.run(rig.pause(200_000_000_000));
        assert.equal(rig.aer(ENDPOINT).uncorrectable, bit(Uncorrectable.Ecrc));
        assert.equal(rig.aer(ENDPOINT).first, Uncorrectable.Ecrc);
      });
    });
  });

  describe(`Status, ${fidelity}`, () => {
    it('tells what conventional PCI calls an error', () => {
      withErrors(fidelity, (rig) => {
        rig.clearStatus();
        rig.transfer(false);
        assert.equal(rig.status(ENDPOINT), Status.ReceivedMasterAbort.mask);
        const down = rig.fn(DOWN);
        const acs = down.extendedCapability(ExtendedId.Acs);
        rig.run(down.configWrite32(acs + 8, 1 << 2));
        rig.run(down.configWrite16(acs + 6, 0x20));
        rig.clearStatus();
        assert.equal(rig.transfer(false, rig.bar('b')), DmaStatus.CompleterAbort);
        assert.equal(rig.status(ENDPOINT), Status.ReceivedTargetAbort.mask);
        assert.equal(rig.status(DOWN), 0);
        assert.equal(rig.status(DOWN, Type1.SecondaryStatus), Status.SignaledTargetAbort.mask);
        rig.inject({ effect: Effect.Poison, kind: 'MWr', port: rig.port(ENDPOINT).path });
        rig.clearStatus();
        rig.transfer(true, rig.hostAddress);
        assert.equal(rig.status(DOWN, Type1.SecondaryStatus), Status.DetectedParityError.mask);
      });
    });

    it('tells on which side of a bridge poisoned data came, and to whom they were sent', () => {
      withErrors(fidelity, (rig) => {
        const { DetectedParityError: Detected, MasterDataParityError: OwnData } = Status;
        const poison = (kind: string, port: string): void => {
          rig.clearStatus();
          rig.inject({ effect: Effect.Poison, kind, port: rig.port(port).path });
        };
        poison('CplD', ROOT_PORT);
        rig.transfer(false, rig.hostAddress);
        assert.equal(rig.status(SWITCH_UP), Detected.mask);
        assert.equal(rig.status(SWITCH_UP, Type1.SecondaryStatus), 0);
        assert.equal(rig.status(ENDPOINT), Detected.mask);
        setCommand(rig, ENDPOINT, Command.PER.mask);
        poison('CplD', ROOT_PORT);
        rig.transfer(false, rig.hostAddress);
        assert.equal(rig.status(ENDPOINT), Detected.mask | OwnData.mask);
        const fn = rig.fn(DOWN_B);
        const dpc = fn.extendedCapability(ExtendedId.Dpc) + DpcRegister.Control;
        rig.run(fn.configWrite16(dpc, DpcControl.PoisonedEgressBlocking.mask));
        poison('MWr', ENDPOINT);
        rig.transfer(true, rig.bar('b'));
        assert.equal(rig.status(DOWN_B), Detected.mask);
        assert.equal(rig.status(DOWN_B, Type1.SecondaryStatus), 0);
        assert.equal(rig.status('b'), 0);
      });
    });

    it('of a root port tells what the CPU asked for in vain', () => {
      withErrors(fidelity, (rig) => {
        rig.clearStatus();
        // There is no function 1 on the bus of the switch.
        const nobody = rig.fn(SWITCH_UP).bdf + 1;
        const read = rig.built.root.configRead(rig.bdf(nobody), 0, 4);
        rig.built.kernel.run();
        assert.equal(read.value, 0xffff_ffff);
        assert.equal(rig.status(ROOT_PORT, Type1.SecondaryStatus), Status.ReceivedMasterAbort.mask);
        assert.equal(rig.status(ROOT_PORT), 0);
      });
    });
  });
}
