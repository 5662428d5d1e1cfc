/**
 * Page spans: no overlap, alignment, joining on free, refusal of wrong frees, flat cost.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PageAllocator } from '#emu/host/memory/page-allocator.ts';

const PAGE = 4096;
const BASE = 0x8000_0000;

interface Live {
  readonly address: number;
  readonly size: number;
}

/** Allocates unless memory is full, and checks that the span is aligned and free. */
function take(allocator: PageAllocator, live: Live[], size: number, align: number): void {
  takeBelow(allocator, live, size, align);
}

/** As {@link take}, below a limit; null when there is no room, which must be true. */
function takeBelow(
  allocator: PageAllocator,
  live: Live[],
  size: number,
  align: number,
  limit: number = Number.POSITIVE_INFINITY,
): Live | null {
  let address: number;
  try {
    address = allocator.allocate(size, align, limit);
  } catch {
    const end = Math.min(limit, BASE + allocator.sizeBytes) - size;
    for (let at = Math.ceil(BASE / align) * align; at <= end; at += align) {
      const isTaken = live.some(
        (span) => span.address < at + size && at < span.address + span.size,
      );
      assert.ok(isTaken, `there was room at ${at}`);
    }
    return null;
  }
  assert.equal(address % align, 0);
  assert.ok(address >= BASE && address + size <= BASE + allocator.sizeBytes);
  const clash = live.find(
    (other) => address < other.address + other.size && other.address < address + size,
  );
  assert.equal(clash, undefined);
  const made = { address, size };
  live.push(made);
  return made;
}

describe('page allocator', () => {
  it('never overlaps, aligns as asked, and is whole again after everything is freed', () => {
    const step = fc.record({
      pages: fc.integer({ min: 1, max: 70 }),
      align: fc.integer({ min: 0, max: 8 }),
      freeAt: fc.option(fc.nat(50)),
    });
    const check = (steps: { pages: number; align: number; freeAt: number | null }[]): void => {
      const allocator = new PageAllocator(BASE, 2048 * PAGE);
      const live: Live[] = [];
      for (const { pages, align, freeAt } of steps) {
        take(allocator, live, pages * PAGE, PAGE * 2 ** align);
        const victim = freeAt === null ? undefined : live.splice(freeAt % live.length, 1)[0];
        if (victim) allocator.free(victim.address, victim.size);
      }
      assert.equal(allocator.count, live.length);
      for (const { address, size } of live) allocator.free(address, size);
      assert.equal(allocator.usedBytes, 0);
      assert.equal(allocator.allocate(2048 * PAGE, PAGE), BASE);
    };
    fc.assert(fc.property(fc.array(step, { maxLength: 120 }), check), { numRuns: 60 });
  });

  it('keeps to a limit, wherever the free spans are', () => {
    const step = fc.record({
      pages: fc.integer({ min: 1, max: 40 }),
      align: fc.integer({ min: 0, max: 6 }),
      limit: fc.integer({ min: 1, max: 600 }),
      freeAt: fc.option(fc.nat(50)),
    });
    type Step = { pages: number; align: number; limit: number; freeAt: number | null };
    const check = (steps: Step[]): void => {
      const allocator = new PageAllocator(BASE, 512 * PAGE);
      const live: Live[] = [];
      for (const { pages, align, limit, freeAt } of steps) {
        const end = BASE + limit * PAGE;
        const last = takeBelow(allocator, live, pages * PAGE, PAGE * 2 ** align, end);
        if (last !== null) assert.ok(last.address + last.size <= end, `beyond ${limit}`);
        const victim = freeAt === null ? undefined : live.splice(freeAt % live.length, 1)[0];
        if (victim) allocator.free(victim.address, victim.size);
      }
    };
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), check), { numRuns: 60 });
    const allocator = new PageAllocator(BASE, 8 * PAGE);
    assert.equal(allocator.allocate(PAGE, PAGE, BASE + PAGE), BASE);
    assert.throws(() => allocator.allocate(PAGE, PAGE, BASE + PAGE), /and below 0x80001000 do not/);
    assert.equal(allocator.allocate(PAGE, PAGE), BASE + PAGE);
  });

  it('finds the one span that fits when memory is nearly full', () => {
    const allocator = new PageAllocator(BASE, 100 * PAGE);
    const first = allocator.allocate(37 * PAGE, PAGE);
    allocator.allocate(63 * PAGE, PAGE);
    allocator.free(first, 37 * PAGE);
    assert.equal(allocator.allocate(37 * PAGE, PAGE), first);
    assert.throws(() => allocator.allocate(PAGE, PAGE), { code: 'NO_MEMORY' });
  });

  it('aligns to large powers of two within a huge space', () => {
    const allocator = new PageAllocator(BASE, 2 ** 44);
    assert.equal(allocator.allocate(PAGE, PAGE), BASE);
    assert.equal(allocator.allocate(2 ** 40, 2 ** 40), 2 ** 40);
    assert.equal(allocator.allocate(PAGE, PAGE) < 2 ** 40, true);
  });

  it('refuses a second free, a part and a stranger', () => {
    const allocator = new PageAllocator(BASE, 100 * PAGE);
    const address = allocator.allocate(4 * PAGE, PAGE);
    assert.throws(() => allocator.free(address, PAGE), { code: 'INVARIANT', message: /has 16384/ });
    assert.throws(() => allocator.free(address + PAGE, PAGE), { code: 'INVARIANT' });
    allocator.free(address, 4 * PAGE);
    assert.throws(() => allocator.free(address, 4 * PAGE), {
      code: 'INVARIANT',
      message: /freed but not allocated/,
    });
  });

  it('reuses freed spans however many are allocated', () => {
    const allocator = new PageAllocator(BASE, 2 ** 34);
    const addresses: number[] = [];
    for (let i = 0; i < 50_000; i++) addresses.push(allocator.allocate(PAGE, PAGE));
    for (let i = 0; i < 50_000; i += 2) allocator.free(addresses[i]!, PAGE);
    const again = new Set(addresses.filter((_, i) => i % 2 === 0));
    for (let i = 0; i < 25_000; i++) assert.ok(again.delete(allocator.allocate(PAGE, PAGE)));
    assert.equal(allocator.usedBytes, 50_000 * PAGE);
  });
});
