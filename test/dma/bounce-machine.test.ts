/**
 * Machines by provider: a 32-bit device and memory above 4 GiB, in both fidelities; translation passed through; and
 * the edu's driver with copies underneath.
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { edu, openEdu } from '#devices/edu/index.ts';
import { offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal, MapType } from '#emu/dma/mapping.ts';
import { BounceCounter } from '#emu/dma/providers/bounce-pool.ts';
import { machine } from '#emu/host/machine.ts';
import type { MachineSpec } from '#emu/host/machine-spec.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig, bytesAt, mark } from '#test/support/bridges-rig.ts';

const { ToDevice, FromDevice } = Direction;
const MiB = 2 ** 20;
const FOUR_GIB = 2 ** 32;
const PAGE = 4096;
const BOTH: readonly Fidelity[] = ['timed', 'functional'];

const spec = (rest: Partial<MachineSpec>): MachineSpec => ({
  ...rest,
  rootPorts: [{ device: barMemory('one', MiB) }, { device: barMemory('two', MiB) }],
});

/** A machine whose device `one` makes 32-bit addresses. */
class Rig extends BridgesRig {
  readonly fn = this.built.function('one');
  /** Memory on both sides of 4 GiB. */
  readonly low: PhysAddr;
  readonly high: PhysAddr;

  constructor(rest: Partial<MachineSpec>, fidelity: Fidelity, addressLimit = FOUR_GIB) {
    super(spec(rest), fidelity);
    this.fn.limitDma({ addressLimit });
    const { mm } = this.built;
    this.low = mm.allocate(16 * PAGE);
    mm.allocate(2 ** 31);
    this.high = mm.allocate(16 * PAGE);
    assert.ok(this.low < FOUR_GIB && this.high > FOUR_GIB);
  }

  mapTo(list: PhyRangeList, direction: Direction): DmaMapping {
    const mapping = this.fn.dma.map(list, direction);
    if (isRefusal(mapping)) return assert.fail(mapping.reason);
    return mapping;
  }

  refusal(list: PhyRangeList): string {
    const result = this.fn.dma.map(list, ToDevice);
    return isRefusal(result) ? result.refused : 'mapped';
  }

  /** The device moves all bytes of a mapping from or to its local memory. */
  move(mapping: DmaMapping, isWrite: boolean, sizeBytes: number = mapping.ranges.sizeBytes): void {
    let at = 0;
    for (const { address, length } of mapping.ranges.slice(0, sizeBytes)) {
      assert.equal(this.transfer('one', isWrite, address, length, at), DmaStatus.Ok);
      at += length;
    }
  }

  /** Host memory of a list. */
  bytes(list: PhyRangeList): Uint8Array {
    const { memory } = this.built.mm;
    return Buffer.concat([...list].map(({ address, length }) => bytesAt(memory, address, length)));
  }

  fill(list: PhyRangeList, seed: number): void {
    for (const { address, length } of list) mark(this.built.mm.memory, address, length, seed);
  }

  /** Sends a list to the device and back to another, and compares. */
  roundTrip(from: PhyRangeList, to: PhyRangeList): void {
    this.fill(from, 1);
    this.fill(to, 2);
    const out = this.mapTo(from, ToDevice);
    this.move(out, false);
    this.unmap('one', out);
    const back = this.mapTo(to, FromDevice);
    this.move(back, true);
    this.unmap('one', back);
    assert.deepEqual(this.bytes(to), this.bytes(from));
    assert.deepEqual(this.refusals, []);
  }
}

for (const fidelity of BOTH) {
  describe(`${fidelity}: a 32-bit device`, () => {
    it('reaches memory above 4 GiB by copies, and memory below as it is', () => {
      const rig = new Rig({ dma: { provider: 'bounce', bounceBytes: MiB } }, fidelity);
      const { bounce, mm } = rig.built;
      assert.ok(bounce);
      assert.equal(bounce.sizeBytes, MiB);
      assert.ok(bounce.base + bounce.sizeBytes <= FOUR_GIB);
      const from = PhyRangeList.of(offsetBy(rig.high, 100), 5000)
        .append(rig.low, 512)
        .append(offsetBy(rig.high, 4 * PAGE), 4096);
      const to = PhyRangeList.of(offsetBy(rig.low, 4 * PAGE), 300).append(
        offsetBy(rig.high, 8 * PAGE + 7),
        9308,
      );
      const used = mm.usedBytes;
      rig.roundTrip(from, to);
      const { counters } = bounce;
      assert.deepEqual(
        [counters[BounceCounter.bytesIn], counters[BounceCounter.bytesOut], bounce.usedSlots],
        [5000 + 4096 + 9308, 9308, 0],
      );
      assert.equal(mm.usedBytes, used);
      rig.dispose();
    });

    it('that writes less than it was given leaves the rest as it was', () => {
      const rig = new Rig({ dma: { provider: 'bounce' } }, fidelity);
      const list = PhyRangeList.of(rig.high, 8192);
      rig.fill(list, 5);
      const before = rig.bytes(list);
      const written = mark(rig.memory('one').local, 0, 1000, 6);
      const mapping = rig.mapTo(list, FromDevice);
      rig.move(mapping, true, 1000);
      rig.fn.dma.sync(mapping, 'cpu', { offsetBytes: 0, sizeBytes: 500 });
      assert.deepEqual(rig.bytes(list.slice(0, 500)), Buffer.from(written.subarray(0, 500)));
      rig.unmap('one', mapping);
      const after = rig.bytes(list);
      assert.deepEqual(after.subarray(0, 1000), Buffer.from(written));
      assert.deepEqual(after.subarray(1000), before.subarray(1000));
      rig.dispose();
    });

    it('without copies is refused what it does not reach', () => {
      const rig = new Rig({}, fidelity);
      assert.equal(rig.built.dma.name, 'direct');
      assert.equal(rig.refusal(PhyRangeList.of(rig.high, 1)), 'EIO');
      assert.equal(rig.built.bounce, null);
      rig.dispose();
    });

    it('behind an IOMMU reaches everything, with lists or through scatterlists', () => {
      for (const provider of ['auto', 'iommu', 'legacy'] as const) {
        const rig = new Rig({ iommu: true, dma: { provider } }, fidelity);
        assert.equal(rig.built.dma.name, provider === 'legacy' ? 'legacy' : 'iommu');
        assert.ok(rig.built.faults);
        const from = PhyRangeList.of(rig.high, 5000).append(rig.low, 4096);
        rig.roundTrip(from, PhyRangeList.of(offsetBy(rig.high, 8 * PAGE), 9096));
        rig.dispose();
      }
    });
  });

  describe(`${fidelity}: other providers`, () => {
    it("everything can be bounced, peers' bus addresses apart", () => {
      const dma = { provider: 'bounce', forceBounce: true } as const;
      const rig = new Rig({ dma }, fidelity, 2 ** 52);
      const from = PhyRangeList.of(rig.low, 3000);
      rig.roundTrip(from, PhyRangeList.of(offsetBy(rig.low, PAGE), 3000));
      assert.equal(rig.built.bounce?.counters[BounceCounter.copiesIn], 2);
      assert.equal(rig.refusal(rig.barOf('two')), 'EIO');
      rig.dispose();
    });

    it('an IOMMU lets everything pass where software does without it', () => {
      for (const provider of ['direct', 'bounce'] as const) {
        const rig = new Rig({ iommu: true, dma: { provider } }, fidelity, 2 ** 52);
        assert.equal(rig.built.dma.name, provider);
        assert.ok(rig.built.iommu);
        assert.equal(rig.built.faults, null);
        const from = PhyRangeList.of(rig.high, 5000);
        const to = PhyRangeList.of(offsetBy(rig.high, 8 * PAGE), 5000);
        rig.roundTrip(from, to);
        const mapping = rig.mapTo(rig.barOf('two'), ToDevice);
        assert.equal(mapping.mapType, MapType.ThruHostBridge);
        assert.equal(mapping.ranges.address(0), rig.barOf('two').address(0));
        rig.dispose();
      }
    });

    it('scatterlists name no peer memory', () => {
      const rig = new Rig({ dma: { provider: 'legacy' } }, fidelity, 2 ** 52);
      assert.equal(rig.built.dma.name, 'legacy');
      assert.equal(rig.refusal(rig.barOf('two')), 'EREMOTEIO');
      const from = PhyRangeList.of(rig.high, 5000).append(rig.low, 4096);
      rig.roundTrip(from, PhyRangeList.of(offsetBy(rig.high, 8 * PAGE), 9096));
      rig.dispose();
    });

    it('the edu works above 4 GiB, its limits declared', () => {
      const device = edu({ name: 'edu0', dmaMaskBits: 32 });
      const m = machine({ dma: { provider: 'bounce' }, rootPorts: [{ device }] }).build({
        fidelity,
      });
      m.boot();
      m.kernel.run();
      m.function('edu0').limitDma({ addressLimit: FOUR_GIB });
      const opened = openEdu(m, 'edu0', { dmaMaskBits: 32 });
      m.kernel.run();
      const one = opened.value;
      m.mm.allocate(2 ** 31);
      const page = m.mm.allocate(2 * PAGE);
      const sent = mark(m.mm.memory, page, 4000, 3);
      const { dma } = one.function;
      const out = dma.map(m.mm.pin(page, 4000), ToDevice);
      const back = dma.map(m.mm.pin(offsetBy(page, PAGE), 4000), FromDevice);
      assert.ok(!isRefusal(out) && !isRefusal(back));
      one.toDevice({ ranges: out.ranges });
      m.kernel.run();
      one.fromDevice({ ranges: back.ranges });
      m.kernel.run();
      for (const mapping of [out, back]) assert.ok(dma.unmap(mapping).done);
      assert.deepEqual(bytesAt(m.mm.memory, page + PAGE, 4000), sent);
      assert.equal(m.bounce?.usedSlots, 0);
      m.dispose();
    });
  });
}
