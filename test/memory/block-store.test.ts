/**
 * The store in memory: blocks land where they belong, and refusals are values.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryStore, StoreStatus } from '#emu/memory/block-store.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';

const bytesOf = (memory: SparseMemory, at: number, size: number): Uint8Array => {
  const bytes = new Uint8Array(size);
  memory.read(at, bytes);
  return bytes;
};

for (const blockSizeBytes of [512, 4096]) {
  test(`writes and reads blocks of ${blockSizeBytes} bytes`, () => {
    const store = new MemoryStore({ blockCount: 100, blockSizeBytes });
    const buffer = new SparseMemory(2 ** 20, 'buffer');
    const data = Uint8Array.from({ length: 3 * blockSizeBytes }, (_, i) => i * 13);
    buffer.write(1000, data);
    assert.equal(store.write(97, 3, buffer, 1000), StoreStatus.Ok);
    assert.equal(store.flush(), StoreStatus.Ok);
    assert.deepEqual(bytesOf(store.memory, 97 * blockSizeBytes, data.length), data);
    assert.equal(store.read(98, 2, buffer, 333_333), StoreStatus.Ok);
    assert.deepEqual(bytesOf(buffer, 333_333, 2 * blockSizeBytes), data.slice(blockSizeBytes));
    assert.equal(store.blockSizeBytes * store.blockCount, store.memory.sizeBytes);
    store.close();
    buffer.dispose();
    assert.equal(store.memory.residentBytes, 0);
  });
}

test('blocks never written stay holes on both sides', () => {
  const store = new MemoryStore({ blockCount: 2 ** 40, blockSizeBytes: 4096 });
  const buffer = new SparseMemory(2 ** 20, 'buffer');
  assert.equal(store.read(2 ** 40 - 16, 16, buffer, 0), StoreStatus.Ok);
  assert.equal(store.write(5, 8, buffer, 0), StoreStatus.Ok);
  assert.equal(store.memory.residentBytes + buffer.residentBytes, 0);
});

test('blocks beyond the end, and writes to a read-only store, are refused by status', () => {
  const store = new MemoryStore({ blockCount: 10, readOnly: true });
  const writable = new MemoryStore({ blockCount: 10 });
  const buffer = new SparseMemory(2 ** 20, 'buffer');
  buffer.setU8(0, 1);
  assert.equal(store.readOnly, true);
  assert.equal(store.read(9, 2, buffer, 0), StoreStatus.ReadError);
  assert.equal(store.read(-1, 1, buffer, 0), StoreStatus.ReadError);
  assert.equal(store.write(0, 1, buffer, 0), StoreStatus.ReadOnly);
  assert.equal(writable.write(9, 2, buffer, 0), StoreStatus.WriteError);
  assert.equal(writable.readOnly, false);
  assert.equal(store.memory.residentBytes + writable.memory.residentBytes, 0);
  buffer.dispose();
});

test('sizes that are none are usage errors that name the key', () => {
  for (const blockCount of [-1, 0.5, 2 ** 50]) {
    assert.throws(() => new MemoryStore({ blockCount }), { code: 'USAGE', message: /^blockCount/ });
  }
  assert.throws(() => new MemoryStore({ blockCount: 1, blockSizeBytes: 1024 }), {
    code: 'USAGE',
    message: 'blockSizeBytes: expected 512 or 4096, got 1024',
  });
});
