/** Max_Payload_Size at receivers: TLPs with more data are malformed where they arrive. [PCIE] 2.2.2, 7.8.4 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type DmaAddr, dmaAddr } from '#emu/base/units.ts';
import { multiFunction } from '#emu/host/machine-spec.ts';
import { CapabilityId, DevCtl, Pcie, sizeCode } from '#emu/pcie/config/config-registers.ts';
import { Uncorrectable } from '#emu/pcie/errors/aer-registers.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import {
  bit,
  DOWN,
  DOWN_B,
  ENDPOINT,
  type ErrorRig,
  ROOT_PORT,
  SWITCH_UP,
  withErrors,
} from '#test/support/error-rig.ts';
import { plainDevice } from '#test/support/plain-device.ts';
import { bytesOf, pattern } from '#test/support/small-fabric.ts';

const MALFORMED = bit(Uncorrectable.MalformedTlp);
const FUNCTIONS = [ROOT_PORT, SWITCH_UP, DOWN, DOWN_B, 'a', 'b', 'c'];

function setPayload(rig: ErrorRig, name: string, sizeBytes: number): void {
  const fn = rig.fn(name);
  const at = fn.capability(CapabilityId.Pcie) + Pcie.DevCtl;
  const value = DevCtl.MaxPayload.put(rig.run(fn.configRead16(at)), sizeCode(sizeBytes));
  rig.run(fn.configWrite16(at, value));
}

function transfer(rig: ErrorRig, isWrite: boolean, address: DmaAddr, sizeBytes: number): number {
  let got = -1;
  const client = {
    dmaDone: (status: number): void => {
      got = status;
    },
  };
  const endpoint = rig.built.endpoint(ENDPOINT);
  if (isWrite) endpoint.write(address, sizeBytes, rig.local, 0, Purpose.Data, client, 0);
  else endpoint.read(address, sizeBytes, rig.local, 0, Purpose.Data, client, 0);
  rig.built.kernel.run();
  return got;
}

/** Functions that report a malformed TLP and nothing else. */
function malformedAt(rig: ErrorRig): string[] {
  return FUNCTIONS.filter((name) => rig.aer(name).uncorrectable === MALFORMED);
}

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`more payload than a port takes, ${fidelity}`, () => {
    it('is malformed at the first port of the path that takes less, and the rest arrives', () => {
      withErrors(fidelity, (rig) => {
        for (const name of FUNCTIONS) setPayload(rig, name, 512);
        const { root } = rig.built;
        const sent = pattern(rig.local, 0, 1124);
        transfer(rig, true, rig.hostAddress, 1124);
        assert.deepEqual(bytesOf(root.memory, rig.hostAddress, 1124), sent);
        assert.deepEqual(malformedAt(rig), []);

        root.memory.fill(rig.hostAddress, 1124, 0xee);
        setPayload(rig, DOWN, 128);
        transfer(rig, true, rig.hostAddress, 1124);
        assert.deepEqual(malformedAt(rig), [DOWN]);
        const words = rig.aer(DOWN).header[0]!;
        assert.equal(words & 0x3ff, 128, 'Length of what was logged');
        const { path } = rig.port(DOWN);
        assert.equal(rig.built.fabric.errors.get(`${path} malformed-tlp`), 2);
        const arrived = bytesOf(root.memory, rig.hostAddress, 1124);
        assert.ok(
          arrived.subarray(0, 1024).every((byte) => byte === 0xee),
          'two of 512 bytes are lost',
        );
        assert.deepEqual(arrived.subarray(1024), sent.subarray(1024));
      });
    });

    it('is malformed at a peer, whose own setting counts', () => {
      withErrors(fidelity, (rig) => {
        for (const name of FUNCTIONS) setPayload(rig, name, 256);
        setPayload(rig, 'b', 128);
        transfer(rig, true, rig.bar('b'), 128);
        assert.deepEqual(malformedAt(rig), []);
        transfer(rig, true, rig.bar('b'), 132);
        assert.deepEqual(malformedAt(rig), ['b']);
      });
    });

    it('of a completion ends the read by its timeout', () => {
      withErrors(fidelity, (rig) => {
        for (const name of FUNCTIONS) setPayload(rig, name, 256);
        setPayload(rig, ENDPOINT, 128);
        assert.equal(transfer(rig, false, rig.hostAddress, 128), DmaStatus.Ok);
        assert.equal(transfer(rig, false, rig.hostAddress, 256), DmaStatus.Timeout);
        const timeout = bit(Uncorrectable.CompletionTimeout);
        assert.equal(rig.aer(ENDPOINT).uncorrectable, MALFORMED + timeout);
        assert.equal(rig.aer(ENDPOINT).first, Uncorrectable.MalformedTlp);
      });
    });

    it('counts in whole DWs, which requests keep to at every alignment', () => {
      withErrors(fidelity, (rig) => {
        for (const name of FUNCTIONS) setPayload(rig, name, 128);
        const sent = pattern(rig.local, 0, 1000);
        for (const shift of [1, 2, 3]) {
          transfer(rig, true, dmaAddr(rig.hostAddress + shift), 1000);
          const { memory } = rig.built.root;
          assert.deepEqual(bytesOf(memory, rig.hostAddress + shift, 1000), sent);
        }
        assert.deepEqual(malformedAt(rig), []);
      });
    });

    it('of a device with functions that differ is what the largest takes', () => {
      const both = multiFunction([plainDevice('b'), plainDevice('c')]);
      const rootPorts = [{ device: plainDevice('a') }, { device: both }];
      withErrors(
        fidelity,
        (rig) => {
          for (const name of [ROOT_PORT, 'rc0.port1', 'a', 'b', 'c']) setPayload(rig, name, 256);
          setPayload(rig, 'b', 128);
          const { path } = rig.built.endpoint('b').port;
          const refused = () => rig.built.fabric.errors.get(`${path} malformed-tlp`);
          transfer(rig, true, rig.bar('b'), 256);
          assert.equal(refused(), undefined);
          setPayload(rig, 'c', 128);
          transfer(rig, true, rig.bar('b'), 256);
          assert.equal(refused(), 1);
        },
        false,
        {},
        { rootPorts },
      );
    });
  });
}
