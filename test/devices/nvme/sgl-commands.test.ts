/**
 * Reads and writes with SGLs on raw queues: data in place through blocks, chains and buckets, and every status
 * that a bad one gets, with nothing moved. [NVME] 4.1.2, [NVMECS] 3.2
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AdminOpcode, IoOpcode, Psdt, SglType, Status } from '#devices/nvme/spec.ts';
import { IdController } from '#devices/nvme/spec-identify.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import { BLOCK, type Descriptor, NOWHERE, RawDrive, type RawQueue } from './raw-drive.ts';

const { DataBlock, BitBucket, Segment, LastSegment } = SglType;
const READ = { opcode: IoOpcode.Read, nsid: 1 } as const;
const WRITE = { opcode: IoOpcode.Write, nsid: 1 } as const;
const BOTH = ['timed', 'functional'] as const;
const MIB = 2 ** 20;

/** A drive with random content, and the content. */
function filled(options: ConstructorParameters<typeof RawDrive>[0]): {
  drive: RawDrive;
  queue: RawQueue;
  content: Uint8Array;
} {
  const store = new MemoryStore({ blockCount: 4096, blockSizeBytes: BLOCK });
  const drive = new RawDrive({ store, ...options }).start();
  const content = new Uint8Array(4096 * BLOCK);
  drive.machine.kernel.random('content').fill(content);
  store.memory.write(0, content);
  return { drive, queue: drive.ioQueue(), content };
}

/** Blocks zero-based, as CDW12 has them. */
const blocks = (bytes: number) => ({ cdw12: bytes / BLOCK - 1 });

for (const fidelity of BOTH) {
  test(`one data block in the command, at any byte (${fidelity})`, () => {
    const { drive, queue, content } = filled({ fidelity });
    const data = drive.pages(40);
    for (const [offset, size] of [
      [0, 512],
      [1, 512],
      [4095, 4096],
      [513, 131_072],
    ] as const) {
      const sgl = { address: data + offset, length: size };
      const read = { ...READ, ...blocks(size), cdw10: 3, sgl };
      assert.equal(drive.command(queue, read).code, Status.Success);
      assert.deepEqual(drive.bytes(sgl.address, size), content.slice(3 * BLOCK, 3 * BLOCK + size));
      const written = drive.scribble(sgl.address, size, `${offset}`);
      assert.equal(drive.command(queue, { ...WRITE, ...blocks(size), sgl }).code, Status.Success);
      drive.memory.fill(sgl.address, size, 0);
      assert.equal(drive.command(queue, { ...READ, ...blocks(size), sgl }).code, Status.Success);
      assert.deepEqual(drive.bytes(sgl.address, size), written);
      content.set(written);
    }
    drive.dispose();
  });

  test(`chains of segments through scattered bytes, both ways (${fidelity})`, () => {
    const { drive, queue, content } = filled({ fidelity });
    const data = drive.pages(300);
    const lists = drive.pages(20);
    const shape = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 120 });
    fc.assert(
      fc.property(shape, fc.integer({ min: 1, max: 7 }), (sizes, perSegment) => {
        const total = sizes.reduce((sum, size) => sum + size, 0);
        const size = Math.ceil(total / BLOCK) * BLOCK;
        const rest = size - total;
        const pieces = (rest > 0 ? [...sizes, rest] : sizes).map((length, i) => ({
          address: data + 8192 * i + ((37 * i) % 3000),
          length,
        }));
        const sgl = chained(drive, lists, pieces, perSegment);
        const read = { ...READ, ...blocks(size), cdw10: 1, sgl };
        assert.equal(drive.command(queue, read).code, Status.Success);
        let at = BLOCK;
        for (const { address, length } of pieces) {
          assert.deepEqual(drive.bytes(address, length), content.slice(at, at + length));
          content.set(drive.scribble(address, length, `${at}`), at);
          at += length;
        }
        assert.equal(drive.command(queue, { ...read, ...WRITE }).code, Status.Success);
        const check = { address: data, length: size };
        assert.equal(drive.command(queue, { ...read, sgl: check }).code, Status.Success);
        assert.deepEqual(drive.bytes(data, size), content.slice(BLOCK, BLOCK + size));
      }),
      { numRuns: fidelity === 'timed' ? 8 : 20 },
    );
    drive.dispose();
  });

  test(`bit buckets swallow what is read, and take no part in a write (${fidelity})`, () => {
    const { drive, queue, content } = filled({ fidelity });
    const data = drive.pages(200);
    const lists = drive.pages();
    const list = drive.putSgl(lists, [
      { type: BitBucket, address: 0, length: 700 },
      { address: data, length: 100 },
      { type: BitBucket, address: data, length: 200_000 },
      { address: data + 100, length: 924 },
    ]);
    const sgl = { type: LastSegment, address: lists, length: list };
    const size = 201_724;
    assert.equal(size % BLOCK, 508, 'the data ends in a bucket of its own');
    const end = { type: BitBucket, address: 0, length: 4 };
    drive.putSgl(lists + list, [end]);
    const read = { ...READ, ...blocks(size + 4), sgl: { ...sgl, length: list + 16 } };
    drive.memory.fill(data, 4096, 0xee);
    assert.equal(drive.command(queue, read).code, Status.Success);
    assert.deepEqual(drive.bytes(data, 100), content.slice(700, 800));
    assert.deepEqual(drive.bytes(data + 100, 924), content.slice(200_800, 201_724));
    assert.deepEqual(new Set(drive.bytes(data + 1024, 3072)), new Set([0xee]));
    const written = drive.scribble(data, 1024);
    const write = { ...WRITE, ...blocks(1024), sgl: { ...sgl, length: list + 16 } };
    assert.equal(drive.command(queue, write).code, Status.Success);
    const all = { address: data + 4096, length: 1024 };
    assert.equal(drive.command(queue, { ...READ, ...blocks(1024), sgl: all }).code, 0);
    assert.deepEqual(drive.bytes(all.address, 1024), written);
    drive.dispose();
  });

  test(`more reads into buckets than there is staging memory (${fidelity})`, () => {
    const { drive, queue, content } = filled({ fidelity });
    const data = drive.pages(256);
    const bucket = { type: BitBucket, address: 0, length: MIB };
    for (let i = 0; i < 6; i++) drive.push(queue, { ...READ, ...blocks(MIB), sgl: bucket });
    for (let i = 0; i < 3; i++) {
      drive.push(queue, { ...READ, ...blocks(MIB), sgl: { address: data, length: MIB } });
      drive.push(queue, { ...READ, ...blocks(MIB), sgl: bucket });
    }
    drive.ring(queue);
    assert.deepEqual(new Set(drive.take(queue).map(({ code }) => code)), new Set([0]));
    assert.deepEqual(drive.bytes(data, MIB), content.slice(0, MIB));
    drive.dispose();
  });

  test(`a bad SGL gets its status, do not retry, and moves nothing (${fidelity})`, () => {
    const { drive, queue } = filled({ fidelity });
    const data = drive.pages(4);
    const lists = drive.pages(4);
    const good: Descriptor = { address: data, length: 512 };
    for (const [name, expected, size, sgl] of badSgls(drive, lists, good)) {
      drive.memory.fill(data, 16384, 0x5a);
      for (const command of [READ, WRITE]) {
        const found = drive.command(queue, { ...command, ...blocks(size), sgl });
        assert.deepEqual([found.code, found.dnr], [expected, 1], `${name}, ${command.opcode}`);
      }
      assert.deepEqual(new Set(drive.bytes(data, 16384)), new Set([0x5a]), name);
    }
    const fine = drive.command(queue, { ...READ, ...blocks(512), sgl: good });
    assert.equal(fine.code, Status.Success);
    drive.dispose();
  });

  test(`segments and data where nothing answers (${fidelity})`, () => {
    const { drive, queue } = filled({ fidelity });
    const { DataTransferError, Success } = Status;
    const segment = { type: LastSegment, address: NOWHERE, length: 32 };
    const beyond = { type: Segment, address: 2 ** 52 - 8, length: 4096 };
    for (const sgl of [segment, beyond]) {
      const { code, dnr } = drive.command(queue, { ...READ, ...blocks(512), sgl });
      assert.deepEqual([code, dnr], [DataTransferError, 0]);
    }
    const sgl = { address: NOWHERE, length: 512 };
    const write = drive.command(queue, { ...WRITE, ...blocks(512), sgl });
    assert.equal(write.code, DataTransferError);
    const read = drive.command(queue, { ...READ, ...blocks(512), sgl });
    assert.equal(read.code, Success, 'posted writes are lost without a word');
    drive.dispose();
  });
}

/** Descriptors as segments of a few each, chained; gives the one for the command. */
function chained(
  drive: RawDrive,
  lists: number,
  pieces: readonly Descriptor[],
  perSegment: number,
): Descriptor {
  const groups: Descriptor[][] = [];
  for (let i = 0; i < pieces.length; i += perSegment) {
    groups.push(pieces.slice(i, i + perSegment));
  }
  let next: Descriptor | null = null;
  for (const [i, group] of [...groups.entries()].reverse()) {
    const address = lists + i * (perSegment + 1) * 16 + 8;
    const length = drive.putSgl(address, next ? [...group, next] : group);
    next = { type: i === groups.length - 1 ? LastSegment : Segment, address, length };
  }
  return next!;
}

type Bad = readonly [name: string, status: Status, sizeBytes: number, sgl: Descriptor];

/** SGLs that are wrong, each with a page of `lists` at most. */
function badSgls(drive: RawDrive, lists: number, good: Descriptor): Bad[] {
  const list = (page: number, ...descriptors: Descriptor[]): Descriptor => ({
    type: LastSegment,
    address: lists + 1024 * page,
    length: drive.putSgl(lists + 1024 * page, descriptors),
  });
  const inner = list(0, good);
  const { InvalidSglSegmentDescriptor: segment, InvalidNumberOfSglDescriptors: number } = Status;
  const { DataSglLengthInvalid: length, SglDescriptorTypeInvalid: type } = Status;
  return [
    ['too short', length, 1024, good],
    ['too long', length, 512, { ...good, length: 513 }],
    ['too long in a list', length, 512, list(1, good, { ...good, length: 1 })],
    ['too short in a list', length, 1536, list(2, good, good)],
    ['a keyed data block', type, 512, { ...good, type: 4 }],
    ['a transport data block in a list', type, 1024, list(3, good, { ...good, type: 5 })],
    ['a vendor type', type, 512, { ...good, type: 15 }],
    ['an unknown sub type', type, 512, { ...good, subtype: 10 }],
    ['an offset', Status.SglOffsetInvalid, 512, { ...good, subtype: 1 }],
    ['an empty segment', segment, 512, { ...inner, length: 0 }],
    ['half a descriptor', segment, 512, { ...inner, length: 24 }],
    ['a segment at an odd place', segment, 512, { ...inner, address: inner.address + 4 }],
    ['a segment in the last one', segment, 512, list(4, { ...inner, type: Segment })],
    ['a last segment in the last one', segment, 512, list(5, inner)],
    ['a segment before the end', number, 512, list(6, inner, good)],
    ['a circle', number, 512, { ...list(7, circle(lists + 7168)), type: Segment }],
  ];
}

const circle = (address: number): Descriptor => ({ type: Segment, address, length: 16 });

test('PSDT: what MPTR would hold is of no concern without metadata; 11b is reserved', () => {
  const { drive, queue } = filled({});
  const sgl = { address: drive.pages(), length: 512 };
  const code = (psdt: number): number =>
    drive.command(queue, { ...READ, ...blocks(512), sgl, flags: psdt << 6 }).code;
  assert.equal(code(Psdt.Sgl), Status.Success);
  assert.equal(code(Psdt.SglMetadataSgl), Status.Success);
  assert.equal(code(Psdt.Reserved), Status.InvalidField);
  const flush = { opcode: IoOpcode.Flush, nsid: 1, flags: Psdt.Sgl << 6 };
  assert.equal(drive.command(queue, flush).code, Status.Success, 'no data, nothing to describe');
  drive.dispose();
});

test('SGLS and what it promises: bytes, dwords, none', () => {
  for (const [sgl, sgls, odd, even] of [
    ['byte', 0x1_0001, Status.Success, Status.Success],
    ['dword', 0x1_0002, Status.SglDataBlockGranularityInvalid, Status.Success],
    ['none', 0, Status.InvalidField, Status.InvalidField],
  ] as const) {
    const { drive, queue } = filled({ sgl });
    const page = drive.pages();
    drive.status({ opcode: AdminOpcode.Identify, prp1: page, cdw10: 1 });
    assert.equal(drive.memory.getU32(page + IdController.SGLS.at), sgls);
    const read = (address: number): number =>
      drive.command(queue, { ...READ, ...blocks(512), sgl: { address, length: 512 } }).code;
    assert.deepEqual([read(page + 2), read(page + 4)], [odd, even], sgl);
    drive.dispose();
  }
});

test('blocks that there are not come before an SGL that is wrong', () => {
  const { drive, queue } = filled({});
  const sgl = { type: DataBlock, address: 0, length: 1 };
  const command = { ...READ, sgl };
  assert.equal(drive.command(queue, { ...command, cdw10: 4096 }).code, Status.LbaOutOfRange);
  assert.equal(drive.command(queue, { ...command, nsid: 2 }).code, Status.InvalidNamespaceOrFormat);
  drive.dispose();
});

test('a reset while segments are being fetched leaves nothing behind', () => {
  const { drive, queue } = filled({ fidelity: 'timed' });
  const lists = drive.pages(20);
  const data = drive.pages(20);
  const pieces = Array.from({ length: 32 }, (_, i) => ({ address: data + 600 * i, length: 512 }));
  const sgl = chained(drive, lists, pieces, 2);
  for (let steps = 0; steps < 12; steps++) {
    const fields = { ...READ, ...blocks(16384), sgl };
    drive.push(queue, fields);
    drive.postTail(queue);
    drive.wait(steps * 700_000);
    drive.write({ offset: 0x14 }, 0);
    drive.admin = drive.queue(0, 16);
    drive.start();
    Object.assign(queue, drive.ioQueue());
    assert.equal(drive.command(queue, fields).code, Status.Success);
  }
  drive.dispose();
});
