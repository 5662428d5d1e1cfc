/** Messages find their receivers by each way of routing, in both fidelities, with their bytes and credits intact. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { arena } from '#emu/memory/arena.ts';
import {
  Acs,
  AcsBit,
  BridgeControl,
  Command,
  DevCtl,
  ExtendedId,
  Header,
  Pcie,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { type MessageInbox, sendMessage } from '#emu/pcie/tlp/message.ts';
import type { Tlp } from '#emu/pcie/tlp/tlp.ts';
import { MessageCode, MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
import { type SmallFabric, smallFabric } from '#test/support/small-fabric.ts';

const { ToRoot, ById, ByAddress, Broadcast, Local, Gather } = MessageRouting;
const { PM_PME, ERR_COR, ERR_FATAL, PME_Turn_Off, PME_TO_Ack, LTR } = MessageCode;
const { PrgResponse, InvalidateRequest, Vendor_Defined_0, Vendor_Defined_1 } = MessageCode;

/** What arrived where, in order. */
class Heard {
  readonly all: { where: string; port: string; requester: number; tlp: string }[] = [];
  on(inbox: MessageInbox, where: string, code: MessageCode): void {
    inbox.on(code, (port, tlp) =>
      this.all.push({ where, port: port.path, requester: tlp.requester, tlp: shown(tlp) }),
    );
  }
  everywhere(rig: SmallFabric, code: MessageCode): this {
    this.on(rig.root.messages, 'rc', code);
    this.on(rig.switch.messages.inbox, 'sw', code);
    for (const { endpoint } of rig.endpoints) this.on(endpoint.messages, endpoint.path, code);
    return this;
  }
  get places(): string[] {
    return this.all.map(({ where, port }) => `${where}<${port}`).sort();
  }
}

function shown(tlp: Tlp): string {
  const data = arena.u8.slice(tlp.payloadAt, tlp.payloadAt + tlp.payloadBytes);
  return `${tlp.tag} ${tlp.thirdWord} ${tlp.fourthWord} ${Buffer.from(data).toString('hex')}`;
}

function finish(rig: SmallFabric): void {
  rig.kernel.run();
  // Credits are on their way for a while.
  rig.kernel.runUntil(rig.kernel.now + 1_000_000);
  assert.equal(rig.fabric.tlps.inUse, 0, 'records given back');
  for (const port of [...rig.root.ports, ...rig.switch.ports]) {
    const full = port.peer?.options.credits;
    if (full) assert.equal(port.credits(0).headers, full.PH, `${port.path} posted credits`);
  }
  rig.dispose();
}

const pcieOf = (rig: SmallFabric, bridge: number): number =>
  rig.switch.bridges[bridge]!.capability(0x10);

/** Lets error messages pass the switch from one port below. */
function allowErrors(rig: SmallFabric, ...bridges: number[]): void {
  for (const i of bridges) {
    const config = rig.switch.bridges[i]!;
    config.write(Type1.BridgeControl, 2, BridgeControl.SERR.of(1));
    config.write(Header.Command, 2, config.read(Header.Command, 2) | Command.SERR.of(1));
    config.write(pcieOf(rig, i) + Pcie.DevCtl, 2, DevCtl.FatalReporting.of(1));
  }
}

const FIDELITIES: readonly Fidelity[] = ['timed', 'functional'];

for (const fidelity of FIDELITIES) {
  describe(`messages, ${fidelity}`, () => {
    it('to the root arrive there with everything they carry', () => {
      const rig = smallFabric({ fidelity });
      const heard = new Heard().everywhere(rig, PM_PME);
      const body = {
        tag: 7,
        thirdWord: 0xffff_ffff,
        fourthWord: 2,
        data: Uint8Array.of(1, 2, 3, 4),
      };
      rig.endpoints[0]!.endpoint.sendMessage(PM_PME, ToRoot, body);
      rig.kernel.run();
      const hex = '7 4294967295 2 01020304';
      assert.deepEqual(heard.all, [{ where: 'rc', port: 'rc0.port0', requester: 0x300, tlp: hex }]);
      finish(rig);
    });

    it('need no Bus Master Enable', () => {
      const rig = smallFabric({ fidelity });
      const heard = new Heard().everywhere(rig, PM_PME);
      rig.endpoints[0]!.endpoint.config.write(Header.Command, 2, 2);
      rig.switch.bridges[1]!.write(Header.Command, 2, 2);
      rig.endpoints[0]!.endpoint.sendMessage(PM_PME, ToRoot);
      finish(rig);
      assert.deepEqual(heard.places, ['rc<rc0.port0']);
    });

    it('by ID never come back by the root port that they came by, nor past its source validation', () => {
      const rig = smallFabric({ fidelity });
      const heard = new Heard().everywhere(rig, PrgResponse).everywhere(rig, PM_PME);
      const { endpoint, bus } = rig.endpoints[2]!;
      const acs = rig.root.bridges[1]!;
      acs.write(acs.extendedCapability(ExtendedId.Acs) + Acs.Control, 2, AcsBit.SV);
      endpoint.sendMessage(PrgResponse, ById, { targetId: bus << 8 });
      rig.kernel.run();
      endpoint.id = 0x300;
      endpoint.sendMessage(PM_PME, ToRoot);
      rig.kernel.run();
      assert.deepEqual(heard.places, []);
      const errors = ['rc0.port1 unsupported-request', 'rc0.port1 acs-violation'];
      assert.deepEqual([...rig.fabric.errors.keys()], errors);
      finish(rig);
    });

    it('by ID go to peers, between root ports, and to functions of the switch', () => {
      const rig = smallFabric({ fidelity });
      const heard = new Heard().everywhere(rig, PrgResponse);
      const send = (targetId: number): void =>
        rig.endpoints[0]!.endpoint.sendMessage(PrgResponse, ById, { targetId });
      send(0x400);
      rig.kernel.run();
      assert.deepEqual(heard.places.splice(0), ['ep1<ep1']);
      heard.all.length = 0;
      for (const targetId of [0x500, 0x100, 0x208, 0]) send(targetId);
      rig.kernel.run();
      assert.deepEqual(heard.places, ['ep2<ep2', 'rc<rc0.port0', 'sw<sw0.down0', 'sw<sw0.down0']);
      assert.equal(rig.fabric.errors.size, 0);
      finish(rig);
    });

    it('by ID to nobody are refused where the way ends', () => {
      const rig = smallFabric({ fidelity });
      new Heard().everywhere(rig, PrgResponse);
      const { endpoint } = rig.endpoints[0]!;
      for (const targetId of [0x300, 0x7700]) endpoint.sendMessage(PrgResponse, ById, { targetId });
      sendMessage(rig.root.ports[0]!, PrgResponse, ById, 0, { targetId: 0x401 });
      finish(rig);
      assert.deepEqual(
        [...rig.fabric.errors.keys()].sort(),
        ['ep1', 'rc0.port0', 'sw0.down0'].map((path) => `${path} unsupported-request`),
      );
    });
  });

  describe(`messages to one link or many, ${fidelity}`, () => {
    it('are broadcast from the root to everything below one root port', () => {
      const rig = smallFabric({ fidelity });
      const heard = new Heard().everywhere(rig, PME_Turn_Off);
      sendMessage(rig.root.ports[0]!, PME_Turn_Off, Broadcast, 0);
      finish(rig);
      assert.deepEqual(heard.places, ['ep0<ep0', 'ep1<ep1', 'sw<sw0.up']);
      assert.equal(rig.fabric.errors.size, 0);
    });

    it('are gathered: one goes up when every port has given one', () => {
      const rig = smallFabric({ fidelity });
      const heard = new Heard();
      heard.on(rig.root.messages, 'rc', PME_TO_Ack);
      const ack = (i: number): void => rig.endpoints[i]!.endpoint.sendMessage(PME_TO_Ack, Gather);
      for (let round = 1; round < 3; round++) {
        ack(0);
        rig.kernel.run();
        assert.equal(heard.all.length, round - 1);
        ack(1);
        rig.kernel.run();
        assert.equal(heard.all.length, round);
      }
      finish(rig);
    });

    it('stay on their link', () => {
      const rig = smallFabric({ fidelity });
      const heard = new Heard().everywhere(rig, LTR);
      for (const { endpoint } of rig.endpoints) endpoint.sendMessage(LTR, Local);
      sendMessage(rig.switch.upstream, LTR, Local, 0x100);
      finish(rig);
      assert.deepEqual(heard.places, [
        ...['rc<rc0.port0', 'rc<rc0.port1', 'sw<sw0.down0', 'sw<sw0.down1'],
      ]);
    });
  });

  describe(`messages that bridges or receivers judge, ${fidelity}`, () => {
    it('about errors pass a bridge only where software lets them', () => {
      const rig = smallFabric({ fidelity });
      const heard = new Heard();
      for (const code of [ERR_COR, ERR_FATAL]) heard.on(rig.root.messages, `${code}`, code);
      const send = (): void => {
        const { endpoint } = rig.endpoints[1]!;
        for (const code of [ERR_COR, ERR_FATAL]) endpoint.sendMessage(code, ToRoot);
        rig.kernel.run();
      };
      send();
      allowErrors(rig, 2);
      send();
      assert.deepEqual(heard.places, []);
      allowErrors(rig, 0);
      send();
      assert.deepEqual(heard.places, ['48<rc0.port0', '51<rc0.port0']);
      assert.equal(rig.fabric.errors.size, 0);
      finish(rig);
    });

    it('that nobody knows are Unsupported Requests; known ones and vendor type 1 may be ignored', () => {
      const rig = smallFabric({ fidelity });
      const { endpoint } = rig.endpoints[0]!;
      for (const code of [PM_PME, Vendor_Defined_1]) endpoint.sendMessage(code, ToRoot);
      rig.kernel.run();
      assert.equal(rig.fabric.errors.size, 0);
      for (const code of [Vendor_Defined_0, 0x66]) endpoint.sendMessage(code, ToRoot);
      endpoint.sendMessage(PM_PME, ByAddress);
      endpoint.sendMessage(PM_PME, Broadcast);
      finish(rig);
      assert.deepEqual([...rig.fabric.errors].sort(), [
        ['rc0.port0 unsupported-request', 2],
        ['sw0.down0 unsupported-request', 2],
      ]);
    });

    it('stay behind the writes before them', () => {
      const rig = smallFabric({ fidelity });
      const order: string[] = [];
      const { endpoint, memory } = rig.endpoints[0]!;
      rig.fabric.probe = {
        sent: () => {},
        refused: () => {},
        delivered: (path, tlp) => order.push(`${path} ${tlp.kind}`),
      };
      endpoint.write(rig.endpoints[2]!.bar, 1024, memory, 0, 0, null, 0);
      endpoint.sendMessage(InvalidateRequest, ById, { targetId: 0x500 });
      rig.kernel.run();
      assert.equal(order.at(-1), 'ep2 11');
      assert.equal(order.length, fidelity === 'timed' ? 5 : 2);
      finish(rig);
    });
  });
}
