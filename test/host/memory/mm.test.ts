/**
 * Host memory: whole zeroed pages, alignment, freed bytes gone, pinned ranges inside DRAM only.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { offsetBy, physAddr } from '#emu/base/units.ts';
import { HostMemory } from '#emu/host/memory/mm.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';

const DRAM = physAddr(0x8000_0000);
const MiB = 2 ** 20;

const setUp = () => {
  const memory = new SparseMemory(DRAM + 16 * MiB, 'host');
  return { memory, mm: new HostMemory(memory, { base: DRAM, sizeBytes: 16 * MiB }) };
};

describe('host memory', () => {
  it('hands out whole pages, aligned as asked', () => {
    const { mm } = setUp();
    const small = mm.allocate(1);
    const aligned = mm.allocate(5000, 2 * MiB);
    assert.equal(small % 4096, 0);
    assert.equal(aligned % (2 * MiB), 0);
    assert.deepEqual([mm.usedBytes, mm.allocations], [3 * 4096, 2]);
    mm.free(small, 1);
    mm.free(aligned, 5000);
    assert.deepEqual([mm.usedBytes, mm.allocations], [0, 0]);
  });

  it('forgets bytes that are freed', () => {
    const { mm, memory } = setUp();
    const address = mm.allocate(8192);
    memory.setU32(address, 0x1234_5678);
    assert.equal(memory.residentBytes, 4096);
    mm.free(address, 8192);
    assert.equal(memory.residentBytes, 0);
    assert.equal(memory.getU32(mm.allocate(8192)), 0);
  });

  it('refuses wrong frees, wrong sizes and too much', () => {
    const { mm } = setUp();
    const address = mm.allocate(4096);
    mm.free(address, 4096);
    assert.throws(() => mm.free(address, 4096), { code: 'INVARIANT' });
    assert.throws(() => mm.allocate(0), { code: 'INVARIANT' });
    assert.throws(() => mm.allocate(32 * MiB), { code: 'NO_MEMORY' });
  });

  it('pins a range as one entry, inside DRAM', () => {
    const { mm } = setUp();
    const address = offsetBy(mm.allocate(8192), 100);
    const list = mm.pin(address, 5000);
    assert.deepEqual([list.count, list.address(0), list.length(0)], [1, address, 5000]);
    assert.throws(() => mm.pin(physAddr(0), 4096), { code: 'INVARIANT' });
    assert.throws(() => mm.pin(offsetBy(DRAM, 16 * MiB - 4096), 8192), { code: 'INVARIANT' });
  });
});
