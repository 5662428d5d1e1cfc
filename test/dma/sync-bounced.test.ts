/**
 * Sync and unmap of bounced lists: bytes go by direction, whole or in parts, to exactly where they belong; and no
 * slot is left behind.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping } from '#emu/dma/mapping.ts';
import { BounceRig, HIGH, high, low, pattern } from '#test/support/bounce-rig.ts';

const { ToDevice, FromDevice, Bidirectional } = Direction;
const KiB = 1024;

test('without a sync the CPU sees stale bytes, and so does the device', () => {
  const rig = new BounceRig();
  const list = PhyRangeList.of(HIGH, 4096);
  const [first, second, third] = [pattern(4096, 1), pattern(4096, 2), pattern(4096, 3)];
  rig.store(list, first);
  const mapping = rig.map(list, Bidirectional);
  rig.deviceWrites(mapping, 0, second);
  assert.deepEqual(rig.load(list), first, 'stale for the CPU');
  rig.device.sync(mapping, 'cpu');
  assert.deepEqual(rig.load(list), second);
  rig.store(list, third);
  assert.deepEqual(rig.deviceReads(mapping), second, 'stale for the device');
  rig.device.sync(mapping, 'device');
  assert.deepEqual(rig.deviceReads(mapping), third);
  rig.device.unmap(mapping);
  rig.dispose();
});

test('nothing moves against the direction', () => {
  const rig = new BounceRig();
  const list = PhyRangeList.of(HIGH, 4096);
  const [ours, theirs] = [pattern(4096, 1), pattern(4096, 2)];
  rig.store(list, ours);
  const out = rig.map(list, ToDevice);
  rig.deviceWrites(out, 0, theirs);
  rig.device.sync(out, 'cpu');
  rig.device.unmap(out);
  assert.deepEqual(rig.load(list), ours, 'a ToDevice mapping brings nothing back');
  const into = rig.map(list, FromDevice);
  rig.deviceWrites(into, 0, theirs);
  rig.store(list, pattern(4096, 9));
  rig.device.sync(into, 'device');
  assert.deepEqual(rig.deviceReads(into), theirs, 'a FromDevice mapping takes nothing more');
  rig.device.unmap(into);
  assert.deepEqual(rig.load(list), theirs);
  rig.dispose();
});

test('parts of a mapping give their slots back as soon as no byte of them is needed', () => {
  const rig = new BounceRig();
  const list = PhyRangeList.of(high(1000), 10_000);
  const bytes = pattern(10_000, 4);
  const mapping = rig.map(list, FromDevice);
  rig.deviceWrites(mapping, 0, bytes);
  assert.equal(rig.pool.usedSlots, 6);
  const end = (offsetBytes: number, sizeBytes: number): number => {
    assert.ok(rig.device.unmapPart(mapping, { offsetBytes, sizeBytes }).done);
    return rig.pool.usedSlots;
  };
  // The first slot has 1,048 bytes of the list.
  assert.equal(end(0, 1000), 6);
  assert.equal(end(1000, 100), 5);
  assert.equal(end(5000, 3000), 4);
  assert.equal(rig.device.liveMappings, 1);
  assert.equal(list.mappings, 1);
  assert.deepEqual(rig.load(list).subarray(5000, 8000), bytes.subarray(5000, 8000));
  rig.device.unmap(mapping);
  assert.deepEqual(rig.load(list), bytes);
  assert.deepEqual([rig.pool.usedSlots, rig.device.liveMappings, list.mappings], [0, 0, 0]);
  rig.dispose();
});

/** A list of host memory on both sides of 4 GiB, without overlaps. */
const lists = fc
  .array(
    fc.record({
      isHigh: fc.boolean(),
      offset: fc.nat({ max: 4095 }),
      size: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 20_000 })),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((pieces) => {
    const list = new PhyRangeList();
    for (const [i, { isHigh, offset, size }] of pieces.entries()) {
      const at = i * 32 * KiB + offset;
      list.appendApart(isHigh ? high(at) : low(at), size);
    }
    return list;
  });

const share = fc.double({ min: 0, max: 1, noNaN: true });
/** Part of a list, as shares of its size. */
const part = fc.tuple(share, share);
const within = (list: PhyRangeList, [from, to]: readonly [number, number]): [number, number] => {
  const [start, end] = [from, to]
    .sort((a, b) => a - b)
    .map((at) => Math.floor(at * list.sizeBytes));
  return [start!, Math.max(start! + 1, end!)];
};

const directions = fc.constantFrom(ToDevice, FromDevice, Bidirectional);
const steps = fc.array(
  fc.record({ kind: fc.constantFrom('write', 'store', 'cpu', 'device'), part }),
  { maxLength: 8 },
);

/** What both sides must see of a mapped list, byte by byte: one memory where the device has no copy. */
class TwoSides {
  readonly rig = new BounceRig();
  readonly list: PhyRangeList;
  readonly direction: Direction;
  readonly mapping: DmaMapping;
  readonly cpu: Uint8Array;
  readonly device: Uint8Array;
  readonly #isShared: readonly boolean[];

  constructor(list: PhyRangeList, direction: Direction) {
    this.list = list;
    this.direction = direction;
    this.cpu = pattern(list.sizeBytes, 1);
    this.device = this.cpu.slice();
    this.#isShared = sharedBytes(list);
    this.rig.store(list, this.cpu);
    this.mapping = this.rig.map(list, direction);
  }

  step(kind: string, start: number, end: number, seed: number): void {
    const { rig, mapping, list } = this;
    const fresh = pattern(end - start, seed);
    const range = { offsetBytes: start, sizeBytes: end - start };
    if (kind === 'write') {
      rig.deviceWrites(mapping, start, fresh);
      this.#put(fresh, this.device, this.cpu, start);
    } else if (kind === 'store') {
      rig.store(list.slice(start, end - start), fresh);
      this.#put(fresh, this.cpu, this.device, start);
    } else if (kind === 'cpu') {
      rig.device.sync(mapping, 'cpu', range);
      if (this.direction !== ToDevice) this.cpu.set(this.device.subarray(start, end), start);
    } else {
      rig.device.sync(mapping, 'device', range);
      if (this.direction !== FromDevice) this.device.set(this.cpu.subarray(start, end), start);
    }
    assert.deepEqual(rig.load(list), this.cpu);
    assert.deepEqual(rig.deviceReads(mapping), this.device);
  }

  /** Ends the mapping in parts; the CPU then has what the device wrote. */
  end(parts: readonly (readonly [number, number])[]): void {
    unmapInParts(this.rig, this.mapping, parts);
    if (this.direction !== ToDevice) this.cpu.set(this.device);
    assert.deepEqual(this.rig.load(this.list), this.cpu);
    const { pool, device } = this.rig;
    assert.deepEqual([pool.usedSlots, device.liveMappings, this.list.mappings], [0, 0, 0]);
    this.rig.dispose();
  }

  #put(fresh: Uint8Array, side: Uint8Array, other: Uint8Array, start: number): void {
    side.set(fresh, start);
    for (let i = start; i < start + fresh.length; i++) if (this.#isShared[i]) other[i] = side[i]!;
  }
}

test('bytes are right for every direction, wherever the list is cut', () => {
  fc.assert(
    fc.property(
      lists,
      directions,
      steps,
      fc.array(part, { maxLength: 4 }),
      (list, to, all, parts) => {
        const ranges = [...list];
        const sides = new TwoSides(list, to);
        assert.ok(sides.mapping.ranges.count <= list.count, 'no more segments than before');
        for (const [i, { kind, part: shares }] of all.entries()) {
          sides.step(kind, ...within(list, shares), i + 2);
        }
        sides.end(parts.map((shares) => within(list, shares)));
        assert.deepEqual([...list], ranges, 'the list is as it was');
      },
    ),
    { numRuns: 100 },
  );
});

/** Which bytes of a list the device reaches where they are. */
const sharedBytes = (list: PhyRangeList): boolean[] =>
  [...list].flatMap(({ address, length }) =>
    new Array<boolean>(length).fill(address < HIGH - 2 ** 28),
  );

/** Unmaps the parts that do not overlap earlier ones, then the rest. */
function unmapInParts(
  rig: BounceRig,
  mapping: DmaMapping,
  parts: readonly (readonly [number, number])[],
): void {
  const ended = new Array<boolean>(mapping.source.sizeBytes).fill(false);
  for (const [start, end] of parts) {
    if (ended.slice(start, end).includes(true)) continue;
    ended.fill(true, start, end);
    rig.device.unmapPart(mapping, { offsetBytes: start, sizeBytes: end - start });
  }
  if (ended.includes(false)) assert.ok(rig.device.unmap(mapping).done);
}
