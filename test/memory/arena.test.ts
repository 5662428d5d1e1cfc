/**
 * The arena: chunks are zeroed when reused, exhaustion and double returns are errors, copies are exact.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Arena, arena, CHUNK_SIZE } from '#emu/memory/arena.ts';
import { copyBytes } from '#emu/memory/copy-bytes.ts';

const isZero = (a: Arena, offset: number): boolean =>
  a.i32.subarray(offset / 4, (offset + CHUNK_SIZE) / 4).every((word) => word === 0);

test('a chunk given back is zeroed when it is taken again', () => {
  const small = new Arena(2 ** 24);
  const first = small.takeChunk();
  const second = small.takeChunk();
  assert.notEqual(first, second);
  assert.ok(first > 0 && first % CHUNK_SIZE === 0, 'offset 0 belongs to nobody');
  small.u8.fill(0xaa, first, first + CHUNK_SIZE);
  small.u8.fill(0xbb, second, second + CHUNK_SIZE);
  small.giveChunk(first);
  assert.equal(small.takenChunks, 1);
  assert.equal(small.takeChunk(), first);
  assert.ok(isZero(small, first));
  assert.equal(small.u8[second + 5], 0xbb);
});

test('only what was declared dirty is zeroed', () => {
  const small = new Arena(2 ** 24);
  const chunk = small.takeChunk();
  small.u8.fill(7, chunk, chunk + 8192);
  small.giveChunk(chunk, 4096);
  assert.equal(small.takeChunk(), chunk);
  assert.equal(small.u8[chunk + 4095], 0);
  assert.equal(small.u8[chunk + 4096], 7);
});

test('a chunk given back that is not taken is refused', () => {
  const small = new Arena(2 ** 24);
  const chunk = small.takeChunk();
  small.giveChunk(chunk);
  for (const bad of [chunk, chunk + 4096, 0, chunk + CHUNK_SIZE, 2 ** 40]) {
    assert.throws(() => small.giveChunk(bad), { code: 'INVARIANT' }, `${bad}`);
  }
});

test('an exhausted arena says so, and works again after a return', () => {
  const small = new Arena(2 ** 23);
  const chunks = [small.takeChunk(), small.takeChunk(), small.takeChunk()];
  assert.throws(() => small.takeChunk(), { code: 'NO_MEMORY', message: /3 chunks/ });
  small.giveChunk(chunks[1] ?? 0);
  assert.equal(small.takeChunk(), chunks[1]);
});

test('a size that the system refuses is halved until it is granted', () => {
  const granted = new Arena(2 ** 33);
  assert.equal(granted.sizeBytes, 2 ** 32);
  assert.equal(granted.u8.length, 2 ** 32);
  assert.throws(() => new Arena(-65536), { code: 'NO_MEMORY' });
});

test('copy and fill reach the upper half of the arena', { skip: arena.sizeBytes < 2 ** 32 }, () => {
  const high = 2 ** 32 - CHUNK_SIZE;
  const big = new Arena();
  big.fill(high, 0x5a, 100);
  assert.equal(big.u8[high + 99], 0x5a);
  assert.equal(big.u8[high + 100], 0);
  big.copy(high + 200, high, 50);
  assert.equal(big.view.getUint8(high + 249), 0x5a);
  assert.equal(big.i32[(high + 200) / 4], 0x5a5a_5a5a);
  assert.equal(big.u8[high + 250], 0);
});

for (const [half, start] of [
  ['lower', arena.takeChunk()],
  ['upper', arena.sizeBytes - CHUNK_SIZE],
] as const) {
  test(`copyBytes is exact at every size and alignment, ${half} half`, () => {
    const sizes = fc.oneof(fc.nat(20), fc.nat(300));
    fc.assert(
      fc.property(sizes, fc.nat(9), fc.nat(9), (size, from, to) => {
        for (let i = 0; i < 1024; i++) arena.u8[start + i] = i * 7 + 1;
        const expected = arena.u8.slice(start, start + 1024);
        expected.copyWithin(512 + to, from, from + size);
        copyBytes(start + 512 + to, start + from, size);
        assert.deepEqual(arena.u8.slice(start, start + 1024), expected);
      }),
    );
  });
}
