/**
 * The driver's end of the command queue, against hardware that is played by hand: fences, doorbells and room.
 * [RVIOMMU] 3.1
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EmuError } from '#emu/base/errors.ts';
import { physAddr } from '#emu/base/units.ts';
import { DmaStand, STAND_REGISTERS } from '#emu/cli/dma-stand.ts';
import { CommandRing, type Invalidation } from '#emu/dma/iommu-driver/command-ring.ts';
import { IommuPort } from '#emu/dma/iommu-driver/iommu-port.ts';
import { COMMAND_BYTES } from '#emu/iommu/spec.ts';

const SETTLED_PS = 1_000_000;

/** A ring whose doorbell only notes the tail; fences are done when the test says so. */
function handmade() {
  const stand = new DmaStand();
  const doorbells: number[] = [];
  stand.mmioWrite32 = (_address, value) => {
    doorbells.push(value);
  };
  const ring = new CommandRing(new IommuPort(stand, STAND_REGISTERS), 'ring');
  const status = physAddr(ring.base + 4096);
  const done: string[] = [];
  const work = (name: string, commands = 1): Invalidation => ({
    commands,
    emit: (to) => {
      for (let i = 0; i < commands; i++) to.invalidateSpace(1);
    },
    fenced: () => done.push(name),
    failed: () => done.push(`${name} failed`),
  });
  const settle = () => stand.kernel.runUntil(stand.kernel.now + SETTLED_PS);
  const fenceData = (entry: number) =>
    stand.memory.getU32(physAddr(ring.base + entry * COMMAND_BYTES + 4));
  const fence = (data: number) => {
    stand.memory.setU32(status, data);
    settle();
  };
  return { stand, ring, doorbells, done, work, settle, fence, fenceData };
}

test('work of one instant shares a fence and a doorbell; later work has its own', () => {
  const { ring, doorbells, done, work, settle, fence, fenceData, stand } = handmade();
  ring.submit(work('a'));
  ring.submit(work('b', 2));
  assert.deepEqual(doorbells, [], 'before the instant is over');
  settle();
  assert.deepEqual(doorbells, [4]);
  assert.equal(fenceData(3), 1);
  ring.submit(work('c'));
  settle();
  assert.deepEqual(doorbells, [4, 6]);
  assert.equal(fenceData(5), 2);
  assert.deepEqual(done, []);
  fence(1);
  assert.deepEqual(done, ['a', 'b']);
  assert.equal(ring.outstanding, 1);
  fence(2);
  assert.deepEqual(done, ['a', 'b', 'c']);
  assert.equal(ring.outstanding, 0);
  stand.dispose();
});

test('work that finds the ring full goes in when fences have freed their entries, in order', () => {
  const { ring, doorbells, done, work, settle, fence, stand } = handmade();
  const names = Array.from({ length: 40 }, (_, i) => `w${i}`);
  for (const name of names) ring.submit(work(name, 16));
  settle();
  // 15 times 16 commands and a fence fit 256 entries, one of which stays free.
  assert.deepEqual(doorbells, [241]);
  for (let data = 1; data <= 3; data++) fence(data);
  assert.deepEqual(done, names);
  assert.equal(doorbells.length, 3);
  stand.dispose();
});

test('a queue that has stopped fails what is in it, what waits, and what comes', () => {
  const { ring, done, work, settle, stand } = handmade();
  for (let i = 0; i < 17; i++) ring.submit(work(`w${i}`, 16));
  ring.stop(new EmuError('INVARIANT', 'stopped'));
  ring.submit(work('late'));
  settle();
  assert.deepEqual(done, [...Array.from({ length: 17 }, (_, i) => `w${i} failed`), 'late failed']);
  stand.dispose();
});
