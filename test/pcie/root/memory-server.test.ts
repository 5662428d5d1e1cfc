/** Host memory as a server: latency, bandwidth shared by all, and what it moved. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DEFAULT_MEMORY_LATENCY_PS,
  MemoryCounter,
  MemoryServer,
} from '#emu/pcie/root/memory-server.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';

const TIMING = { latencyPs: 1000, bytesPerSecond: 1e9 };
const PS_PER_BYTE = 1000;

test('reads wait for what is before them, and take the latency on top', () => {
  const clock = new Float64Array([5000]);
  const server = new MemoryServer(clock, TIMING);
  assert.equal(server.readPs(100), 100 * PS_PER_BYTE + 1000);
  assert.equal(server.readPs(50), 150 * PS_PER_BYTE + 1000);
  clock[0] = 5000 + 100 * PS_PER_BYTE;
  assert.equal(server.readPs(1), 51 * PS_PER_BYTE + 1000);
  clock[0] = 1e9;
  assert.equal(server.readPs(1), PS_PER_BYTE + 1000);
});

test('writes keep their buffer only while the queue is long', () => {
  const server = new MemoryServer(new Float64Array([7]), TIMING);
  assert.equal(server.writePs(200), 0);
  assert.equal(server.writePs(3), 3 * PS_PER_BYTE);
  assert.equal(server.readPs(0), 203 * PS_PER_BYTE + 1000);
});

test('defaults, and bytes by direction and purpose', () => {
  const server = new MemoryServer(new Float64Array(1));
  assert.equal(server.readPs(0), DEFAULT_MEMORY_LATENCY_PS);
  server.count(true, Purpose.Data, 7);
  server.count(false, Purpose.Data, 5);
  server.count(true, Purpose.Control, 3);
  server.count(false, Purpose.Control, 1);
  const { dataRead, dataWritten, controlRead, controlWritten } = MemoryCounter;
  const order = [dataRead, dataWritten, controlRead, controlWritten];
  assert.deepEqual(
    order.map((slot) => server.counters[slot]),
    [5, 7, 1, 3],
  );
});
