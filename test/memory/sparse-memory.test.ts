/**
 * Sparse memories against a map of bytes: any access, holes, page crossings and high addresses.
 * @module
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { TOO_LARGE } from '#emu/base/layout.ts';
import { arena } from '#emu/memory/arena.ts';
import { copyMemory, SparseMemory } from '#emu/memory/sparse-memory.ts';

const PAGE = 4096;
/** Everything happens in six pages at the end of the memory, so ranges meet its limit too. */
const WINDOW = 6 * PAGE;
const scratch = arena.takeChunk();
after(() => arena.giveChunk(scratch));

/** What a memory must do, as plainly as possible. */
class Model {
  readonly bytes = new Uint8Array(WINDOW);
  readonly resident = new Set<number>();

  write(at: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, at);
    this.touch(at, bytes.length);
  }
  touch(at: number, size: number): void {
    if (size === 0) return;
    for (let page = at >> 12; page <= (at + size - 1) >> 12; page++) this.resident.add(page);
  }
  discard(at: number, size: number): void {
    this.bytes.fill(0, at, at + size);
    for (let page = 0; page < 6; page++) {
      if (page * PAGE >= at && (page + 1) * PAGE <= at + size) this.resident.delete(page);
    }
  }
  /** A copy by pieces that cross no page on either side; a hole clears and frees. */
  copy(at: number, from: Model, fromAt: number, size: number): void {
    for (let done = 0; done < size; ) {
      const room = PAGE - Math.max((at + done) % PAGE, (fromAt + done) % PAGE);
      const piece = Math.min(room, size - done);
      if (from.resident.has((fromAt + done) >> 12)) {
        this.write(at + done, from.bytes.slice(fromAt + done, fromAt + done + piece));
      } else this.discard(at + done, piece);
      done += piece;
    }
  }
}

class Pair {
  readonly memory: SparseMemory;
  readonly model = new Model();
  readonly base: number;
  constructor(sizeBytes: number) {
    this.memory = new SparseMemory(sizeBytes, 'm');
    this.base = sizeBytes - WINDOW;
  }
  check(): void {
    const all = new Uint8Array(WINDOW).fill(0xee);
    this.memory.read(this.base, all);
    assert.deepEqual(all, this.model.bytes);
    assert.equal(this.memory.residentBytes, this.model.resident.size * PAGE);
    for (let page = 0; page < 6; page++) {
      const isHole = this.memory.frame(this.base + page * PAGE) === -1;
      assert.equal(isHole, !this.model.resident.has(page));
    }
  }
}

const KINDS = ['write', 'copyIn', 'copyOut', 'fill', 'zero', 'discard', 'ensure', 'copy'] as const;
type Kind = (typeof KINDS)[number];
interface Step {
  readonly kind: Kind;
  readonly at: number;
  readonly size: number;
  readonly other: number;
  readonly byte: number;
}
type Apply = (pair: Pair, from: Pair, step: Step) => void;

/** Bytes that differ from place to place. */
const pattern = ({ size, byte }: Step): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => byte + i * 3);

const STEPS: Record<Kind, Apply> = {
  write: ({ memory, model, base }, _, step) => {
    memory.write(base + step.at, pattern(step));
    model.write(step.at, pattern(step));
  },
  copyIn: ({ memory, model, base }, _, step) => {
    arena.u8.set(pattern(step), scratch + (step.byte & 3));
    memory.copyIn(base + step.at, scratch + (step.byte & 3), step.size);
    model.write(step.at, pattern(step));
  },
  copyOut: ({ memory, model, base }, _, { at, size }) => {
    arena.u8.fill(0xee, scratch, scratch + size + 1);
    memory.copyOut(base + at, scratch, size);
    const copied = arena.u8.slice(scratch, scratch + size);
    assert.deepEqual(copied, model.bytes.slice(at, at + size));
    assert.equal(arena.u8[scratch + size], 0xee);
  },
  fill: ({ memory, model, base }, _, { at, size, byte }) => {
    memory.fill(base + at, size, byte);
    model.bytes.fill(byte, at, at + size);
    if (byte !== 0) model.touch(at, size);
  },
  zero: ({ memory, model, base }, _, { at, size }) => {
    memory.fill(base + at, size, 0);
    model.bytes.fill(0, at, at + size);
  },
  discard: ({ memory, model, base }, _, { at, size }) => {
    memory.discard(base + at, size);
    model.discard(at, size);
  },
  ensure: ({ memory, model, base }, _, { at }) => {
    const offset = memory.ensureFrame(base + at);
    assert.equal(offset % PAGE, 0);
    assert.equal(offset, memory.frame(base + at));
    model.touch(at, 1);
  },
  copy: (pair, from, { at, size, other }) => {
    const fromAt = Math.min(other, WINDOW - size);
    copyMemory(pair.memory, pair.base + at, from.memory, from.base + fromAt, size);
    pair.model.copy(at, from.model, fromAt, size);
  },
};

const place = fc.oneof(
  fc.nat(WINDOW),
  fc.nat(6).map((page) => page * PAGE),
  fc.tuple(fc.nat(5), fc.nat(20)).map(([page, back]) => Math.max(0, (page + 1) * PAGE - back)),
);
const size = fc.oneof(fc.nat(20), fc.nat(300), fc.nat(3 * PAGE), fc.constantFrom(PAGE, 2 * PAGE));
const step: fc.Arbitrary<Step> = fc
  .record({
    kind: fc.constantFrom(...KINDS),
    at: place,
    size,
    other: place,
    byte: fc.nat(255),
  })
  .map((each) => ({
    ...each,
    at: Math.min(each.at, WINDOW - 1),
    size: Math.min(each.size, WINDOW - Math.min(each.at, WINDOW - 1)),
  }));

for (const [name, sizeBytes] of [
  ['of six pages', WINDOW],
  ['that ends inside a page', 2 ** 20 + 100],
  ['across leaves of the table', 2 ** 22 + 3 * PAGE],
  ['across regions of the table', 2 ** 35 + 3 * PAGE],
  ['beyond 2^31 pages', 2 ** 43 + 2 ** 35 + 3 * PAGE],
  ['of 2^52 bytes', 2 ** 52],
] as const) {
  const aligned = sizeBytes % PAGE === 0;
  test(`a memory ${name} holds what a plain array holds`, () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), step), { maxLength: 12 }), (steps) => {
        const [left, right] = [new Pair(sizeBytes), new Pair(sizeBytes)];
        for (const [isLeft, each] of steps) {
          STEPS[each.kind](isLeft ? left : right, isLeft ? right : left, each);
        }
        if (aligned) for (const pair of [left, right]) pair.check();
        else checkBytes(left);
        for (const pair of [left, right]) pair.memory.dispose();
      }),
      { numRuns: 60 },
    );
  });
}

/** Pages of the window are not those of the memory: only the bytes can be compared. */
function checkBytes({ memory, model, base }: Pair): void {
  const all = new Uint8Array(WINDOW);
  memory.read(base, all);
  assert.deepEqual(all, model.bytes);
}

test('values of every width are little-endian at every offset, page crossings included', () => {
  const memory = new SparseMemory(2 ** 40, 'm');
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  const at = fc.integer({ min: -9, max: 2 }).map((offset) => 2 ** 36 + PAGE + offset);
  const value = fc.integer({ min: 0, max: 2 ** 52 - 1 });
  fc.assert(
    fc.property(at, value, (address, stored) => {
      memory.discard(2 ** 36, 3 * PAGE);
      memory.setU64(address, stored);
      memory.read(address, bytes);
      assert.equal(view.getBigUint64(0, true), BigInt(stored));
      assert.equal(memory.getU64(address), stored);
      assert.equal(memory.getU32(address), stored % 2 ** 32);
      assert.equal(memory.getU16(address), stored % 2 ** 16);
      assert.equal(memory.getU8(address), stored % 2 ** 8);
      memory.setU32(address, 0x8765_4321);
      memory.setU16(address + 4, 0xbbaa);
      memory.setU8(address + 6, 0xcc);
      memory.setU8(address + 7, 0x1dd);
      memory.read(address, bytes);
      assert.equal(view.getBigUint64(0, true), 0xddcc_bbaa_8765_4321n);
      assert.equal(memory.getU64(address), TOO_LARGE);
      memory.setU64(address, 0);
      memory.setU8(address + 7, 1);
      assert.equal(memory.getU64(address), TOO_LARGE);
    }),
  );
  memory.dispose();
});

test('reading leaves holes, and holes read zero', () => {
  const memory = new SparseMemory(2 ** 52, 'm');
  const end = 2 ** 52;
  const values = [memory.getU8(end - 1), memory.getU16(end - 2), memory.getU32(end - 4)];
  assert.deepEqual([...values, memory.getU64(end - 8), memory.frame(5)], [0, 0, 0, 0, -1]);
  assert.equal(memory.residentBytes, 0);
});

test('the largest 64-bit value below the limit, and values above it', () => {
  const memory = new SparseMemory(PAGE, 'm');
  memory.setU64(8, 2 ** 52 - 1);
  assert.equal(memory.getU64(8), 2 ** 52 - 1);
  for (const bad of [2 ** 52, -1, Number.NaN]) {
    assert.throws(() => memory.setU64(8, bad), RangeError);
  }
  memory.setU32(12, 0x10_0000);
  assert.equal(memory.getU64(8), TOO_LARGE);
  memory.dispose();
});

test('every access beyond the memory is refused and changes nothing', () => {
  const memory = new SparseMemory(2 * PAGE, 'vram');
  const other = new SparseMemory(4 * PAGE, 'other');
  const end = 2 * PAGE;
  const refused: (() => unknown)[] = [
    () => memory.frame(end),
    () => memory.frame(-1),
    () => memory.ensureFrame(end),
    () => memory.getU8(end),
    () => memory.getU16(end - 1),
    () => memory.getU32(end - 3),
    () => memory.getU64(end - 7),
    () => memory.setU8(end, 1),
    () => memory.setU16(end - 1, 1),
    () => memory.setU32(end - 2, 1),
    () => memory.setU64(end - 4, 1),
    () => memory.read(end - 3, new Uint8Array(4)),
    () => memory.write(end - 3, new Uint8Array(4)),
    () => memory.copyIn(end - 3, scratch, 4),
    () => memory.copyOut(end - 3, scratch, 4),
    () => memory.copyOut(0, scratch, -1),
    () => memory.fill(end - 3, 4, 1),
    () => memory.discard(PAGE, PAGE + 1),
    () => memory.getU8(Number.NaN),
    () => copyMemory(memory, PAGE, other, 0, PAGE + 1),
    () => copyMemory(other, 0, memory, PAGE, PAGE + 1),
  ];
  for (const [index, access] of refused.entries()) {
    assert.throws(access, { code: 'ADDR_RANGE', message: /^vram: / }, `access ${index}`);
  }
  assert.equal(memory.residentBytes + other.residentBytes, 0);
});

test('sizes that are none are refused', () => {
  for (const bad of [-1, 0.5, 2 ** 52 + 2, Number.NaN]) {
    assert.throws(() => new SparseMemory(bad, 'x'), { code: 'ADDR_RANGE' });
  }
  assert.equal(new SparseMemory(0, 'empty').sizeBytes, 0);
});

test('dispose gives the chunks back, and what is taken later is zero', () => {
  const before = arena.takenChunks;
  const memory = new SparseMemory(2 ** 30, 'm');
  for (let page = 0; page < 1100; page++) memory.fill(page * PAGE, PAGE, 0xff);
  assert.equal(arena.takenChunks, before + 3);
  memory.dispose();
  assert.equal(arena.takenChunks, before);
  assert.equal(memory.residentBytes, 0);
  assert.equal(memory.getU32(0), 0);
  for (let page = 0; page < 1100; page++) {
    const offset = memory.ensureFrame(page * PAGE);
    assert.ok(arena.i32.subarray(offset / 4, (offset + PAGE) / 4).every((word) => word === 0));
  }
  memory.dispose();
  assert.equal(arena.takenChunks, before);
});

test('a disposed memory shares no frame with those that come after it', () => {
  const first = new SparseMemory(2 ** 20, 'first');
  const second = new SparseMemory(2 ** 20, 'second');
  first.setU8(0, 1);
  first.discard(0, PAGE);
  first.dispose();
  const taken = [0, 1, 2].map((page) => second.ensureFrame(page * PAGE));
  assert.ok(!taken.includes(first.ensureFrame(0)));
  first.dispose();
  second.dispose();
});

test('many leaves, and as many again after dispose', () => {
  const memory = new SparseMemory(2 ** 50, 'm');
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 40; i++) memory.setU32(i * 2 ** 33, i + round);
    for (let i = 0; i < 40; i++) assert.equal(memory.getU32(i * 2 ** 33), i + round);
    assert.equal(memory.residentBytes, 40 * PAGE);
    memory.dispose();
  }
});

test('discarding and clearing a huge sparse range takes no time', () => {
  const memory = new SparseMemory(2 ** 52, 'm');
  memory.setU8(2 ** 51, 1);
  memory.setU8(7, 1);
  memory.fill(0, 2 ** 52, 0);
  assert.equal(memory.getU8(2 ** 51), 0);
  assert.equal(memory.residentBytes, 2 * PAGE);
  memory.discard(0, 2 ** 52);
  assert.equal(memory.residentBytes, 0);
});
