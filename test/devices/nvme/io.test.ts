/**
 * Read, Write and Flush on raw queues: data in place, PRPs of every kind, ranges, errors. [NVMECS] 3.2, [NVME] 4.1.1
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdminOpcode, IoOpcode, Status } from '#devices/nvme/spec.ts';
import { LogPage } from '#devices/nvme/spec-logs.ts';
import { type BlockStore, MemoryStore, StoreStatus } from '#emu/memory/block-store.ts';
import { BLOCK, type Fields, NOWHERE, RawDrive, type RawQueue } from './raw-drive.ts';

const { Read, Write, Flush } = IoOpcode;
const READ = { opcode: Read, nsid: 1 } as const;
const WRITE = { opcode: Write, nsid: 1 } as const;

/** A store that answers what it is told to. */
class FaultyStore extends MemoryStore {
  readFault: StoreStatus = StoreStatus.Ok;
  writeFault: StoreStatus = StoreStatus.Ok;
  flushFault: StoreStatus = StoreStatus.Ok;
  /** Reads that succeed before the fault. */
  good = 0;
  override read(...args: Parameters<BlockStore['read']>): StoreStatus {
    if (this.readFault === StoreStatus.Ok || this.good-- > 0) return super.read(...args);
    return this.readFault;
  }
  override write(...args: Parameters<BlockStore['write']>): StoreStatus {
    return this.writeFault || super.write(...args);
  }
  override flush(): StoreStatus {
    return this.flushFault;
  }
}

/** Scattered pages in reverse order, and PRPs that describe `size` bytes from `offset` of the first. */
function scatter(drive: RawDrive, size: number, offset = 0, listOffset = 0) {
  const count = Math.ceil((size + offset) / 4096);
  const block = drive.pages(2 * count);
  const pages = Array.from({ length: count }, (_, i) => block + 8192 * (count - 1 - i));
  const [first = 0, ...rest] = pages;
  const prp1 = first + offset;
  if (rest.length < 2) return { pages, prp1, prp2: rest[0] ?? 0 };
  const lists = drive.pages(Math.ceil(rest.length / 511) + 1);
  let at = lists + listOffset;
  for (const [i, page] of rest.entries()) {
    if (at % 4096 === 4088 && i < rest.length - 1) {
      drive.memory.setU64(at, at + 8);
      at += 8;
    }
    drive.memory.setU64(at, page);
    at += 8;
  }
  return { pages, prp1, prp2: lists + listOffset };
}

/** Bytes as the command's pages hold them. */
function gather(drive: RawDrive, pages: number[], size: number, offset: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let done = 0;
  for (const [i, page] of pages.entries()) {
    const start = i === 0 ? offset : 0;
    const length = Math.min(4096 - start, size - done);
    bytes.set(drive.bytes(page + start, length), done);
    done += length;
  }
  return bytes;
}

for (const fidelity of ['timed', 'functional'] as const) {
  for (const [size, offset, listOffset] of [
    [512, 0, 0],
    [512, 3584, 0],
    [1024, 3584, 0],
    [4096, 4, 0],
    [8192, 0, 0],
    [8192, 512, 0],
    [12288, 0, 0xff0],
    [16384, 0, 0xff8],
    [65536, 2048, 0x800],
    [1_048_576, 0, 0],
    [1_048_576, 2048, 0xf00],
  ] as const) {
    test(`${size} bytes at offset ${offset}, list at ${listOffset} (${fidelity})`, () => {
      const store = new MemoryStore({ blockCount: 8192, blockSizeBytes: BLOCK });
      const drive = new RawDrive({ fidelity, store }).start();
      const queue = drive.ioQueue();
      const expected = new Uint8Array(size);
      drive.machine.kernel.random('blocks').fill(expected);
      store.memory.write(7 * BLOCK, expected);
      const command = { nsid: 1, cdw10: 7, cdw12: size / BLOCK - 1 };
      const { pages, ...prps } = scatter(drive, size, offset, listOffset);
      assert.equal(drive.command(queue, { opcode: Read, ...command, ...prps }).code, 0);
      assert.deepEqual(gather(drive, pages, size, offset), expected);
      const to = { ...command, cdw10: 2048 };
      assert.equal(drive.command(queue, { opcode: Write, ...to, ...prps }).code, 0);
      const written = new Uint8Array(size + BLOCK);
      store.memory.read(2048 * BLOCK, written);
      assert.deepEqual(written.subarray(0, size), expected);
      assert.deepEqual(new Set(written.subarray(size)), new Set([0]), 'nothing after it');
      drive.dispose();
    });
  }
}

test('a read touches exactly its bytes', () => {
  const drive = new RawDrive().start();
  const queue = drive.ioQueue();
  const page = drive.pages(3);
  drive.memory.fill(page, 3 * 4096, 0xee);
  assert.equal(drive.command(queue, { ...READ, prp1: page + 4096 + 1024, cdw12: 1 }).code, 0);
  assert.deepEqual(new Set(drive.bytes(page, 4096 + 1024)), new Set([0xee]));
  assert.deepEqual(new Set(drive.bytes(page + 5120, 1024)), new Set([0]));
  assert.deepEqual(new Set(drive.bytes(page + 6144, 6144)), new Set([0xee]));
  drive.dispose();
});

test('MDTS: as much as it says, not a block more; larger than the staging memory too', () => {
  const blockCount = 200_000;
  const store = new MemoryStore({ blockCount, blockSizeBytes: BLOCK });
  const drive = new RawDrive({ store, maxTransferBytes: 8 * 2 ** 20 }).start();
  const queue = drive.ioQueue();
  const expected = new Uint8Array(8 * 2 ** 20);
  drive.machine.kernel.random('blocks').fill(expected);
  store.memory.write(BLOCK, expected);
  const { pages, ...prps } = scatter(drive, expected.length, 512);
  const command = { ...READ, ...prps, cdw10: 1 };
  assert.equal(drive.command(queue, { ...command, cdw12: 16383 }).code, 0);
  assert.ok(gather(drive, pages, expected.length, 512).every((byte, i) => byte === expected[i]));
  assert.equal(drive.command(queue, { ...command, cdw12: 16384 }).code, Status.InvalidField);
  const { staging } = drive.controller.drive;
  assert.ok(staging.residentBytes < 3 * 2 ** 20, `${staging.residentBytes} bytes resident`);
  drive.dispose();
});

test('block ranges: last block, one more, and 64-bit numbers that wrap', () => {
  const drive = new RawDrive().start();
  const queue = drive.ioQueue();
  const page = drive.pages();
  const code = (cdw10: number, cdw11: number, cdw12: number, opcode: number = Read): number =>
    drive.command(queue, { opcode, nsid: 1, prp1: page, cdw10, cdw11, cdw12 }).code;
  for (const opcode of [Read, Write]) {
    assert.equal(code(4095, 0, 0, opcode), 0);
    assert.equal(code(4092, 0, 3, opcode), 0);
    assert.equal(code(4093, 0, 3, opcode), Status.LbaOutOfRange);
    assert.equal(code(4096, 0, 0, opcode), Status.LbaOutOfRange);
    assert.equal(code(0xffff_ffff, 0xffff_ffff, 1, opcode), Status.LbaOutOfRange);
    assert.equal(code(0xffff_fffc, 0xffff_ffff, 7, opcode), Status.LbaOutOfRange);
    assert.equal(code(0, 1, 0, opcode), Status.LbaOutOfRange);
    assert.equal(code(0, 0x0080_0000, 0, opcode), Status.LbaOutOfRange);
    assert.equal(code(0, 0x8000_0000, 0, opcode), Status.LbaOutOfRange);
  }
  drive.dispose();
});

test('a drive larger than 2^32 blocks: its last block', () => {
  const store = new MemoryStore({ blockCount: 2 ** 40, blockSizeBytes: 4096 });
  const drive = new RawDrive({ store }).start();
  const queue = drive.ioQueue();
  const page = drive.pages();
  const expected = drive.scribble(page, 4096);
  const last = { prp1: page, cdw10: 0xffff_ffff, cdw11: 0xff };
  assert.equal(drive.command(queue, { ...WRITE, ...last }).code, 0);
  drive.memory.fill(page, 4096, 0);
  assert.equal(drive.command(queue, { ...READ, ...last }).code, 0);
  assert.deepEqual(drive.bytes(page, 4096), expected);
  assert.equal(drive.command(queue, { ...READ, ...last, cdw12: 1 }).code, Status.LbaOutOfRange);
  drive.dispose();
});

test('namespaces: only the one there is; Flush takes the broadcast value too', () => {
  const drive = new RawDrive().start();
  const queue = drive.ioQueue();
  const prp1 = drive.pages();
  const code = (opcode: number, nsid: number): number =>
    drive.command(queue, { opcode, nsid, prp1 }).code;
  for (const nsid of [0, 2, 0xffff_fffe, 0xffff_ffff]) {
    assert.equal(code(Read, nsid), Status.InvalidNamespaceOrFormat);
    assert.equal(code(Write, nsid), Status.InvalidNamespaceOrFormat);
  }
  assert.equal(code(Flush, 1), 0);
  assert.equal(code(Flush, 0xffff_ffff), 0);
  assert.equal(code(Flush, 0), Status.InvalidNamespaceOrFormat);
  assert.equal(code(Flush, 2), Status.InvalidNamespaceOrFormat);
  drive.dispose();
});

test('a read-only namespace is write protected', () => {
  const store = new MemoryStore({ blockCount: 64, blockSizeBytes: BLOCK, readOnly: true });
  const drive = new RawDrive({ store }).start();
  const queue = drive.ioQueue();
  const prp1 = drive.pages();
  assert.equal(drive.command(queue, { ...READ, prp1 }).code, 0);
  const before = drive.machine.fabric.delivered;
  assert.equal(drive.command(queue, { ...WRITE, prp1 }).code, Status.NamespaceWriteProtected);
  // SQE doorbell, its read and completion, CQE, interrupt, CQE doorbell: no data.
  assert.ok(drive.machine.fabric.delivered - before <= 7);
  assert.equal(drive.command(queue, { ...WRITE, prp1, cdw10: 64 }).code, Status.LbaOutOfRange);
  drive.dispose();
});

const faults: readonly (readonly [
  what: string,
  fault: Partial<Pick<FaultyStore, 'readFault' | 'writeFault' | 'flushFault'>>,
  fields: Fields,
  code: number,
  dnr: number,
])[] = [
  ['a read error', { readFault: StoreStatus.ReadError }, READ, Status.UnrecoveredReadError, 1],
  ['a write error', { writeFault: StoreStatus.WriteError }, WRITE, Status.WriteFault, 1],
  ['a full store', { writeFault: StoreStatus.OutOfSpace }, WRITE, Status.CapacityExceeded, 1],
  [
    'a store found read-only',
    { writeFault: StoreStatus.ReadOnly },
    WRITE,
    Status.NamespaceWriteProtected,
    1,
  ],
  [
    'a flush that fails',
    { flushFault: StoreStatus.WriteError },
    { opcode: Flush, nsid: 1 },
    Status.WriteFault,
    1,
  ],
];

for (const [what, fault, fields, code, dnr] of faults) {
  test(`${what} ends the command with its status, and the next one works`, () => {
    const store = Object.assign(new FaultyStore({ blockCount: 64, blockSizeBytes: BLOCK }), fault);
    const drive = new RawDrive({ store }).start();
    const queue = drive.ioQueue();
    const prp1 = drive.pages();
    const completion = drive.command(queue, { ...fields, prp1 });
    assert.deepEqual([completion.code, completion.dnr], [code, dnr]);
    store.readFault = StoreStatus.Ok;
    store.writeFault = StoreStatus.Ok;
    store.flushFault = StoreStatus.Ok;
    assert.equal(drive.command(queue, { ...fields, prp1 }).code, 0);
    drive.dispose();
  });
}

test('a read error in the middle of a large read, with others waiting for staging memory', () => {
  const store = new FaultyStore({ blockCount: 65536, blockSizeBytes: BLOCK });
  const drive = new RawDrive({ store, fidelity: 'timed' }).start();
  const queue = drive.ioQueue(1, 64);
  const { pages: _, ...prps } = scatter(drive, 2 ** 20);
  store.good = 5;
  store.readFault = StoreStatus.ReadError;
  for (let i = 0; i < 40; i++) drive.push(queue, { ...READ, ...prps, cdw12: 2047 });
  drive.ring(queue);
  const codes = drive.take(queue).map(({ code }) => code);
  assert.equal(codes.length, 40);
  assert.deepEqual(new Set(codes), new Set([Status.UnrecoveredReadError]));
  store.readFault = StoreStatus.Ok;
  assert.equal(drive.command(queue, { ...READ, ...prps, cdw12: 2047 }).code, 0);
  drive.dispose();
});

test('large writes that share staging memory, some of which fail', () => {
  const store = new MemoryStore({ blockCount: 2 ** 17, blockSizeBytes: BLOCK });
  const drive = new RawDrive({ store, fidelity: 'timed' }).start();
  const queue = drive.ioQueue(1, 64);
  const data = drive.pages(256);
  const expected = drive.scribble(data, 2 ** 20);
  const good = drive.pages();
  const bad = drive.pages();
  for (let i = 1; i < 256; i++) {
    drive.memory.setU64(good + 8 * (i - 1), data + 4096 * i);
    drive.memory.setU64(bad + 8 * (i - 1), i % 17 === 5 ? NOWHERE : data + 4096 * i);
  }
  const wanted = Array.from({ length: 40 }, (_, i) => {
    const prp2 = i % 3 === 1 ? bad : good;
    const command = { ...WRITE, prp1: data, prp2, cdw10: 2048 * i, cdw12: 2047 };
    return [drive.push(queue, command), prp2 === bad ? Status.DataTransferError : 0];
  });
  drive.ring(queue);
  const taken = drive.take(queue).map(({ cid, code }) => [cid, code]);
  assert.deepEqual(
    taken.sort(([a = 0], [b = 0]) => a - b),
    wanted,
  );
  const bytes = new Uint8Array(2 ** 20);
  for (let i = 0; i < 40; i += 3) {
    store.memory.read(2 ** 20 * i, bytes);
    assert.ok(bytes.every((byte, at) => byte === expected[at]));
  }
  drive.dispose();
});

/** A command and what it answers, then that the queue still works. */
function refuses(drive: RawDrive, queue: RawQueue, fields: Fields, code: number): void {
  const completion = drive.command(queue, fields);
  assert.equal(completion.code, code);
  assert.equal(drive.csts, 1);
}

for (const fidelity of ['timed', 'functional'] as const) {
  test(`data and lists where nothing answers (${fidelity})`, () => {
    const drive = new RawDrive({ fidelity }).start();
    const queue = drive.ioQueue();
    const page = drive.pages(2);
    const list = drive.pages();
    const error = Status.DataTransferError;
    refuses(drive, queue, { ...WRITE, prp1: NOWHERE }, error);
    refuses(drive, queue, { ...WRITE, prp1: page, prp2: NOWHERE, cdw12: 15 }, error);
    refuses(drive, queue, { ...WRITE, prp1: page, prp2: NOWHERE, cdw12: 31 }, error);
    refuses(drive, queue, { ...READ, prp1: page, prp2: NOWHERE, cdw12: 31 }, error);
    drive.memory.setU64(list, page + 4096);
    drive.memory.setU64(list + 8, NOWHERE);
    refuses(drive, queue, { ...WRITE, prp1: page, prp2: list, cdw12: 23 }, error);
    assert.equal(drive.command(queue, { ...WRITE, prp1: NOWHERE }).dnr, 0, 'may be tried again');
    // Posted writes that nobody answers to are lost; the command cannot know.
    refuses(drive, queue, { ...READ, prp1: NOWHERE }, 0);
    refuses(drive, queue, { ...READ, prp1: 0 }, 0);
    drive.dispose();
  });
}

test('PRPs beyond 2^52', () => {
  const drive = new RawDrive().start();
  const queue = drive.ioQueue();
  const far = (fields: Fields, at: 24 | 32): Fields => {
    // The rig writes addresses below 2^52 only, so the upper half is put in afterwards.
    const entry = queue.sq + queue.tail * 64;
    const cid = drive.push(queue, fields);
    queue.tail = (queue.tail + queue.entries - 1) % queue.entries;
    drive.memory.setU32(entry + at + 4, 0xfff0_0000);
    return { ...fields, cid };
  };
  const submit = (fields: Fields, at: 24 | 32): number => {
    far(fields, at);
    queue.tail = (queue.tail + 1) % queue.entries;
    drive.ring(queue);
    return drive.take(queue)[0]?.code ?? -1;
  };
  const page = drive.pages();
  assert.equal(submit({ ...WRITE, prp1: 0x1000 }, 24), Status.DataTransferError);
  assert.equal(
    submit({ ...WRITE, prp1: page, prp2: 0x2000, cdw12: 15 }, 32),
    Status.DataTransferError,
  );
  assert.equal(
    submit({ ...WRITE, prp1: page, prp2: 0x2000, cdw12: 31 }, 32),
    Status.DataTransferError,
  );
  assert.equal(submit({ ...READ, prp1: 0x1000 }, 24), 0);
  assert.equal(drive.csts, 1);
  drive.dispose();
});

test('a failed write leaves the blocks as they were', () => {
  const store = new MemoryStore({ blockCount: 64, blockSizeBytes: BLOCK });
  store.memory.fill(0, 4096, 0x5a);
  const drive = new RawDrive({ store }).start();
  const queue = drive.ioQueue();
  assert.equal(
    drive.command(queue, { ...WRITE, prp1: NOWHERE, cdw12: 7 }).code,
    Status.DataTransferError,
  );
  const bytes = new Uint8Array(4096);
  store.memory.read(0, bytes);
  assert.deepEqual(new Set(bytes), new Set([0x5a]));
  drive.dispose();
});

test('a drive told to take data from its own registers ends the command and works on', () => {
  const drive = new RawDrive({ fidelity: 'timed' }).start();
  const queue = drive.ioQueue();
  // Whether the request comes back down is the root complex's decision.
  const { code } = drive.command(queue, { ...WRITE, prp1: drive.bar });
  assert.ok(code === 0 || code === Status.DataTransferError);
  assert.equal(drive.csts, 1);
  assert.equal(drive.command(queue, { opcode: Flush, nsid: 1 }).code, 0);
  drive.dispose();
});

test('the error log names queue, command and block of a failure', () => {
  const drive = new RawDrive().start();
  const queue = drive.ioQueue(2, 8);
  const cid = drive.push(queue, { ...READ, cdw10: 0x1234_5678 });
  drive.ring(queue);
  drive.take(queue);
  const page = drive.pages();
  const cdw10 = LogPage.Error | (15 << 16);
  drive.status({ opcode: AdminOpcode.GetLogPage, nsid: 0, prp1: page, cdw10 });
  assert.equal(drive.memory.getU16(page + 8), 2);
  assert.equal(drive.memory.getU16(page + 10), cid);
  assert.equal(drive.memory.getU32(page + 16), 0x1234_5678);
  assert.equal(drive.memory.getU32(page + 24), 1);
  drive.dispose();
});
