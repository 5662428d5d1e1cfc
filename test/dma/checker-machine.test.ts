/**
 * The checker in a machine: it watches what devices begin, names path and places, and is absent when off.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edu } from '#devices/edu/index.ts';
import { EmuError } from '#emu/base/errors.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { machine } from '#emu/host/machine.ts';
import type { MachineSpec } from '#emu/host/machine-spec.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { runEmu } from '#test/support/recording-terminal.ts';

async function booted(spec: Partial<MachineSpec>, checker?: boolean) {
  const plan = machine({ rootPorts: [{ device: edu() }], ...spec });
  const made = plan.build(checker === undefined ? {} : { checker });
  made.boot();
  made.kernel.run();
  const fn = made.function('edu0');
  const bytes = new SparseMemory(4096, 'bytes');
  const list = PhyRangeList.of(made.mm.allocate(4096), 4096);
  const mapping = fn.dma.map(list, Direction.ToDevice);
  assert.ok(!isRefusal(mapping));
  const write = (): void =>
    made.endpoint('edu0').write(mapping.ranges.address(0), 64, bytes, 0, Purpose.Data, null, 0);
  const dispose = (): void => {
    bytes.dispose();
    made.dispose();
  };
  return { made, fn, mapping, write, dispose };
}

test('a device that writes a mapping for reading is reported, with path and place', async () => {
  const { made, write, dispose } = await booted({ checker: { onError: 'collect' } });
  write();
  assert.equal(made.checker?.count, 1);
  const { message, path } = made.checker.reports[0]!;
  assert.equal(path, made.function('edu0').path);
  assert.match(message, /mapped at booted \(.*checker-machine\.test/);
  dispose();
});

test('by default the first report is thrown', async () => {
  const { fn, mapping, write, dispose } = await booted({}, true);
  assert.throws(write, (error) => error instanceof EmuError && error.code === 'CHECKER');
  fn.dma.unmap(mapping);
  assert.throws(() => fn.dma.unmap(mapping), /made at booted .* ended at .* wrong call at /);
  dispose();
});

test('off, there is none, and misuse is told without places', async () => {
  for (const [spec, option] of [
    [{}, undefined],
    [{ checker: false }, true],
  ] as const) {
    const { made, fn, mapping, write, dispose } = await booted(spec, option);
    assert.deepEqual([made.checker, made.fabric.dmaWatch, fn.dma.watch], [null, null, null]);
    write();
    fn.dma.unmap(mapping);
    assert.throws(() => fn.dma.unmap(mapping), /not live any more$/);
    dispose();
  }
});

test('in the lazy window a device gets through, and the checker tells', async () => {
  const spec = { iommu: { flush: 'lazy' }, checker: { onError: 'collect' } } as const;
  const { made, fn, mapping, write, dispose } = await booted(spec);
  assert.ok(fn.dma.unmap(mapping).done);
  write();
  assert.match(made.checker?.reports[0]?.message ?? '', /has ended.*unmapped at booted|has ended/);
  dispose();
});

test('a machine that unmaps in another way is refused', () => {
  const spec = { rootPorts: [], iommu: { flush: 'never' as never } };
  assert.throws(() => machine(spec), /iommu\.flush: expected strict or lazy, got 'never'/);
});

test('scenarios are checked', async () => {
  const { code } = await runEmu('run', 'scenarios/hello-edu.ts');
  assert.equal(code, 0);
});
