/**
 * Reads that the root complex takes over: right to the byte, in its own name on one side and the requester's on
 * the other, within a finite table. [PCIE] 1.3.1, 2.3.1.1
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { dmaAddr } from '#emu/base/units.ts';
import {
  AcsBit,
  CapabilityId,
  ExtendedId,
  Header,
  Pcie,
} from '#emu/pcie/config/config-registers.ts';
import { AerControl, AerRegister } from '#emu/pcie/errors/aer-registers.ts';
import { Effect, Injector } from '#emu/pcie/errors/injector.ts';
import { LinkCounter } from '#emu/pcie/link/link-counters.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { type Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { errorsOf, FAR, NEAR, policed, transfer } from '#test/support/peer-rig.ts';
import {
  bytesOf,
  Outcomes,
  pattern,
  type SmallFabric,
  smallFabric,
} from '#test/support/small-fabric.ts';

const { Data } = Purpose;
const { Ok, UnsupportedRequest } = DmaStatus;

for (const fidelity of ['timed', 'functional'] as const) {
  describe(`split reads, ${fidelity}`, () => {
    it('split: any read is exact and touches nothing else', () => {
      const one = policed({ splitReadBytes: 64 }, { fidelity });
      const [near, , far] = one.endpoints;
      const bytes = pattern(far!.memory, 0, 30_000, 9);
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: 9000 }),
          fc.integer({ min: 1, max: 9000 }),
          fc.constantFrom(64, 128, 256, 512, 4096),
          (offset, size, splitReadBytes) => {
            one.root.setPeerForwarding(NEAR, FAR, { splitReadBytes });
            near!.memory.fill(0, 20_000, 0xee);
            assert.equal(transfer(one, false, far!.bar + offset, size, 100), Ok);
            assert.deepEqual(
              bytesOf(near!.memory, 100, size),
              bytes.subarray(offset, offset + size),
            );
            assert.ok(bytesOf(near!.memory, 0, 100).every((byte) => byte === 0xee));
            assert.ok(bytesOf(near!.memory, 100 + size, 100).every((byte) => byte === 0xee));
          },
        ),
        { numRuns: 40 },
      );
      assert.deepEqual(errorsOf(one), []);
      one.dispose();
    });

    it('split: a failure behind the root complex reaches the requester, and frees the table', () => {
      const one = policed({ splitReadBytes: 64 }, { fidelity });
      const far = one.endpoints[2]!;
      far.endpoint.config.write(Header.Command, 2, 4);
      assert.equal(transfer(one, false, far.bar + 32, 400), UnsupportedRequest);
      far.endpoint.config.write(Header.Command, 2, 6);
      const bytes = pattern(far.memory, 0, 400);
      assert.equal(transfer(one, false, far.bar, 400), Ok);
      assert.deepEqual(bytesOf(one.endpoints[0]!.memory, 0, 400), bytes);
      one.dispose();
    });

    it('split: a read that fails half-way ends with the status of its first bad piece', () => {
      const tiny = { index: 0, sizeBytes: 128, width: 64, prefetchable: true } as const;
      const registers = {
        mmioRead: (_offset: number, size: number, out: DataView, at: number) => {
          for (let i = 0; i < size; i++) out.setUint8(at + i, 0x5a);
        },
        mmioWrite: () => {},
      };
      const endpoint = { bars: [{ ...tiny, target: registers }] };
      const one = policed({ splitReadBytes: 64 }, { fidelity, endpoint });
      const { bar } = one.endpoints[2]!;
      assert.equal(transfer(one, false, bar, 128), Ok);
      assert.equal(transfer(one, false, bar + 64, 256), UnsupportedRequest);
      assert.equal(transfer(one, false, bar, 128, 4096), Ok);
      assert.equal(one.endpoints[0]!.memory.getU8(4096 + 127), 0x5a);
      one.dispose();
    });
  });

  describe(`split reads of bad data, ${fidelity}`, () => {
    it('split: what comes poisoned goes on poisoned, and only that', () => {
      const one = policed({ splitReadBytes: 64 }, { fidelity });
      const [near, , far] = one.endpoints;
      const injector = new Injector(one.fabric);
      one.fabric.injector = injector;
      injector.add({ effect: Effect.Poison, kind: 'CplD', port: far!.endpoint.path });
      const bytes = pattern(far!.memory, 0, 64);
      const port = one.root.bridges[NEAR]!;
      port.write(port.capability(CapabilityId.Pcie) + Pcie.DevCtl, 2, 0);
      assert.equal(transfer(one, false, far!.bar, 320), DmaStatus.Poisoned);
      assert.deepEqual(errorsOf(one), ['rc0.port1 poisoned-tlp', 'ep0 poisoned-tlp']);
      assert.equal(one.fabric.errors.get('ep0 poisoned-tlp'), 1);
      assert.equal(transfer(one, false, far!.bar, 64), Ok);
      assert.deepEqual(bytesOf(near!.memory, 0, 64), bytes);
      one.dispose();
    });

    it('split: a digest that does not fit leaves the read to its timeout', () => {
      const aer = { ecrc: true };
      const one = policed({ splitReadBytes: 64 }, { fidelity, endpoint: { aer } });
      const far = one.endpoints[2]!;
      const injector = new Injector(one.fabric);
      one.fabric.injector = injector;
      injector.add({ effect: Effect.Corrupt, kind: 'CplD', port: far.endpoint.path });
      for (const config of [far.endpoint.config, one.root.bridges[FAR]!]) {
        const control = config.extendedCapability(ExtendedId.Aer) + AerRegister.Control;
        const on = AerControl.EcrcGenerationEnable.of(1) | AerControl.EcrcCheckEnable.of(1);
        config.write(control, 4, on);
      }
      assert.equal(transfer(one, false, far.bar, 64), DmaStatus.Timeout);
      assert.equal(errorsOf(one)[0], 'rc0.port1 ecrc-error');
      one.dispose();
    });
  });

  describe(`split reads on their way back, ${fidelity}`, () => {
    it("split: a redirect comes back to its own root port in the root complex's name", () => {
      const one = smallFabric({ fidelity });
      for (const bridge of [one.root.bridges[0]!, ...one.switch.bridges.slice(1)]) {
        const control = bridge.extendedCapability(0x000d) + 6;
        bridge.write(control, 2, AcsBit.RR | AcsBit.UF);
      }
      one.root.setPeerForwarding(NEAR, NEAR, { splitReadBytes: 64 });
      const [near, beside] = one.endpoints;
      const bytes = pattern(beside!.memory, 0, 3000);
      assert.equal(transfer(one, false, beside!.bar + 50, 2000), Ok);
      assert.deepEqual(bytesOf(near!.memory, 0, 2000), bytes.subarray(50, 2050));
      // Completions go up to the root complex, which asked, and down again.
      const up = one.switch.upstream.counters[LinkCounter.dataBytes];
      const down = one.root.ports[NEAR]!.counters[LinkCounter.dataBytes];
      assert.deepEqual([up, down], [2000, 2000]);
      one.dispose();
    });
  });
}

/** Counts TLPs by port and kind, and what they carried. */
function watch(one: SmallFabric): { port: string; tlp: Pick<Tlp, keyof Tlp> }[] {
  const seen: { port: string; tlp: Pick<Tlp, keyof Tlp> }[] = [];
  one.fabric.probe = {
    sent: (port, tlp) => seen.push({ port: port.path, tlp: { ...tlp, seal: () => {} } }),
    delivered: () => {},
    refused: () => {},
  };
  return seen;
}

describe('split reads on the wire', () => {
  it('512 bytes: 8 reads of 64 in its own name and tags, 2 completions of 256 as asked', () => {
    const one = policed({ splitReadBytes: 64 });
    const far = one.endpoints[2]!;
    const seen = watch(one);
    assert.equal(transfer(one, false, far.bar + 512, 512), Ok);
    const at = (port: string, kind: number) =>
      seen.filter((one) => one.port === port && one.tlp.kind === kind).map(({ tlp }) => tlp);
    const asked = at('ep0', TlpKind.MRd);
    const pieces = at('rc0.port1', TlpKind.MRd);
    assert.deepEqual([asked.length, asked[0]?.sizeBytes, pieces.length], [1, 512, 8]);
    const rootPort = (0 << 8) | (2 << 3);
    assert.ok(
      pieces.every(({ sizeBytes, requester }) => sizeBytes === 64 && requester === rootPort),
    );
    assert.equal(new Set(pieces.map(({ tag }) => tag)).size, 8);
    assert.deepEqual(
      pieces.map(({ address }) => address - far.bar),
      [512, 576, 640, 704, 768, 832, 896, 960],
    );
    assert.equal(at('ep2', TlpKind.CplD).length, 8);
    const answers = at('rc0.port0', TlpKind.CplD);
    assert.deepEqual(
      answers.map(({ sizeBytes, byteCount, lowerAddress }) => [sizeBytes, byteCount, lowerAddress]),
      [
        [256, 512, 0],
        [256, 256, 0],
      ],
    );
    for (const { targetId, tag } of answers) {
      assert.deepEqual([targetId, tag], [asked[0]?.requester, asked[0]?.tag]);
    }
    one.dispose();
  });

  it('through a switch the same read goes as it is, with 2 completions of 256', () => {
    const one = smallFabric();
    const seen = watch(one);
    assert.equal(transfer(one, false, one.endpoints[1]!.bar, 512), Ok);
    const sizes = (kind: number) =>
      seen.filter(({ port, tlp }) => (port === 'sw0.down1' ? tlp.kind === kind : false));
    assert.deepEqual(
      sizes(TlpKind.MRd).map(({ tlp }) => tlp.sizeBytes),
      [512],
    );
    const answers = seen.filter(
      ({ port, tlp }) => port === 'sw0.down0' && tlp.kind === TlpKind.CplD,
    );
    assert.deepEqual(
      answers.map(({ tlp }) => tlp.sizeBytes),
      [256, 256],
    );
    one.dispose();
  });
});

describe('the table of split reads', () => {
  it('cuts at multiples of the piece and at the read completion boundary, wherever it starts', () => {
    const one = policed({ splitReadBytes: 128 });
    const far = one.endpoints[2]!;
    const seen = watch(one);
    assert.equal(transfer(one, false, far.bar + 100, 400), Ok);
    const pieces = seen.filter(({ port, tlp }) => port === 'rc0.port1' && tlp.kind === TlpKind.MRd);
    assert.deepEqual(
      pieces.map(({ tlp }) => [tlp.address - far.bar, tlp.sizeBytes]),
      [
        [100, 28],
        [128, 128],
        [256, 128],
        [384, 116],
      ],
    );
    const answers = seen.filter(
      ({ port, tlp }) => port === 'rc0.port0' && tlp.kind === TlpKind.CplD,
    );
    assert.deepEqual(
      answers.map(({ tlp }) => [tlp.sizeBytes, tlp.byteCount, tlp.lowerAddress]),
      [
        [220, 400, 100],
        [180, 180, 64],
      ],
    );
    one.dispose();
  });

  it('keeps within a table of one entry and two tags, and loses nothing', () => {
    const one = policed({ splitReadBytes: 64 }, { peerReads: { entries: 1, tags: 2 } });
    const { endpoints } = one;
    const [near, beside, far] = endpoints;
    let most = 0;
    let entries = 0;
    let out = 0;
    one.fabric.probe = {
      sent: (port, tlp) => {
        if (port.path === 'rc0.port1' && tlp.kind === TlpKind.MRd) out++;
        most = Math.max(most, out);
        entries = Math.max(entries, one.root.peerReadsInUse);
      },
      delivered: (path, tlp) => {
        if (path === 'rc0' && tlp.kind === TlpKind.CplD) out--;
      },
      refused: () => assert.fail('refused'),
    };
    const bytes = pattern(far!.memory, 0, 60_000, 3);
    const client = new Outcomes();
    near!.endpoint.read(far!.bar, 30_000, near!.memory, 0, Data, client, 0);
    beside!.endpoint.read(dmaAddr(far!.bar + 30_000), 30_000, beside!.memory, 0, Data, client, 1);
    one.kernel.run();
    assert.deepEqual(client.statuses, [Ok, Ok]);
    assert.deepEqual([most, entries], [2, 1]);
    assert.deepEqual(bytesOf(near!.memory, 0, 30_000), bytes.subarray(0, 30_000));
    assert.deepEqual(bytesOf(beside!.memory, 0, 30_000), bytes.subarray(30_000));
    assert.equal(one.root.peerReadsInUse, 0);
    assert.equal(one.fabric.tlps.inUse, 0);
    one.dispose();
  });
});

it('refuses completions that no piece waits for', () => {
  const one = policed({ splitReadBytes: 64 });
  const far = one.endpoints[2]!;
  for (const [targetId, tag] of [
    [2 << 3, 5],
    [1 << 3, 0],
    [9 << 3, 0],
  ] as const) {
    const tlp = one.fabric.tlps.take();
    tlp.kind = TlpKind.Cpl;
    tlp.targetId = targetId;
    tlp.tag = tag;
    tlp.status = Ok;
    tlp.flags = 0;
    tlp.sizeBytes = 0;
    tlp.seal();
    far.endpoint.port.send(tlp);
  }
  one.kernel.run();
  assert.equal(one.fabric.errors.get('rc0.port1 unexpected-completion'), 3);
  assert.equal(one.fabric.tlps.inUse, 0);
  one.dispose();
});

it('lets go of what is never answered, and refuses what comes too late', () => {
  const peerReads = { tags: 4 };
  const one = policed({ splitReadBytes: 64 }, { endpoint: { completerLatencyPs: 1e9 }, peerReads });
  const far = one.endpoints[2]!;
  const bridge = one.root.bridges[FAR]!;
  bridge.write(bridge.capability(CapabilityId.Pcie) + Pcie.DevCtl2, 2, 1);
  assert.equal(transfer(one, false, far.bar, 200), DmaStatus.Timeout);
  assert.equal(one.fabric.errors.get('rc0.port1 completion-timeout'), 4);
  assert.equal(one.fabric.errors.get('rc0.port1 unexpected-completion'), 4);
  assert.equal(one.fabric.errors.get('ep0 completion-timeout'), 1);
  bridge.write(bridge.capability(CapabilityId.Pcie) + Pcie.DevCtl2, 2, 2);
  const bytes = pattern(far.memory, 0, 5000);
  assert.equal(transfer(one, false, far.bar, 5000), Ok);
  assert.deepEqual(bytesOf(one.endpoints[0]!.memory, 0, 5000), bytes);
  one.dispose();
});

it('refuses completions with more than was asked, and still takes the right ones', () => {
  const one = policed({ splitReadBytes: 64 }, { endpoint: { completerLatencyPs: 1e6 } });
  const [near, , far] = one.endpoints;
  const bytes = pattern(far!.memory, 0, 64);
  const client = new Outcomes();
  near!.endpoint.read(far!.bar, 64, near!.memory, 0, Data, client, 0);
  one.fabric.probe = {
    sent: (port, { kind, tag, requester }) => {
      if (port.path !== 'rc0.port1' || kind !== TlpKind.MRd) return;
      const tlp = one.fabric.tlps.take();
      Object.assign(tlp, { kind: TlpKind.CplD, status: Ok, tag, targetId: requester });
      Object.assign(tlp, { sizeBytes: 128, byteCount: 128, lowerAddress: 0 });
      tlp.seal();
      far!.endpoint.port.send(tlp);
    },
    delivered: () => {},
    refused: () => {},
  };
  one.kernel.run();
  assert.equal(one.fabric.errors.get('rc0.port1 unexpected-completion'), 1);
  assert.deepEqual(client.statuses, [Ok]);
  assert.deepEqual(bytesOf(near!.memory, 0, 64), bytes);
  one.dispose();
});

it('carries reads of no bytes, and how they fail', () => {
  for (const [command, kinds] of [
    [6, [TlpKind.CplD]],
    [4, [TlpKind.Cpl]],
  ] as const) {
    const one = policed({ splitReadBytes: 64 });
    const [near, , far] = one.endpoints;
    far!.endpoint.config.write(Header.Command, 2, command);
    const seen = watch(one);
    const flush = one.fabric.tlps.take();
    Object.assign(flush, { kind: TlpKind.MRd, requester: near!.endpoint.id, tag: 9, sizeBytes: 0 });
    flush.address = far!.bar + 64;
    flush.seal();
    near!.endpoint.port.send(flush);
    one.kernel.run();
    const answers = seen.filter(({ port }) => port === 'rc0.port0').map(({ tlp }) => tlp);
    assert.deepEqual(
      answers.map(({ kind }) => kind),
      kinds,
    );
    assert.deepEqual([answers[0]?.tag, answers[0]?.payloadBytes], [9, 0]);
    assert.deepEqual([one.root.peerReadsInUse, one.fabric.tlps.inUse], [0, 0]);
    one.dispose();
  }
});
