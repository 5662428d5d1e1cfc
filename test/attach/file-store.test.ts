/**
 * Stores on files: bytes, holes, sizes, and what is refused.
 * @module
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileStore } from '#emu/attach/file-store.ts';
import { StoreStatus } from '#emu/memory/block-store.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { temporaryFolder } from '#test/support/temporary-folder.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const MiB = 2 ** 20;

const pattern = (size: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => 1 + ((i * 7 + (i >> 8)) % 255));

function fileOf(context: TestContext, bytes: Uint8Array): string {
  const path = join(temporaryFolder(context), 'disk.img');
  writeFileSync(path, bytes);
  return path;
}

function bytesOf(memory: SparseMemory, at: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  memory.read(at, bytes);
  return bytes;
}

test('reads blocks anywhere, across chunks and at odd addresses', (context) => {
  const bytes = pattern(3 * 256 * 1024 + 512);
  const store = fileStore(fileOf(context, bytes), { readOnly: true });
  const memory = new SparseMemory(4 * MiB, 'memory');
  assert.equal(store.blockCount, bytes.length / 512);
  assert.equal(store.read(1, store.blockCount - 1, memory, 4100), StoreStatus.Ok);
  assert.deepEqual(bytesOf(memory, 4100, bytes.length - 512), bytes.subarray(512));
  store.close();
});

test('the last partial block is filled with zeros', (context) => {
  const store = fileStore(fileOf(context, pattern(4097)), { readOnly: true, blockSizeBytes: 4096 });
  const memory = new SparseMemory(MiB, 'memory');
  memory.fill(0, 8192, 0xff);
  assert.equal(store.blockCount, 2);
  assert.equal(store.read(0, 2, memory, 0), StoreStatus.Ok);
  assert.deepEqual(bytesOf(memory, 0, 4097), pattern(4097));
  assert.deepEqual(bytesOf(memory, 4097, 4095), new Uint8Array(4095));
});

test('an empty file has no blocks, and a size makes it a drive of zeros', (context) => {
  const path = fileOf(context, new Uint8Array(0));
  assert.equal(fileStore(path).blockCount, 0);
  const store = fileStore(path, { sizeBytes: 1000 });
  const memory = new SparseMemory(MiB, 'memory');
  assert.equal(store.blockCount, 2);
  assert.equal(store.read(0, 2, memory, 0), StoreStatus.Ok);
  assert.equal(memory.residentBytes, 0);
});

test('writes in place, and Flush succeeds', (context) => {
  const path = fileOf(context, pattern(8192));
  const store = fileStore(path);
  const memory = new SparseMemory(MiB, 'memory');
  memory.write(100, pattern(1024));
  assert.equal(store.write(3, 2, memory, 100), StoreStatus.Ok);
  assert.equal(store.flush(), StoreStatus.Ok);
  const expected = pattern(8192);
  expected.set(pattern(1024), 3 * 512);
  assert.deepEqual(new Uint8Array(readFileSync(path)), expected);
});

test('zeros overwrite what is not zero', (context) => {
  const path = fileOf(context, pattern(8192));
  const memory = new SparseMemory(MiB, 'memory');
  assert.equal(fileStore(path).write(8, 8, memory, 0), StoreStatus.Ok);
  const expected = pattern(8192);
  expected.fill(0, 4096);
  assert.deepEqual(new Uint8Array(readFileSync(path)), expected);
});

test('holes stay holes when read and when written', (context) => {
  const path = fileOf(context, pattern(512));
  truncateSync(path, 64 * MiB);
  const store = fileStore(path);
  const memory = new SparseMemory(64 * MiB, 'memory');
  assert.equal(store.read(0, store.blockCount, memory, 0), StoreStatus.Ok);
  assert.equal(memory.residentBytes, 4096);
  assert.equal(store.write(0, store.blockCount, memory, 0), StoreStatus.Ok);
  assert.equal(store.flush(), StoreStatus.Ok);
  assert.ok(statSync(path).blocks * 512 < MiB, 'the file is no longer sparse');
  assert.equal(statSync(path).size, 64 * MiB);
});

test('reading zeros clears what was in memory', (context) => {
  const path = fileOf(context, new Uint8Array(8192));
  const memory = new SparseMemory(MiB, 'memory');
  memory.fill(0, 16384, 0xee);
  assert.equal(fileStore(path).read(0, 16, memory, 100), StoreStatus.Ok);
  assert.deepEqual(bytesOf(memory, 100, 8192), new Uint8Array(8192));
  assert.equal(memory.getU8(99), 0xee);
  assert.equal(memory.getU8(100 + 8192), 0xee);
});

test('a file grows only to its last byte that is not zero', (context) => {
  const path = fileOf(context, pattern(1));
  const store = fileStore(path, { sizeBytes: MiB });
  const memory = new SparseMemory(MiB, 'memory');
  memory.write(0, pattern(1));
  assert.equal(store.write(0, 1, memory, 0), StoreStatus.Ok);
  assert.equal(statSync(path).size, 1);
  memory.setU8(600, 5);
  assert.equal(store.write(0, 2, memory, 0), StoreStatus.Ok);
  assert.equal(statSync(path).size, 601);
});

test('a read-only store refuses writes and leaves the file alone', (context) => {
  const path = fileOf(context, pattern(512));
  const store = fileStore(path, { readOnly: true });
  assert.equal(store.write(0, 1, new SparseMemory(MiB, 'memory'), 0), StoreStatus.ReadOnly);
  assert.equal(store.flush(), StoreStatus.Ok);
  assert.deepEqual(new Uint8Array(readFileSync(path)), pattern(512));
});

test('blocks outside the drive are an error status', (context) => {
  const store = fileStore(fileOf(context, pattern(512)));
  const memory = new SparseMemory(MiB, 'memory');
  assert.equal(store.read(1, 1, memory, 0), StoreStatus.ReadError);
  assert.equal(store.write(0, 2, memory, 0), StoreStatus.WriteError);
});

test('what the system refuses is a status', (context) => {
  const store = fileStore(fileOf(context, pattern(512)));
  const memory = new SparseMemory(MiB, 'memory');
  memory.setU8(0, 1);
  store.close();
  store.close();
  assert.equal(store.read(0, 1, memory, 0), StoreStatus.ReadError);
  assert.equal(store.write(0, 1, memory, 0), StoreStatus.WriteError);
  assert.equal(store.flush(), StoreStatus.WriteError);
});

test('refuses what is no fitting file', (context) => {
  const path = fileOf(context, pattern(1025));
  const folder = join(temporaryFolder(context), 'folder');
  mkdirSync(folder);
  const refused: readonly (readonly [message: RegExp, attempt: () => void])[] = [
    [/does not exist/, () => fileStore(`${path}.none`)],
    [/a folder/, () => fileStore(folder)],
    [/something else/, () => fileStore('/dev/null')],
    [/at most 1024 bytes .* got 1025/, () => fileStore(path, { sizeBytes: 1024 })],
    [/expected 512 or 4096, got 513/, () => fileStore(path, { blockSizeBytes: 513 })],
  ];
  for (const [message, attempt] of refused) throwsCode('USAGE', message, attempt);
});
