/** AtomicOps at host memory and at BARs of peers: values, answers, gates and malformed ones, in both fidelities. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type DmaAddr, dmaAddr } from '#emu/base/units.ts';
import { CapabilityId, DevCap2, DevCtl2, Pcie } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { AtomicKind } from '#emu/pcie/tlp/atomic-operation.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { TlpKind } from '#emu/pcie/tlp/tlp.ts';
import {
  bytesOf,
  DRAM,
  Outcomes,
  type SmallFabric,
  type SmallFabricOptions,
  smallFabric,
} from '#test/support/small-fabric.ts';

const { FetchAdd, Swap, CAS } = TlpKind;
const { Ok, UnsupportedRequest, AtomicsOff, Timeout } = DmaStatus;
const FIDELITIES: readonly Fidelity[] = ['timed', 'functional'];

function control(config: ConfigSpace, field: (typeof DevCtl2)[keyof typeof DevCtl2]): void {
  const at = config.capability(CapabilityId.Pcie) + Pcie.DevCtl2;
  config.write(at, 2, field.put(config.read(at, 2), 1));
}

function rigOf(fidelity: Fidelity, more: SmallFabricOptions['endpoint'] = {}): SmallFabric {
  const rig = smallFabric({ fidelity, endpoint: { atomics: true, ...more } });
  for (const { endpoint } of rig.endpoints) control(endpoint.config, DevCtl2.AtomicRequester);
  return rig;
}

const bytes = (value: bigint, size: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
const numberOf = (data: Uint8Array): bigint =>
  data.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);

/** Puts operands at 0x100 of the first endpoint, runs, and tells how it ended and what came back. */
function run(
  rig: SmallFabric,
  kind: AtomicKind,
  address: DmaAddr,
  size: number,
  operands: readonly bigint[],
): { status: number | undefined; original: bigint } {
  const [{ endpoint, memory }] = [rig.endpoints[0]!];
  for (const [i, value] of operands.entries()) memory.write(0x100 + i * size, bytes(value, size));
  const client = new Outcomes();
  endpoint.atomic(kind, address, size, memory, 0x100, client, 1);
  rig.kernel.run();
  assert.equal(rig.fabric.tlps.inUse, 0, 'records given back');
  return { status: client.statuses[0], original: numberOf(bytesOf(memory, 0x100, size)) };
}

const expected = (
  kind: AtomicKind,
  size: number,
  now: bigint,
  [a = 0n, b = 0n]: bigint[],
): bigint =>
  kind === FetchAdd ? BigInt.asUintN(8 * size, now + a) : kind === Swap ? a : now === a ? b : now;

const anyAtomic = fc
  .constantFrom<readonly [AtomicKind, number]>(
    ...([FetchAdd, Swap, CAS] as const).flatMap((kind) => [[kind, 4] as const, [kind, 8] as const]),
    [CAS, 16],
  )
  .chain(([kind, size]) => {
    const value = fc.bigInt({ min: 0n, max: (1n << BigInt(8 * size)) - 1n });
    return fc.record({
      kind: fc.constant(kind),
      size: fc.constant(size),
      slot: fc.nat(4096 / size - 1),
      now: value,
      other: value,
      matches: fc.boolean(),
      swap: value,
    });
  });

for (const fidelity of FIDELITIES) {
  describe(`AtomicOps, ${fidelity}`, () => {
    for (const where of ['host memory', 'a peer', 'a peer under another root port'] as const) {
      it(`change ${where} and give the original value`, () => {
        const rig = rigOf(fidelity);
        const peer = rig.endpoints[where === 'a peer' ? 1 : 2]!;
        const isHost = where === 'host memory';
        const target = isHost ? rig.host : peer.memory;
        const base = isHost ? DRAM : peer.bar;
        const shift = isHost ? DRAM : 0;
        fc.assert(
          fc.property(anyAtomic, ({ kind, size, slot, now, other, matches, swap }) => {
            const offset = slot * size;
            const at = shift + offset;
            target.write(at, bytes(now, size));
            const operands = [matches ? now : other, swap];
            const carried = kind === CAS ? operands : operands.slice(0, 1);
            const got = run(rig, kind, dmaAddr(base + offset), size, carried);
            assert.deepEqual(got, { status: Ok, original: now });
            assert.equal(numberOf(bytesOf(target, at, size)), expected(kind, size, now, operands));
          }),
          { numRuns: 60 },
        );
        rig.dispose();
      });
    }
  });

  describe(`AtomicOps that are refused, ${fidelity}`, () => {
    it('are not sent before software has enabled them', () => {
      const rig = smallFabric({ fidelity, endpoint: { atomics: true } });
      const { status } = run(rig, Swap, rig.endpoints[1]!.bar, 4, [1n]);
      assert.equal(status, AtomicsOff);
      assert.equal(rig.fabric.delivered, 0);
      rig.dispose();
    });

    it('by a completer that does not announce them, or has registers there', () => {
      const handler = { mmioRead: () => {}, mmioWrite: () => {} };
      const plain = rigOf(fidelity, {
        bars: [{ index: 0, sizeBytes: 4096, width: 64, prefetchable: true, target: handler }],
      });
      const { bar } = plain.endpoints[1]!;
      assert.equal(run(plain, FetchAdd, bar, 8, [1n]).status, UnsupportedRequest);
      assert.equal(plain.fabric.errors.get('ep1 unsupported-request'), 1);
      plain.dispose();
      const rig = rigOf(fidelity);
      for (const config of [rig.endpoints[1]!.endpoint.config, rig.root.bridges[0]!]) {
        const at = config.capability(CapabilityId.Pcie) + Pcie.DevCap2;
        const capabilities = DevCap2.AtomicCompleter64.put(config.read(at, 4), 0);
        config.view.setUint32(at, capabilities, true);
      }
      const target = rig.endpoints[1]!;
      assert.equal(run(rig, FetchAdd, target.bar, 8, [1n]).status, UnsupportedRequest);
      assert.equal(run(rig, FetchAdd, dmaAddr(DRAM), 8, [1n]).status, UnsupportedRequest);
      assert.equal(run(rig, FetchAdd, target.bar, 4, [1n]).status, Ok);
      assert.equal(run(rig, FetchAdd, dmaAddr(DRAM), 4, [1n]).status, Ok);
      rig.dispose();
    });

    it('where software blocks them', () => {
      const rig = rigOf(fidelity);
      control(rig.switch.bridges[2]!, DevCtl2.AtomicEgressBlocking);
      assert.equal(run(rig, Swap, rig.endpoints[1]!.bar, 4, [1n]).status, UnsupportedRequest);
      assert.equal(rig.fabric.errors.get('sw0.down1 atomic-egress-blocked'), 1);
      rig.dispose();
    });

    it('as malformed when they are not aligned or no operand has their size', () => {
      for (const [kind, offset, size] of [
        [Swap, 2, 4],
        [FetchAdd, 4, 8],
        [CAS, 8, 16],
        [FetchAdd, 0, 16],
        [Swap, 0, 2],
      ] as const) {
        const rig = rigOf(fidelity);
        const { bar, memory } = rig.endpoints[1]!;
        memory.write(0, bytes(0x55n, 32));
        const { status } = run(rig, kind, dmaAddr(bar + offset), size, [1n, 2n]);
        assert.equal(status, Timeout);
        assert.equal(rig.fabric.errors.get('sw0.down0 malformed-tlp'), 1);
        assert.equal(numberOf(bytesOf(memory, 0, 32)), 0x55n);
        rig.dispose();
      }
    });
  });
}
