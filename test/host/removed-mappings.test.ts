/**
 * Mappings of a device that is removed: an orderly removal ends its interface, one by surprise cuts it off at once, and what
 * was mapped is unmapped as ever while another device stands in its place. [PCIE] 6.7, [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { type DmaAddr, physAddr } from '#emu/base/units.ts';
import { IovaState } from '#emu/dma/iova/iova-state.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import type { MachineSpec } from '#emu/host/machine-spec.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { barMemory } from '#test/support/bar-memory.ts';
import { BridgesRig } from '#test/support/bridges-rig.ts';

const MiB = 2 ** 20;
const PAGE = 4096;
const { Bidirectional } = Direction;
const SPECS: Readonly<Record<string, Partial<MachineSpec>>> = {
  strict: { iommu: true },
  lazy: { iommu: { flush: 'lazy' } },
  legacy: { iommu: true, dma: { provider: 'legacy' } },
  direct: {},
};

/** Device `a` in a slot and `b` beside it. */
function rigOf(spec: Partial<MachineSpec>) {
  const rootPorts = [
    { device: barMemory('a', MiB), hotplug: true },
    { device: barMemory('b', MiB) },
  ];
  const rig = new BridgesRig({ checker: true, ...spec, rootPorts }, 'functional');
  const { built } = rig;
  const port = built.hotplug.ports[0] ?? assert.fail('no slot');
  // Pages of contexts stay once they are there.
  assert.equal(built.function('a').dma.liveMappings, 0);
  rig.run(built.function('a').detachDma());
  const replace = (): void => {
    const come = built.insert(port, barMemory('a', MiB));
    built.kernel.run();
    assert.ok(come.done, 'another came');
    rig.run(built.function('a').setBusMaster(true));
  };
  return { rig, built, replace, page: built.mm.allocate(PAGE, PAGE) };
}

describe('mappings of a device that is removed', () => {
  for (const [name, spec] of Object.entries(SPECS)) {
    const isTranslated = name !== 'direct';

    it(`by surprise: nothing in its place reaches them, and they end as ever, ${name}`, () => {
      const { rig, built, replace, page } = rigOf(spec);
      const { dma } = built.function('a');
      const list = PhyRangeList.of(page, PAGE);
      const mapping = dma.map(list, Bidirectional);
      assert.ok(!isRefusal(mapping));
      const memory = dma.allocateCoherent(PAGE);
      assert.ok(!isRefusal(memory));
      const at = mapping.ranges.address(0);
      assert.equal(rig.transfer('a', true, at, PAGE), DmaStatus.Ok);
      const gone = built.remove('a', { surprise: true });
      built.kernel.run();
      assert.deepEqual([gone.done, dma.liveMappings], [true, 2]);
      assert.throws(() => dma.map(list, Bidirectional), /after the function was detached/);

      replace();
      const reaches = (address: DmaAddr): boolean =>
        rig.transfer('a', false, address, PAGE) === DmaStatus.Ok;
      assert.equal(reaches(at), !isTranslated, 'with no interface of its own yet');
      const used = built.mm.usedBytes;
      const next = built.function('a').dma;
      assert.notEqual(next, dma);
      const other = next.map(PhyRangeList.of(page, PAGE), Bidirectional);
      assert.ok(!isRefusal(other));
      assert.ok(reaches(other.ranges.address(0)), 'what is mapped for it');

      void dma.unmap(mapping);
      void dma.freeCoherent(memory);
      built.kernel.run();
      assert.deepEqual([dma.liveMappings, list.mappings, list.hold], [0, 0, null]);
      // The tables of the first are back; those of the second, as many, are there.
      if (isTranslated) assert.equal(built.mm.usedBytes, used - PAGE);
      assert.ok(reaches(other.ranges.address(0)), 'the context is the second one’s');
      void next.unmap(other);
      built.kernel.run();
      rig.dispose();
    });
  }
});

describe('what else is left of a device that is removed', () => {
  it('by surprise: two-step addresses end as ever', () => {
    const { rig, built, replace, page } = rigOf({ iommu: true });
    const before = built.mm.usedBytes;
    const { dma } = built.function('a');
    const state = new IovaState(dma);
    assert.ok(state.tryAlloc(page, PAGE));
    state.link(page, 0, PAGE, Bidirectional);
    state.sync(0, PAGE);
    void built.remove('a', { surprise: true });
    built.kernel.run();
    assert.throws(() => new IovaState(dma).tryAlloc(page, PAGE), /was detached/);
    replace();
    assert.equal(dma.openStates, 1);
    assert.ok(built.mm.usedBytes > before, 'the tables wait for it');
    void state.destroy(PAGE);
    built.kernel.run();
    assert.deepEqual([dma.openStates, built.mm.usedBytes], [0, before]);
    rig.dispose();
  });

  it('by surprise with nothing mapped: nothing is left', () => {
    const { rig, built, replace } = rigOf({ iommu: true });
    const before = built.mm.usedBytes;
    assert.equal(built.function('a').dma.liveMappings, 0);
    void built.remove('a', { surprise: true });
    built.kernel.run();
    assert.equal(built.mm.usedBytes, before);
    replace();
    const list = PhyRangeList.of(physAddr(built.mm.allocate(PAGE, PAGE)), PAGE);
    assert.ok(!isRefusal(built.function('a').dma.map(list, Bidirectional)));
    rig.dispose();
  });

  it('in good order: its driver must have unmapped, or the report says what is left', () => {
    const { built, page } = rigOf({ iommu: true });
    const { dma } = built.function('a');
    const mapping = dma.map(PhyRangeList.of(page, PAGE), Bidirectional);
    assert.ok(!isRefusal(mapping));
    const errors: EmuError[] = [];
    built.remove('a').onDone(
      () => assert.fail('removed'),
      (error) => errors.push(error),
    );
    try {
      built.kernel.run();
    } catch (error) {
      assert.ok(error instanceof EmuError);
      errors.push(error);
    }
    assert.ok(errors.length > 0);
    for (const { code, message } of errors) {
      assert.equal(code, 'CHECKER');
      assert.match(message, /detach with 1 mappings not yet unmapped/);
    }
    built.dispose();
  });
});
