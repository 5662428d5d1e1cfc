/**
 * Access control at switch and root ports: which requests from below are violations, and which way the others go,
 * seen on the wire, in both fidelities where requesters can make them. [PCIE] 6.12, 7.7.11
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Acs, AcsBit, ExtendedId, Header, Type1 } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { type Tlp, TlpFlag, TlpKind, tlpFlags } from '#emu/pcie/tlp/tlp.ts';
import { AddressType } from '#emu/pcie/tlp/tlp-description.ts';
import { MessageCode, MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
import { errorsOf, transfer } from '#test/support/peer-rig.ts';
import {
  BAR_BYTES,
  DRAM,
  type SmallFabric,
  smallFabric,
  WINDOW,
} from '#test/support/small-fabric.ts';
import { Wire } from '#test/support/wire.ts';

const { SV, TB, RR, CR, UF, EC, DT, IB, URR } = AcsBit;
const { MRd, MWr, IOWr, FetchAdd, Cpl, CplD, Msg } = TlpKind;
const { Ok, UnsupportedRequest, CompleterAbort } = DmaStatus;
const UP = 'sw0.up';
const DOWN_B = 'sw0.down1';

function setAcs(bridge: ConfigSpace, bits: number, egress = 0): void {
  const at = bridge.extendedCapability(ExtendedId.Acs);
  bridge.write(at + Acs.EgressVector, 4, egress);
  bridge.write(at + Acs.Control, 2, bits);
}

/** The small fabric with ACS Control of the port above the first endpoint. */
function fabricWith(bits: number, egress = 0, fidelity: 'timed' | 'functional' = 'timed') {
  const one = smallFabric({ fidelity });
  setAcs(one.switch.bridges[1]!, bits, egress);
  return one;
}

const translated = tlpFlags(0, 0, AddressType.Translated);

/** Sends one request of the first endpoint's port, and tells by which ports of the switch it left. */
function probe(one: SmallFabric, fill: (tlp: Tlp) => void): { left: string[]; answers: number[] } {
  const wire = new Wire(one.fabric);
  const [a] = one.endpoints;
  const tlp = one.fabric.tlps.take();
  tlp.kind = MWr;
  tlp.requester = a!.bus << 8;
  tlp.tag = 200;
  tlp.sizeBytes = 4;
  tlp.flags = 0;
  tlp.address = one.endpoints[1]!.bar;
  fill(tlp);
  tlp.seal();
  const { kind } = tlp;
  a!.endpoint.port.send(tlp);
  one.kernel.run();
  const left = wire.seen.filter((seen) => seen.kind === kind && seen.port.startsWith('sw0'));
  const answers = wire.seen.filter((seen) => seen.port === 'sw0.down0' && seen.kind >= Cpl);
  return { left: left.map(({ port }) => port), answers: answers.map(({ status }) => status) };
}

describe('source validation', () => {
  it('refuses requests of a bus that is not below, of any kind but completions', () => {
    const one = fabricWith(SV);
    const foreign = { requester: 0x7700 };
    for (const kind of [MWr, FetchAdd, IOWr]) {
      assert.deepEqual(probe(one, (tlp) => Object.assign(tlp, foreign, { kind })).left, []);
    }
    const message = { kind: Msg, messageCode: MessageCode.PM_PME, routing: MessageRouting.ToRoot };
    assert.deepEqual(probe(one, (tlp) => Object.assign(tlp, foreign, message)).left, []);
    assert.deepEqual(probe(one, (tlp) => Object.assign(tlp, message)).left, [UP]);
    assert.equal(one.fabric.errors.get('sw0.down0 acs-violation'), 4);
    setAcs(one.switch.bridges[1]!, 0);
    assert.deepEqual(probe(one, (tlp) => Object.assign(tlp, foreign)).left, [DOWN_B]);
  });

  it('answers what waits for an answer with Completer Abort', () => {
    const one = fabricWith(SV);
    const { answers } = probe(one, (tlp) => Object.assign(tlp, { requester: 0x7700, kind: MRd }));
    // The completion finds nobody of that name; what the port sent says Completer Abort.
    assert.deepEqual(answers, [CompleterAbort]);
  });

  it('takes the ends of the range of buses below for valid', () => {
    const one = fabricWith(SV);
    const bridge = one.switch.bridges[1]!;
    const { secondary } = bridge;
    bridge.write(Type1.SubordinateBus, 1, secondary + 9);
    const from = (bus: number) =>
      probe(one, (tlp) => Object.assign(tlp, { requester: bus << 8 })).left;
    assert.deepEqual(from(secondary), [DOWN_B]);
    assert.deepEqual(from(secondary + 9), [DOWN_B]);
    assert.deepEqual(from(secondary + 10), []);
    assert.deepEqual(from(secondary - 1), []);
  });
});

describe('translation blocking and direct translated', () => {
  const at = (one: SmallFabric, flags: number) =>
    probe(one, (tlp) => Object.assign(tlp, { flags }));

  it('blocks memory requests with an address type, and no others', () => {
    const one = fabricWith(TB);
    assert.deepEqual(at(one, translated).left, []);
    assert.deepEqual(at(one, tlpFlags(0, 0, AddressType.TranslationRequest)).left, []);
    assert.deepEqual(at(one, tlpFlags(TlpFlag.RO, 5)).left, [DOWN_B]);
    const io = { kind: IOWr, address: 0x2000, flags: translated };
    assert.deepEqual(probe(one, (tlp) => Object.assign(tlp, io)).left, [UP]);
    assert.equal(one.fabric.errors.get('sw0.down0 acs-violation'), 2);
  });

  it('lets translated requests pass redirect and egress control, but not while blocking', () => {
    for (const bits of [RR, EC, RR | EC]) {
      const redirected = bits === EC ? [] : [UP];
      assert.deepEqual(at(fabricWith(bits | DT, 0b100), translated).left, [DOWN_B]);
      assert.deepEqual(at(fabricWith(bits, 0b100), translated).left.slice(0, 1), redirected);
      assert.deepEqual(at(fabricWith(bits | DT, 0b100), 0).left.slice(0, 1), redirected);
      const request = tlpFlags(0, 0, AddressType.TranslationRequest);
      assert.deepEqual(at(fabricWith(bits | DT, 0b100), request).left.slice(0, 1), redirected);
      assert.deepEqual(at(fabricWith(bits | DT | TB, 0b100), translated).left, []);
    }
  });

  it('reaches no memory of the host by an address type that nobody serves', () => {
    for (const flags of [translated, tlpFlags(0, 0, AddressType.TranslationRequest)]) {
      const one = fabricWith(0);
      const { left } = probe(one, (tlp) => Object.assign(tlp, { flags, address: DRAM }));
      assert.deepEqual(left, [UP]);
      assert.deepEqual(errorsOf(one), ['rc0.port0 unsupported-request']);
    }
  });
});

describe('redirects', () => {
  it('request redirect sends peer requests up, egress control the blocked ones alone', () => {
    const first = (bits: number, egress: number) =>
      probe(fabricWith(bits, egress), () => {}).left[0];
    assert.equal(first(0, 0), DOWN_B);
    assert.equal(first(RR, 0), UP);
    assert.equal(first(EC, 0b1011), DOWN_B);
    assert.equal(first(EC, 0b0100), undefined);
    assert.equal(first(EC | RR, 0b0100), UP);
    assert.equal(first(EC | RR, 0b1011), DOWN_B);
  });

  for (const fidelity of ['timed', 'functional'] as const) {
    it(`${fidelity}: a blocked read is aborted, a blocked write lost, and both are counted`, () => {
      const one = fabricWith(EC, 0b100, fidelity);
      const [, b] = one.endpoints;
      assert.equal(transfer(one, false, b!.bar, 64), CompleterAbort);
      assert.equal(transfer(one, true, b!.bar, 64), Ok);
      assert.equal(b!.memory.residentBytes, 0);
      assert.deepEqual([...one.fabric.errors], [['sw0.down0 acs-violation', 2]]);
    });

    it(`${fidelity}: what is redirected comes back only by upstream forwarding`, () => {
      const one = fabricWith(RR, 0, fidelity);
      const [, b] = one.endpoints;
      assert.equal(transfer(one, false, b!.bar, 64), UnsupportedRequest);
      assert.deepEqual(errorsOf(one), ['rc0.port0 unsupported-request']);
      setAcs(one.root.bridges[0]!, UF);
      assert.equal(transfer(one, false, b!.bar, 64), Ok);
    });
  }

  it('what a port gets for a target below itself goes up by upstream forwarding alone', () => {
    for (const bits of [0, UF]) {
      const one = fabricWith(bits);
      const own = one.endpoints[0]!.bar;
      const left = bits === 0 ? [] : [UP];
      assert.deepEqual(probe(one, (tlp) => Object.assign(tlp, { address: own })).left, left);
      const targetId = one.endpoints[0]!.bus << 8;
      const completion = { kind: Cpl, targetId, status: Ok };
      // The root complex sends it back down.
      const ways = probe(one, (tlp) => Object.assign(tlp, completion)).left;
      assert.deepEqual(ways, bits === 0 ? [] : [UP, 'sw0.down0']);
      const errors = errorsOf(one).filter((key) => key.startsWith('sw0.down0'));
      const refused = ['sw0.down0 unsupported-request', 'sw0.down0 unexpected-completion'];
      assert.deepEqual(errors, bits === 0 ? refused : []);
    }
  });

  it('completion redirect leaves relaxed-ordered completions alone', () => {
    const ways = [0, CR].flatMap((bits) =>
      [0, TlpFlag.RO].map((flags) => {
        const one = smallFabric();
        setAcs(one.switch.bridges[2]!, bits);
        setAcs(one.root.bridges[0]!, UF);
        const wire = new Wire(one.fabric);
        const [a, b] = one.endpoints;
        const tlp = one.fabric.tlps.take();
        Object.assign(tlp, { kind: MRd, requester: a!.bus << 8, tag: 0, sizeBytes: 4, flags });
        tlp.address = b!.bar;
        tlp.seal();
        a!.endpoint.port.send(tlp);
        one.kernel.run();
        const left = wire.seen.find(({ kind, port }) => kind === CplD && port.startsWith('sw0'));
        return left?.port;
      }),
    );
    assert.deepEqual(ways, ['sw0.down0', 'sw0.down0', UP, 'sw0.down0']);
  });

  it('messages by ID go to a peer, or up where peers are kept apart', () => {
    const send = (bits: number) => {
      const one = fabricWith(bits);
      const fields = { kind: Msg, messageCode: 0x7f, routing: MessageRouting.ById };
      const targetId = one.endpoints[1]!.bus << 8;
      return probe(one, (tlp) => Object.assign(tlp, fields, { targetId })).left[0];
    };
    assert.deepEqual([send(0), send(RR)], [DOWN_B, UP]);
  });
});

describe('enhanced bits', () => {
  it('I/O blocking refuses I/O requests from below', () => {
    for (const bits of [0, IB]) {
      const one = fabricWith(bits);
      const { left, answers } = probe(one, (tlp) =>
        Object.assign(tlp, { kind: IOWr, address: 0x2000 }),
      );
      assert.deepEqual(left, bits === 0 ? [UP] : []);
      assert.deepEqual(answers, [bits === 0 ? UnsupportedRequest : CompleterAbort]);
    }
  });

  it("what no port claims of the switch's window goes up by redirect alone", () => {
    const hole = WINDOW + BAR_BYTES;
    for (const bits of [0, URR]) {
      const one = fabricWith(bits);
      one.switch.bridges[2]!.write(Header.Command, 2, 4);
      const { left } = probe(one, (tlp) => Object.assign(tlp, { address: hole }));
      assert.deepEqual(left, bits === 0 ? [] : [UP]);
      const where = bits === 0 ? 'sw0.down0' : 'rc0.port0';
      assert.deepEqual(errorsOf(one), [`${where} unsupported-request`]);
    }
  });
});

describe('at root ports', () => {
  for (const [bits, error] of [
    [SV, 'acs-violation'],
    [TB, 'acs-violation'],
    [EC, 'acs-violation'],
  ] as const) {
    it(`bit ${bits} makes a violation of what breaks it`, () => {
      const one = smallFabric();
      setAcs(one.root.bridges[0]!, bits, 0b10);
      const fields = {
        requester: bits === SV ? 0x7700 : one.endpoints[0]!.bus << 8,
        address: one.endpoints[2]!.bar,
        flags: bits === TB ? translated : 0,
        kind: MRd,
      };
      const { answers } = probe(one, (tlp) => Object.assign(tlp, fields));
      assert.deepEqual(errorsOf(one).slice(0, 1), [`rc0.port0 ${error}`]);
      if (bits !== SV) assert.deepEqual(answers, [CompleterAbort]);
      setAcs(one.root.bridges[0]!, 0);
      const before = one.endpoints[2]!.memory.residentBytes;
      assert.equal(before, 0);
      assert.deepEqual(probe(one, (tlp) => Object.assign(tlp, fields, { kind: MWr })).left, [UP]);
      assert.ok(one.endpoints[2]!.memory.residentBytes > 0, 'the write did not arrive');
    });
  }
});
