/**
 * Slots of a bounce pool against a plain model: what is handed out is free, in phase and inside one group; what is
 * given back is joined; a refusal means that nothing fits.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EmuError } from '#emu/base/errors.ts';
import { BounceSlots, MAX_SLOTS } from '#emu/dma/providers/bounce-slots.ts';

const isInvariant = (error: unknown): boolean =>
  error instanceof EmuError && error.code === 'INVARIANT';

/** Whether `count` free slots in a row start in phase somewhere. */
function fits(taken: readonly boolean[], count: number, phase: number, align: number): boolean {
  return taken.some((_, first) => {
    const isInPhase = (first - phase) % align === 0;
    const isInGroup = (first % MAX_SLOTS) + count <= MAX_SLOTS;
    return isInPhase && isInGroup && !taken.slice(first, first + count).includes(true);
  });
}

test('slots are handed out in phase, never twice, and whenever they fit', () => {
  const request = fc.record({
    count: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: MAX_SLOTS })),
    align: fc.constantFrom(1, 2, 2, 2, 4, 32, 128),
    phase: fc.nat({ max: 127 }),
    /** Which of the pieces to give back before. */
    back: fc.option(fc.nat()),
  });
  fc.assert(
    fc.property(fc.array(request, { maxLength: 60 }), (requests) => {
      const slots = new BounceSlots(2 * MAX_SLOTS);
      const taken = new Array<boolean>(slots.count).fill(false);
      const pieces: [first: number, count: number][] = [];
      for (const { count, align, phase, back } of requests) {
        if (back !== null && pieces.length > 0) {
          const [[first, size]] = pieces.splice(back % pieces.length, 1) as [[number, number]];
          slots.give(first, size);
          taken.fill(false, first, first + size);
        }
        const inPhase = phase % align;
        const first = slots.take(count, inPhase, align);
        assert.equal(first >= 0, fits(taken, count, inPhase, align));
        if (first < 0) continue;
        assert.equal((first - inPhase) % align, 0);
        assert.equal(Math.floor(first / MAX_SLOTS), Math.floor((first + count - 1) / MAX_SLOTS));
        assert.ok(!taken.slice(first, first + count).includes(true));
        taken.fill(true, first, first + count);
        pieces.push([first, count]);
        assert.equal(slots.used, taken.filter(Boolean).length);
      }
      for (const [first, size] of pieces) slots.give(first, size);
      assert.equal(slots.used, 0);
      assert.deepEqual(
        [slots.take(MAX_SLOTS, 0, 128), slots.take(MAX_SLOTS, 0, 128)].sort(),
        [0, 128],
      );
    }),
    { numRuns: 300 },
  );
});

test('a piece can be given back in parts, each once', () => {
  const slots = new BounceSlots(MAX_SLOTS);
  const first = slots.take(10, 0, 1);
  slots.give(first + 3, 4);
  assert.equal(slots.used, 6);
  assert.throws(() => slots.give(first, 10), isInvariant);
  slots.give(first, 3);
  slots.give(first + 7, 3);
  assert.equal(slots.take(MAX_SLOTS, 0, 1), 0);
  assert.throws(() => slots.give(MAX_SLOTS - 1, 2), isInvariant);
});

test('pools are whole groups of slots', () => {
  for (const count of [0, 64, 129]) assert.throws(() => new BounceSlots(count), isInvariant);
});

test('the shortest run that is long enough is used', () => {
  const slots = new BounceSlots(MAX_SLOTS);
  const pieces = [4, 1, 8, 1].map((count) => slots.take(count, 0, 1));
  slots.give(pieces[2]!, 8);
  slots.give(pieces[0]!, 4);
  assert.equal(slots.take(3, 0, 1), pieces[0]);
  assert.equal(slots.take(6, 0, 1), pieces[2]);
});

test('a pool with every second slot free has no room in phase, and takes what is in phase', () => {
  const slots = new BounceSlots(1024);
  const firsts = Array.from({ length: 512 }, () => slots.take(1, 0, 2));
  assert.deepEqual([slots.take(1, 0, 2), slots.take(2, 1, 2), slots.used], [-1, -1, 512]);
  const odd = Array.from({ length: 512 }, () => slots.take(1, 1, 2));
  assert.equal(new Set([...firsts, ...odd]).size, 1024);
  assert.equal(slots.take(1, 0, 1), -1);
});
