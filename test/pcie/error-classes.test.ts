/**
 * Every error that the model can raise, made to happen and read back by configuration requests: which function
 * reports it, as which bit, and how loud. [PCIE] 6.2.7, 7.8.4
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DevCtl2, ExtendedId } from '#emu/pcie/config/config-registers.ts';
import {
  AerControl,
  AerRegister,
  Correctable,
  Uncorrectable,
} from '#emu/pcie/errors/aer-registers.ts';
import { DpcControl, DpcRegister } from '#emu/pcie/errors/dpc-registers.ts';
import type { FabricError } from '#emu/pcie/errors/fabric-error.ts';
import { Effect } from '#emu/pcie/errors/injector.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { Tlp, TlpFlag, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import {
  DOWN,
  DOWN_B,
  ENDPOINT,
  type ErrorRig,
  ROOT_PORT,
  withErrors,
} from '#test/support/error-rig.ts';

const FIDELITIES = ['timed', 'functional'] as const;

/** One way to one bit. */
interface Row {
  readonly what: string;
  /** Function that reports it. */
  readonly at: string;
  readonly uncorrectable?: Uncorrectable;
  readonly correctable?: Correctable;
  /** Whether a TLP header is logged. */
  readonly hasHeader?: boolean;
  readonly only?: Fidelity;
  readonly make: (rig: ErrorRig) => void;
}

const linkRow = (error: FabricError, at: string, bits: Partial<Row>): Row => ({
  what: error,
  at,
  ...bits,
  make: (rig) => rig.built.fabric.fail(rig.port(at).path, error),
});

const ROWS: readonly Row[] = [
  linkRow('data-link-protocol', DOWN, { uncorrectable: Uncorrectable.DataLinkProtocol }),
  linkRow('flow-control-protocol', DOWN, { uncorrectable: Uncorrectable.FlowControlProtocol }),
  linkRow('receiver-overflow', ROOT_PORT, { uncorrectable: Uncorrectable.ReceiverOverflow }),
  linkRow('internal-error', ENDPOINT, { uncorrectable: Uncorrectable.Internal }),
  linkRow('receiver-error', ENDPOINT, { correctable: Correctable.Receiver }),
  linkRow('bad-tlp', ROOT_PORT, { correctable: Correctable.BadTlp }),
  linkRow('bad-dllp', DOWN, { correctable: Correctable.BadDllp }),
  linkRow('replay-rollover', ENDPOINT, { correctable: Correctable.ReplayRollover }),
  linkRow('replay-timeout', ENDPOINT, { correctable: Correctable.ReplayTimeout }),
  linkRow('corrected-internal-error', ENDPOINT, { correctable: Correctable.Internal }),
  {
    what: 'a link that goes down unasked',
    at: DOWN,
    uncorrectable: Uncorrectable.SurpriseDown,
    make: (rig) => rig.port(DOWN).linkDown(true),
  },
  {
    what: 'a write to nobody',
    at: ROOT_PORT,
    uncorrectable: Uncorrectable.UnsupportedRequest,
    hasHeader: true,
    make: (rig) => rig.transfer(true),
  },
  {
    what: 'a read of nobody, which its requester hears of',
    at: ROOT_PORT,
    uncorrectable: Uncorrectable.UnsupportedRequest,
    correctable: Correctable.AdvisoryNonFatal,
    hasHeader: true,
    make: (rig) => rig.transfer(false),
  },
  {
    what: 'a write by a port whose link is down',
    at: DOWN_B,
    uncorrectable: Uncorrectable.UnsupportedRequest,
    hasHeader: true,
    make: (rig) => {
      const target = rig.bar('b');
      rig.port(DOWN_B).linkDown();
      rig.transfer(true, target);
    },
  },
  {
    what: 'a write that access control forbids',
    at: DOWN,
    uncorrectable: Uncorrectable.AcsViolation,
    hasHeader: true,
    make: (rig) => {
      forbidPeer(rig);
      rig.transfer(true, rig.bar('b'));
    },
  },
  {
    what: 'a read that access control forbids',
    at: DOWN,
    uncorrectable: Uncorrectable.AcsViolation,
    correctable: Correctable.AdvisoryNonFatal,
    hasHeader: true,
    make: (rig) => {
      forbidPeer(rig);
      rig.transfer(false, rig.bar('b'));
    },
  },
  {
    what: 'a completion that is lost',
    at: ENDPOINT,
    uncorrectable: Uncorrectable.CompletionTimeout,
    hasHeader: true,
    only: 'timed',
    make: (rig) => {
      rig.inject({ effect: Effect.Drop, kind: 'CplD', port: rig.port(ROOT_PORT).path });
      rig.transfer(false, rig.hostAddress);
    },
  },
  {
    what: 'a completion that comes twice',
    at: ENDPOINT,
    uncorrectable: Uncorrectable.UnexpectedCompletion,
    correctable: Correctable.AdvisoryNonFatal,
    hasHeader: true,
    only: 'timed',
    make: (rig) => {
      rig.inject({ effect: Effect.Duplicate, kind: 'CplD', port: rig.port(ROOT_PORT).path });
      rig.transfer(false, rig.hostAddress);
    },
  },
  {
    what: 'a malformed TLP',
    at: DOWN,
    uncorrectable: Uncorrectable.MalformedTlp,
    hasHeader: true,
    make: (rig) => {
      rig.inject({ effect: Effect.Malform, kind: 'MWr', port: rig.port(ENDPOINT).path });
      rig.transfer(true, rig.hostAddress);
    },
  },
  {
    what: 'a poisoned write that goes on',
    at: DOWN,
    uncorrectable: Uncorrectable.PoisonedTlp,
    correctable: Correctable.AdvisoryNonFatal,
    hasHeader: true,
    make: (rig) => {
      rig.inject({ effect: Effect.Poison, kind: 'MWr', port: rig.port(ENDPOINT).path });
      rig.transfer(true, rig.hostAddress);
    },
  },
  {
    what: 'a poisoned write that a port blocks',
    at: DOWN_B,
    uncorrectable: Uncorrectable.PoisonedEgressBlocked,
    hasHeader: true,
    make: (rig) => {
      const fn = rig.fn(DOWN_B);
      const at = fn.extendedCapability(ExtendedId.Dpc) + DpcRegister.Control;
      rig.run(fn.configWrite16(at, DpcControl.PoisonedEgressBlocking.mask));
      rig.inject({ effect: Effect.Poison, kind: 'MWr', port: rig.port(ENDPOINT).path });
      rig.transfer(true, rig.bar('b'));
    },
  },
  {
    what: 'a poisoned write at its target',
    at: ROOT_PORT,
    uncorrectable: Uncorrectable.PoisonedTlp,
    hasHeader: true,
    make: (rig) => {
      rig.inject({ effect: Effect.Poison, kind: 'MWr', port: rig.port(ENDPOINT).path });
      rig.transfer(true, rig.hostAddress);
    },
  },
  {
    what: 'a poisoned completion',
    at: ENDPOINT,
    uncorrectable: Uncorrectable.PoisonedTlp,
    hasHeader: true,
    make: (rig) => {
      rig.inject({ effect: Effect.Poison, kind: 'CplD', port: rig.port(ROOT_PORT).path });
      rig.transfer(false, rig.hostAddress);
    },
  },
  {
    what: 'a digest that does not fit',
    at: ROOT_PORT,
    uncorrectable: Uncorrectable.Ecrc,
    hasHeader: true,
    make: (rig) => {
      setControl(rig, ENDPOINT, AerControl.EcrcGenerationEnable.mask);
      setControl(rig, ROOT_PORT, AerControl.EcrcCheckEnable.mask);
      rig.inject({ effect: Effect.Corrupt, kind: 'MWr', port: rig.port(ENDPOINT).path });
      rig.transfer(true, rig.hostAddress);
    },
  },
  {
    what: 'an AtomicOp that a port blocks',
    at: DOWN_B,
    uncorrectable: Uncorrectable.AtomicEgressBlocked,
    correctable: Correctable.AdvisoryNonFatal,
    hasHeader: true,
    make: (rig) => {
      rig.setDeviceControl2(ENDPOINT, DevCtl2.AtomicRequester.mask);
      rig.setDeviceControl2(DOWN_B, DevCtl2.AtomicEgressBlocking.mask);
      const client = { dmaDone: (): void => {} };
      const { built, local } = rig;
      built.endpoint(ENDPOINT).atomic(TlpKind.Swap, rig.bar('b'), 4, local, 0, client, 0);
      built.kernel.run();
    },
  },
  {
    what: 'a prefix that a port blocks',
    at: DOWN_B,
    uncorrectable: Uncorrectable.PrefixBlocked,
    hasHeader: true,
    make: (rig) => {
      rig.setDeviceControl2(DOWN_B, DevCtl2.EndEndPrefixBlocking.mask);
      rig.craft(TlpFlag.Pasid, rig.bar('b'));
    },
  },
  {
    what: 'a request that a completer gives up',
    at: ENDPOINT,
    uncorrectable: Uncorrectable.CompleterAbort,
    correctable: Correctable.AdvisoryNonFatal,
    hasHeader: true,
    make: (rig) => {
      const request = new Tlp(0);
      request.kind = TlpKind.MRd;
      request.sizeBytes = 4;
      request.seal();
      rig.built.fabric.refuse(rig.port(ENDPOINT).path, 'completer-abort', request);
    },
  },
];

function setControl(rig: ErrorRig, name: string, bits: number): void {
  rig.write(name, AerRegister.Control, rig.read(name, AerRegister.Control) | bits);
}

/** Egress Control of the port above endpoint a forbids the port above b. */
function forbidPeer(rig: ErrorRig): void {
  const fn = rig.fn(DOWN);
  const at = fn.extendedCapability(ExtendedId.Acs);
  rig.run(fn.configWrite32(at + 8, 1 << 2));
  rig.run(fn.configWrite16(at + 6, 0x20));
}

const bit = (n: number | undefined): number => (n === undefined ? 0 : 2 ** n);

it('every bit has a row, but for multicast, which the model has not', () => {
  const uncorrectable = new Set(ROWS.map((row) => row.uncorrectable));
  const correctable = new Set(ROWS.map((row) => row.correctable));
  const missing = [
    ...Object.entries(Uncorrectable).filter(([, one]) => !uncorrectable.has(one)),
    ...Object.entries(Correctable).filter(([, one]) => !correctable.has(one)),
  ].map(([name]) => name);
  // The log overflows in error-log.test.ts.
  assert.deepEqual(missing, ['McBlockedTlp', 'HeaderLogOverflow']);
});

it('both fidelities log the same', () => {
  const logs = FIDELITIES.map((fidelity) => {
    const found: unknown[] = [];
    for (const row of ROWS.filter(({ only }) => only === undefined)) {
      const body = (rig: ErrorRig): void => {
        rig.write(row.at, AerRegister.UncorrectableMask, 0);
        rig.clear(row.at);
        row.make(rig);
        const { first, header, prefixes } = rig.aer(row.at);
        found.push([row.what, first, header, prefixes, rig.deviceStatus(row.at)]);
      };
      withErrors(fidelity, body, false, { atomics: true });
    }
    return found;
  });
  assert.deepEqual(logs[0], logs[1]);
});

for (const fidelity of FIDELITIES) {
  describe(`each error, ${fidelity}`, () => {
    for (const row of ROWS) {
      if (row.only !== undefined && row.only !== fidelity) continue;
      it(`${row.what}: ${row.uncorrectable ?? ''} ${row.correctable ?? ''} of ${row.at}`, () => {
        const body = (rig: ErrorRig): void => {
          // Masks would keep what some of them do from the logs.
          rig.write(row.at, AerRegister.UncorrectableMask, 0);
          rig.write(row.at, AerRegister.CorrectableMask, 0);
          rig.clear(row.at);
          row.make(rig);
          const found = rig.aer(row.at);
          assert.equal(found.uncorrectable, bit(row.uncorrectable));
          assert.equal(found.correctable, bit(row.correctable));
          if (row.uncorrectable !== undefined) assert.equal(found.first, row.uncorrectable);
          assert.equal(
            found.header.some((dw) => dw !== 0),
            row.hasHeader ?? false,
          );
        };
        withErrors(fidelity, body, false, { atomics: true });
      });
    }
  });
}
