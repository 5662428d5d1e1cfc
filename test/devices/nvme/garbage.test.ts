/**
 * Whatever a guest writes into registers, doorbells, queues and lists, the drive answers as hardware or not at
 * all, and never throws; a reset always brings it back. [NVME] 9.1
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AdminOpcode, Property } from '#devices/nvme/spec.ts';
import { RawDrive, type RawQueue } from './raw-drive.ts';

const u32 = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.constantFrom(0, 1, 2, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
);

/** Sixteen dwords, often with an opcode that exists and addresses that are nearly right. */
const entry = fc
  .record({
    opcode: fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 255 })),
    words: fc.array(u32, { minLength: 16, maxLength: 16 }),
    near: fc.constantFrom('no' as const, 'prp' as const, 'sgl' as const),
    offset: fc.integer({ min: 0, max: 8191 }),
    nsid: fc.constantFrom(0, 1, 1, 1, 0xffff_ffff),
  })
  .map(({ opcode, words, near, offset, nsid }) => (base: number): number[] => {
    const out = words.with(0, ((words[0]! & 0xffff_0000) | opcode) >>> 0);
    if (near === 'no') return out;
    const address = base + (offset & ~3);
    const head = [out[0]!, nsid, 0, 0, 0, 0, address, 0];
    if (near === 'prp') return [...head, base + (offset & ~7), 0, ...out.slice(10)];
    // Commands of one block, and descriptors of each type; what segments hold is what was scribbled last.
    const sgl = ((out[0]! & 0xffff_0003) | (opcode & 3) | 0x4000) >>> 0;
    const type = (out[9]! & 0x3000_0000) >>> 0;
    return [sgl, 1, 0, 0, 0, 0, address & ~7, 0, offset & 0xff0 || 512, type, 0, 0, 0, 0, 0, 0];
  });

const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('entry' as const), entry, io: fc.boolean() }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      offset: fc.oneof(
        fc.constantFrom(0x14, 0x1c, 0x24, 0x28, 0x2c, 0x30, 0x34),
        fc.integer({ min: 0, max: 0x1040 }),
      ),
      size: fc.constantFrom(1 as const, 2 as const, 4 as const),
      value: u32,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('doorbell' as const),
      index: fc.integer({ min: 0, max: 12 }),
      value: fc.oneof(fc.integer({ min: 0, max: 16 }), u32),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('scribble' as const), seed: u32 }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('segments' as const), seed: u32 }) },
);

function putEntry(drive: RawDrive, queue: RawQueue, words: readonly number[]): void {
  for (const [i, word] of words.entries()) {
    drive.memory.setU32(queue.sq + 64 * queue.tail + 4 * i, word);
  }
  queue.tail = (queue.tail + 1) % queue.entries;
  drive.ring(queue);
  drive.take(queue);
}

/** Two pages of descriptors that point to one another and to pages behind. */
function putSegments(drive: RawDrive, data: number, seed: number): void {
  const dice = drive.machine.kernel.random(`segments ${seed}`);
  const descriptors = Array.from({ length: 512 }, () => ({
    type: dice.below(8) > 5 ? dice.below(6) : 0,
    address: data + 8 * dice.below(2048),
    length: dice.below(3) * 16 * dice.below(20),
  }));
  drive.putSgl(data, descriptors);
}

type Step = typeof action extends fc.Arbitrary<infer T> ? T : never;

function act(drive: RawDrive, io: RawQueue, data: number, step: Step): void {
  if (step.kind === 'entry') putEntry(drive, step.io ? io : drive.admin, step.entry(data));
  else if (step.kind === 'doorbell') drive.write({ offset: 0x1000 + 4 * step.index }, step.value);
  else if (step.kind === 'scribble') drive.scribble(data, 8192, `${step.seed}`);
  else if (step.kind === 'segments') putSegments(drive, data, step.seed);
  else {
    // The CPU port wants natural alignment.
    const offset = step.offset - (step.offset % step.size);
    drive.writeBytes(offset, step.size, step.value >>> (32 - 8 * step.size));
  }
}

for (const fidelity of ['timed', 'functional'] as const) {
  test(`garbage is answered or ignored (${fidelity})`, () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 60, size: 'max' }), (actions) => {
        const drive = new RawDrive({ fidelity }).start();
        const io = drive.ioQueue(1, 8);
        const data = drive.pages(300);
        for (const step of actions) act(drive, io, data, step);
        drive.write(Property.Cc, 0);
        drive.admin = drive.queue(0, 16);
        drive.start();
        assert.equal(drive.csts & 3, 1);
        assert.equal(drive.status({ opcode: AdminOpcode.GetFeatures, cdw10: 7 }), 0);
        drive.dispose();
      }),
      { numRuns: 40 },
    );
  });
}
