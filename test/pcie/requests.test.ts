/** What requests say beside address and data, their tags, and requests of no bytes, in both fidelities. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bdf, dmaAddr, physAddr } from '#emu/base/units.ts';
import {
  CapabilityId,
  DevCtl,
  DevCtl2,
  ExtendedId,
  Header,
  Pcie,
} from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { PasidControl, Pasid as PasidRegister } from '#emu/pcie/config/function-registers.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import {
  addressType,
  isCompletion,
  type Tlp,
  TlpFlag,
  TlpKind,
  trafficClass,
} from '#emu/pcie/tlp/tlp.ts';
import {
  bytesOf,
  DRAM,
  Outcomes,
  pattern,
  type SmallFabric,
  type SmallFabricOptions,
  smallFabric,
} from '#test/support/small-fabric.ts';

const { Data } = Purpose;
const { RO, NS, IDO, Pasid } = TlpFlag;
const BITS = RO | NS | IDO | Pasid;
const FIDELITIES: readonly Fidelity[] = ['timed', 'functional'];

interface Seen {
  readonly kind: TlpKind;
  readonly bits: number;
  readonly tc: number;
  readonly at: number;
  readonly tag: number;
  readonly wire: number;
}

/** Everything that reaches a target, in order. */
function watch(rig: SmallFabric): Seen[] {
  const seen: Seen[] = [];
  const delivered = (_path: string, tlp: Tlp): void => {
    const { kind, flags, tag, wireBytes: wire } = tlp;
    const [tc, at] = [trafficClass(tlp), addressType(tlp)];
    seen.push({ kind, bits: flags & BITS, tc, at, tag, wire });
  };
  rig.fabric.probe = { sent: () => {}, refused: () => {}, delivered };
  return seen;
}

type Control = typeof DevCtl & typeof DevCtl2;
function set(
  config: ConfigSpace,
  register: number,
  field: Control[keyof Control],
  value: number,
): void {
  const at = config.capability(CapabilityId.Pcie) + register;
  config.write(at, 2, field.put(config.read(at, 2), value));
}

const readPeer = (rig: SmallFabric, sizeBytes: number, to = 1): Outcomes => {
  const client = new Outcomes();
  const [a] = rig.endpoints;
  a!.endpoint.read(rig.endpoints[to]!.bar, sizeBytes, a!.memory, 0, Data, client, 1);
  rig.kernel.run();
  assert.equal(rig.fabric.tlps.inUse, 0, 'records given back');
  return client;
};

const WANTED = {
  ...{ relaxedOrdering: true, noSnoop: true, idOrdering: true, trafficClass: 0, addressType: 2 },
  pasid: { pasid: 7, execute: true, privileged: false },
};

for (const fidelity of FIDELITIES) {
  describe(`attributes of requests, ${fidelity}`, () => {
    it('are those asked for that software has enabled, and completions repeat them', () => {
      const rig = smallFabric({ fidelity });
      const seen = watch(rig);
      const { endpoint } = rig.endpoints[0]!;
      endpoint.requestAs(WANTED);
      set(endpoint.config, Pcie.DevCtl, DevCtl.RelaxedOrdering, 0);
      set(endpoint.config, Pcie.DevCtl, DevCtl.NoSnoop, 0);
      readPeer(rig, 64);
      set(endpoint.config, Pcie.DevCtl, DevCtl.RelaxedOrdering, 1);
      readPeer(rig, 64);
      set(endpoint.config, Pcie.DevCtl, DevCtl.NoSnoop, 1);
      set(endpoint.config, Pcie.DevCtl2, DevCtl2.IdoRequest, 1);
      readPeer(rig, 64);
      // Completions are ordered by ID only where their completer may do so.
      set(rig.endpoints[1]!.endpoint.config, Pcie.DevCtl2, DevCtl2.IdoCompletion, 1);
      readPeer(rig, 64);
      endpoint.requestAs();
      readPeer(rig, 64);
      const got = seen.map(({ bits, at }) => [bits, at]);
      const all = RO | NS | IDO;
      assert.deepEqual(got, [
        ...[
          [0, 2],
          [0, 0],
          [RO, 2],
          [RO, 0],
        ],
        ...[
          [all, 2],
          [RO | NS, 0],
          [all, 2],
          [all, 0],
          [0, 0],
          [0, 0],
        ],
      ]);
      rig.dispose();
    });
  });

  describe(`attributes and who may use them, ${fidelity}`, () => {
    it('completions of the root complex are ordered by ID where its port may do so', () => {
      const rig = smallFabric({ fidelity });
      const seen = watch(rig);
      const { endpoint, memory } = rig.endpoints[0]!;
      const port = rig.root.bridges[0]!;
      set(endpoint.config, Pcie.DevCtl2, DevCtl2.IdoRequest, 1);
      endpoint.requestAs({ idOrdering: true });
      for (const isOn of [0, 1]) {
        set(port, Pcie.DevCtl2, DevCtl2.IdoCompletion, isOn);
        endpoint.read(dmaAddr(DRAM), 64, memory, 0, Data, new Outcomes(), 0);
        rig.kernel.run();
      }
      assert.deepEqual(
        seen.map(({ bits }) => bits),
        [IDO, 0, IDO, IDO],
      );
      rig.dispose();
    });

    it('requests have a PASID prefix once software has enabled it, with what of it that it has', () => {
      const pasid = { width: 20, execute: true, privileged: true };
      const rig = smallFabric({ fidelity, endpoint: { pasid } });
      const { endpoint } = rig.endpoints[0]!;
      const seen: number[] = [];
      const { Execute, Privileged } = TlpFlag;
      rig.fabric.probe = {
        sent: () => {},
        refused: () => {},
        delivered: (_path, tlp) => {
          if (tlp.kind !== TlpKind.MRd) return;
          seen.push(tlp.flags & (Pasid | Execute | Privileged));
          if ((tlp.flags & Pasid) !== 0) assert.equal(tlp.pasid, 7);
        },
      };
      endpoint.requestAs({ pasid: { pasid: 7, execute: true, privileged: true } });
      const at = endpoint.config.extendedCapability(ExtendedId.Pasid) + PasidRegister.Control;
      const on = PasidControl.Enable.mask;
      const controls = [0, PasidControl.Execute.mask, on, on | PasidControl.Execute.mask, 7];
      for (const control of controls) {
        endpoint.config.write(at, 2, control);
        readPeer(rig, 64);
      }
      assert.deepEqual(seen, [0, 0, Pasid, Pasid | Execute, Pasid | Execute | Privileged]);
      rig.dispose();
    });

    it('interrupts stay plain', () => {
      const rig = smallFabric({ fidelity });
      const seen = watch(rig);
      const { endpoint, memory } = rig.endpoints[0]!;
      set(endpoint.config, Pcie.DevCtl, DevCtl.RelaxedOrdering, 1);
      endpoint.requestAs({ relaxedOrdering: true });
      const msi = endpoint.config.capability(CapabilityId.Msi);
      endpoint.config.write(msi + 4, 4, 0x2800_0000);
      endpoint.config.write(msi + 2, 2, 1);
      endpoint.write(rig.endpoints[1]!.bar, 64, memory, 0, Data, null, 0);
      endpoint.raise(0);
      rig.kernel.run();
      assert.deepEqual(
        seen.map(({ bits }) => bits),
        [RO, 0].sort((a, b) => (fidelity === 'timed' ? 0 : b - a)),
      );
      rig.dispose();
    });
  });

  describe(`requests of no bytes, ${fidelity}`, () => {
    it('read one DW that nobody looks at, and write nothing', () => {
      const handler = {
        calls: 0,
        mmioRead(): void {
          this.calls++;
        },
        mmioWrite(): void {
          this.calls++;
        },
      };
      const bars = [
        { index: 0, sizeBytes: 4096, width: 64, prefetchable: true, target: handler },
      ] as const;
      const rig = smallFabric({ fidelity, endpoint: { bars } });
      const seen = watch(rig);
      assert.deepEqual(readPeer(rig, 0).statuses, [DmaStatus.Ok]);
      const [a, b] = rig.endpoints;
      const client = new Outcomes();
      a!.endpoint.write(b!.bar, 0, a!.memory, 0, Data, client, 1);
      rig.kernel.run();
      assert.deepEqual(client.statuses, [DmaStatus.Ok]);
      assert.deepEqual(
        seen.map(({ kind, wire }) => [kind, wire]),
        [
          [TlpKind.MRd, 24],
          [TlpKind.CplD, 24],
          [TlpKind.MWr, 28],
        ],
      );
      assert.equal(handler.calls, 0);
      rig.dispose();
    });
  });

  describe(`configuration and I/O by the CPU, ${fidelity}`, () => {
    it('reads and writes every byte of a register in its lane', () => {
      const rig = smallFabric({ fidelity });
      const seen = watch(rig);
      const target = bdf(3, 0, 0);
      const { config } = rig.endpoints[0]!.endpoint;
      for (const [offset, size] of [
        [0, 4],
        [0, 2],
        [2, 2],
        [0, 1],
        [1, 1],
        [2, 1],
        [3, 1],
      ] as const) {
        let got = -1;
        rig.root.configRead(target, offset, size).onDone((value) => (got = value));
        rig.kernel.run();
        assert.equal(got, config.read(offset, size), `${offset}/${size}`);
      }
      rig.root.configWrite(target, Header.InterruptLine, 1, 0x5a);
      rig.kernel.run();
      assert.equal(config.read(Header.InterruptLine, 1), 0x5a);
      const completions = seen.filter(({ kind }) => kind >= TlpKind.Cpl);
      const data = completions.filter(({ kind }) => kind === TlpKind.CplD);
      assert.ok(
        data.every(({ wire }) => wire === 24),
        'one DW each',
      );
      rig.dispose();
    });

    it('ends I/O without a window at the root, and else as unsupported', () => {
      const rig = smallFabric({ fidelity });
      const values: number[] = [];
      const read = (): void => {
        rig.root.requester.ioRead(0x1004, 2).onDone((value) => values.push(value));
        rig.kernel.run();
      };
      read();
      assert.equal(rig.fabric.errors.size, 0);
      for (const config of [rig.root.bridges[0]!, ...rig.switch.bridges.slice(0, 2)]) {
        config.write(Header.Command, 2, config.read(Header.Command, 2) | 1);
        config.write(0x1c, 2, 0x1010);
      }
      read();
      let isDone = false;
      rig.root.requester.ioWrite(0x1004, 2, 1).onDone(() => (isDone = true));
      rig.kernel.run();
      assert.ok(isDone, 'the write is answered');
      assert.deepEqual(values, [0xffff, 0xffff]);
      assert.deepEqual([...rig.fabric.errors], [['ep0 unsupported-request', 2]]);
      rig.dispose();
    });
  });
}

describe('tags', () => {
  /** The tags of a read in 40 requests, towards endpoint `to`. */
  function tagsOf(options: SmallFabricOptions, enable: boolean, small: boolean) {
    const rig = smallFabric(options);
    const seen = watch(rig);
    const { endpoint, memory } = rig.endpoints[0]!;
    set(endpoint.config, Pcie.DevCtl2, DevCtl2.TenBitTagRequester, +enable);
    endpoint.requestAs({ smallTags: small });
    const sent = pattern(rig.endpoints[1]!.memory, 0, 20_480);
    const { statuses } = readPeer(rig, 20_480);
    const isKept = Buffer.from(bytesOf(memory, 0, 20_480)).equals(sent);
    const tags = seen.filter(({ kind }) => kind === TlpKind.MRd).map(({ tag }) => tag);
    const errors = [...rig.fabric.errors.keys()];
    rig.dispose();
    return { least: Math.min(...tags), most: Math.max(...tags), statuses, isKept, errors };
  }

  it('are of 10 bits once enabled, never with the two upper ones 0', () => {
    const big = { endpoint: { tags: 768 } } as const;
    const fine = { statuses: [0], isKept: true, errors: [] };
    const { least, most, ...got } = tagsOf(big, true, false);
    assert.deepEqual(got, fine);
    assert.ok(least >= 256 && most < 1024, `${least} to ${most}`);
    for (const [enable, small] of [
      [false, false],
      [true, true],
    ] as const) {
      const other = tagsOf(big, enable, small);
      assert.ok(other.most < 256, `${other.most}`);
      assert.ok(other.isKept, 'data');
    }
    assert.ok(tagsOf({ endpoint: { tags: 256 } }, true, false).most < 256, 'not capable');
  });

  it('of 10 bits get lost at a completer of 8', () => {
    const old = { endpoint: { tags: 768, tenBitCompleter: false } } as const;
    const { statuses, errors } = tagsOf(old, true, false);
    assert.deepEqual(statuses, [DmaStatus.Timeout]);
    assert.deepEqual(errors, ['ep0 unexpected-completion', 'ep0 completion-timeout']);
    assert.deepEqual(tagsOf(old, true, true).statuses, [DmaStatus.Ok]);
  });

  it('of all 768 can be outstanding at once', () => {
    const rig = smallFabric({ endpoint: { tags: 768 }, link: { gen: 5, width: 16 } });
    const { endpoint, memory } = rig.endpoints[0]!;
    set(endpoint.config, Pcie.DevCtl2, DevCtl2.TenBitTagRequester, 1);
    set(endpoint.config, Pcie.DevCtl, DevCtl.MaxReadRequest, 0);
    rig.endpoints[1]!.endpoint.port.owner.receive = (ingress, tlp) => {
      ingress.release(tlp);
      rig.fabric.tlps.give(tlp);
    };
    // All of them again once they are free.
    for (let round = 0; round < 2; round++) {
      endpoint.read(rig.endpoints[1]!.bar, 768 * 128, memory, 0, Data, new Outcomes(), 1);
      endpoint.read(rig.endpoints[1]!.bar, 128, memory, 0, Data, new Outcomes(), 1);
      rig.kernel.runUntil(rig.kernel.now + 1e9);
      assert.equal(endpoint.outstandingReads, 768);
      rig.kernel.run();
      assert.equal(endpoint.outstandingReads, 0);
    }
    rig.dispose();
  });

  it('of 8 bits are no more in use once software has switched them off', () => {
    const rig = smallFabric();
    const { endpoint } = rig.endpoints[0]!;
    set(endpoint.config, Pcie.DevCtl, DevCtl.MaxReadRequest, 0);
    const seen = watch(rig);
    for (const extended of [1, 0]) {
      set(endpoint.config, Pcie.DevCtl, DevCtl.ExtendedTag, extended);
      seen.length = 0;
      assert.deepEqual(readPeer(rig, 64 * 128).statuses, [DmaStatus.Ok]);
      const most = Math.max(...seen.map(({ tag }) => tag));
      assert.equal(most < 32, extended === 0, `${most}`);
    }
    rig.dispose();
  });
});

describe('a completion', () => {
  it('with a reserved status counts as Unsupported Request', () => {
    for (const [status, ended] of [
      [1, DmaStatus.UnsupportedRequest],
      [2, DmaStatus.UnsupportedRequest],
      [3, DmaStatus.UnsupportedRequest],
      [4, DmaStatus.CompleterAbort],
      [7, DmaStatus.UnsupportedRequest],
    ] as const) {
      const rig = smallFabric();
      const { owner } = rig.endpoints[0]!.endpoint.port;
      const receive = owner.receive.bind(owner);
      owner.receive = (ingress, tlp) => {
        if (isCompletion(tlp)) Object.assign(tlp, { status });
        receive(ingress, tlp);
      };
      const client = new Outcomes();
      const { endpoint, memory } = rig.endpoints[0]!;
      endpoint.read(physAddr(0x1000) as never, 4, memory, 0, Data, client, 1);
      rig.kernel.run();
      assert.deepEqual(client.statuses, [ended], `${status}`);
      rig.dispose();
    }
  });
});
