/**
 * SGLs: what the driver writes, and what other drivers might, the controller's walk turns into the same bytes in the
 * same order; and every way in which an SGL can be wrong. [NVME] 4.1.2
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommandFields } from '#devices/nvme/driver/command-fields.ts';
import { DataRanges } from '#devices/nvme/driver/data-ranges.ts';
import { sglObjection, writeSgl } from '#devices/nvme/driver/sgls.ts';
import { WalkStep } from '#devices/nvme/model/descriptor-walk.ts';
import { DISCARD, type RunList } from '#devices/nvme/model/run-list.ts';
import { MAX_DESCRIPTORS, SglWalk } from '#devices/nvme/model/sgl-walk.ts';
import { Psdt, SglDescriptor, SglId, SglType, Sqe, SqeFlags, Status } from '#devices/nvme/spec.ts';
import { SglSupport } from '#devices/nvme/spec-identify.ts';
import { ADDR_LIMIT, dmaAddr, physAddr } from '#emu/base/units.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';

const { DataBlock, BitBucket, Segment, LastSegment } = SglType;
const { SIZE } = SglDescriptor;
type Piece = readonly [address: number, size: number];
type Descriptor = readonly [type: number, address: number, length: number, subtype?: number];

/** Segments by address, as a device reads them. */
class Segments {
  readonly memory = new SparseMemory(2 ** 34, 'segments');

  put(at: number, descriptors: readonly Descriptor[]): number {
    for (const [i, [type, address, length, subtype = 0]] of descriptors.entries()) {
      const to = at + i * SIZE;
      this.memory.setU64(to, address);
      this.memory.setU32(to + 8, length);
      this.memory.setU32(to + 12, (SglId.TYPE.of(type) | SglId.SUBTYPE.of(subtype)) * 2 ** 24);
    }
    return descriptors.length * SIZE;
  }

  /** Walks from a descriptor of a command; `split` cuts what is fetched before it is given to the walk. */
  walk(
    sizeBytes: number,
    first: Descriptor,
    { outward = true, dwords = false, split = 4096 } = {},
  ): { step: WalkStep; walk: SglWalk; fetched: Piece[] } {
    const it = new SglWalk(undefined, dwords);
    const fetched: Piece[] = [];
    const command = new DataView(new ArrayBuffer(SIZE));
    const [type, address, length, subtype = 0] = first;
    SglDescriptor.address.set(command, 0, dmaAddr(address));
    SglDescriptor.length.set(command, 0, length);
    SglDescriptor.id.set(command, 0, SglId.TYPE.of(type) | SglId.SUBTYPE.of(subtype));
    const [lo, hi, third, fourth] = [0, 4, 8, 12].map((at) => command.getUint32(at, true));
    let step = it.begin(sizeBytes, outward, lo!, hi!, third!, fourth!);
    while (step === WalkStep.List) {
      const { listAddress, listBytes } = it;
      fetched.push([listAddress, listBytes]);
      const bytes = new Uint8Array(listBytes);
      this.memory.read(listAddress, bytes);
      const view = new DataView(bytes.buffer);
      for (let done = 0; done < listBytes && step === WalkStep.List; done += split) {
        step = it.list(view, done, Math.min(split, listBytes - done));
      }
    }
    return { step, walk: it, fetched };
  }

  /** The status of an SGL that must be refused. */
  refused(sizeBytes: number, first: Descriptor, options = {}): Status {
    const { step, walk } = this.walk(sizeBytes, first, options);
    assert.equal(step, WalkStep.Invalid);
    return walk.status;
  }

  dispose(): void {
    this.memory.dispose();
  }
}

const runsOf = (runs: RunList): Piece[] =>
  Array.from({ length: runs.count }, (_, i) => [runs.address(i), runs.sizeBytes(i)]);

/** Adjacent pieces joined, as runs have them: buckets are pieces at DISCARD, which is its own neighbour. */
function joined(pieces: readonly Piece[]): Piece[] {
  const runs: [number, number][] = [];
  for (const [address, size] of pieces) {
    const last = runs.at(-1);
    if (last && last[0] + last[1] === address) last[1] += size;
    else runs.push([address, size]);
  }
  return runs;
}

const sum = (pieces: readonly Piece[]): number =>
  pieces.reduce((total, [, size]) => total + size, 0);

const piece = fc.tuple(
  fc.oneof(fc.integer({ min: 0, max: 2 ** 40 }), fc.constant(ADDR_LIMIT - 2 ** 20)),
  fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.constantFrom(1, 511, 512, 4096, 65536)),
);
const pieces = fc.array(piece, { minLength: 1, maxLength: 700, size: 'max' });

// ---------------------------------------------------------------- the driver's SGLs

const LIST = physAddr(0x10_0000);
const LIST_DMA = dmaAddr(0x2_0010_0000);

test('what the driver describes, the walk finds: the ranges exactly, in order', () => {
  fc.assert(
    fc.property(pieces, fc.constantFrom(SIZE, 48, 1024, 4096), (ranges, split) => {
      const host = new SparseMemory(2 ** 24, 'driver lists');
      const data = new DataRanges();
      for (const [address, size] of ranges) data.append(dmaAddr(address), size);
      const list = { memory: host, address: LIST, dma: LIST_DMA, sizeBytes: 16384 };
      assert.equal(sglObjection(data, list, SglSupport.Byte), null);
      const fields = new CommandFields().clear(2);
      writeSgl(data, list, fields);
      const entry = new DataView(new ArrayBuffer(Sqe.SIZE));
      fields.encode(entry, 0, 1);
      assert.equal(SqeFlags.PSDT.get(Sqe.flags.get(entry, 0)), Psdt.Sgl);
      assert.equal(Sqe.mptr.get(entry, 0), 0);
      const device = new Segments();
      const image = new Uint8Array(ranges.length * SIZE);
      host.read(LIST, image);
      device.memory.write(LIST_DMA, image);
      const first: Descriptor = [
        SglId.TYPE.get(SglDescriptor.id.get(entry, Sqe.prp1.at)),
        SglDescriptor.address.get(entry, Sqe.prp1.at),
        SglDescriptor.length.get(entry, Sqe.prp1.at),
      ];
      assert.equal(first[0], ranges.length === 1 ? DataBlock : LastSegment);
      const { step, walk, fetched } = device.walk(sum(ranges), first, { split });
      assert.equal(step, WalkStep.Done);
      assert.deepEqual(runsOf(walk.runs), joined(ranges));
      assert.equal(sum(fetched), ranges.length === 1 ? 0 : ranges.length * SIZE);
      host.dispose();
      device.dispose();
    }),
    { numRuns: 60 },
  );
});

test('what an SGL of the driver cannot describe: too many ranges, bytes for a drive of dwords', () => {
  const memory = new SparseMemory(2 ** 20, 'lists');
  const list = { memory, address: physAddr(0), dma: LIST_DMA, sizeBytes: 4096 };
  const data = new DataRanges();
  for (let i = 0; i < 256; i++) data.append(dmaAddr(8192 * i), 4);
  assert.equal(sglObjection(data, list, SglSupport.Dword), null);
  assert.equal(sglObjection(data, list, SglSupport.None), 'SGLs are off');
  data.append(dmaAddr(0x40_0000), 3);
  const room = 'there is room for 256 SGL descriptors, not for 257';
  assert.equal(sglObjection(data, list, SglSupport.Byte), room);
  data.clear();
  data.append(dmaAddr(0x1002), 4);
  assert.equal(sglObjection(data, list, SglSupport.Byte), null);
  const dwords = "the drive's SGLs take whole dwords, not range 0 with 4 bytes at 0x1002";
  assert.equal(sglObjection(data, list, SglSupport.Dword), dwords);
  memory.dispose();
});

// ---------------------------------------------------------------- any driver's SGLs

/** What a segment may hold besides data: nothing, in several ways. */
const filler = fc.constantFrom<Descriptor>([DataBlock, 0x5000, 0], [BitBucket, 0, 0]);
const item = fc.oneof(
  { weight: 6, arbitrary: piece.map(([at, size]): Descriptor => [DataBlock, at, size]) },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: 9000 }).map((size): Descriptor => [BitBucket, 0, size]),
  },
  { weight: 1, arbitrary: filler },
);

test('chained segments of any shape: data, buckets and nothing, in order', () => {
  const segments = fc.array(fc.array(item, { maxLength: 400, size: 'max' }), {
    minLength: 1,
    maxLength: 5,
  });
  fc.assert(
    fc.property(segments, fc.boolean(), (chain, outward) => {
      const device = new Segments();
      const items = chain.flat();
      // A write takes no notice of buckets.
      const described = items
        .filter(([type, , size]) => size > 0 && (type === DataBlock || outward))
        .map(([type, at, size]): Piece => [type === BitBucket ? DISCARD : at, size]);
      fc.pre(described.length > 0 && chain.at(-1)!.length > 0);
      const at = (i: number): number => 0x2_0000_0000 + 0x1_0008 * i;
      let next: Descriptor | null = null;
      for (const [i, part] of [...chain.entries()].reverse()) {
        const bytes = device.put(at(i), next ? [...part, next] : part);
        next = [i === chain.length - 1 ? LastSegment : Segment, at(i), bytes];
      }
      const { step, walk } = device.walk(sum(described), next!, { outward });
      assert.equal(step, WalkStep.Done);
      assert.deepEqual(runsOf(walk.runs), joined(described));
      device.dispose();
    }),
    { numRuns: 60 },
  );
});

test('a segment is fetched in pieces of 4 KiB at most, and only what it says it has', () => {
  const device = new Segments();
  const blocks = Array.from({ length: 300 }, (_, i): Descriptor => [DataBlock, 4096 * i, 512]);
  const length = device.put(0x1008, blocks);
  const { fetched, step } = device.walk(300 * 512, [LastSegment, 0x1008, length]);
  assert.equal(step, WalkStep.Done);
  assert.deepEqual(fetched, [
    [0x1008, 4096],
    [0x2008, 704],
  ]);
  device.dispose();
});

test('a bucket is no neighbour of an address', () => {
  const device = new Segments();
  const list: Descriptor[] = [
    [BitBucket, 0, 4096],
    [BitBucket, 0, 1],
    [DataBlock, 4096, 4096],
    [DataBlock, 0, 4096],
  ];
  const { walk } = device.walk(12289, [LastSegment, 0x1000, device.put(0x1000, list)]);
  assert.deepEqual(runsOf(walk.runs), [
    [DISCARD, 4097],
    [4096, 4096],
    [0, 4096],
  ]);
  assert.deepEqual(runsOf(device.walk(512, [BitBucket, 0, 512]).walk.runs), [[DISCARD, 512]]);
  device.dispose();
});

test('data may end in a segment that was not announced as the last', () => {
  const device = new Segments();
  const length = device.put(0x1000, [[DataBlock, 0x8000, 512]]);
  assert.equal(device.walk(512, [Segment, 0x1000, length]).step, WalkStep.Done);
  device.dispose();
});

test('lengths: too short, too long, long enough to wrap', () => {
  const device = new Segments();
  const { DataSglLengthInvalid } = Status;
  assert.equal(device.refused(512, [DataBlock, 0, 511]), DataSglLengthInvalid);
  assert.equal(device.refused(512, [DataBlock, 0, 513]), DataSglLengthInvalid);
  assert.equal(device.refused(512, [DataBlock, 0, 0]), DataSglLengthInvalid);
  assert.equal(device.refused(512, [DataBlock, 0, 0xffff_ffff]), DataSglLengthInvalid);
  assert.equal(device.refused(512, [BitBucket, 0, 513]), DataSglLengthInvalid);
  assert.equal(
    device.refused(512, [BitBucket, 0, 512], { outward: false }),
    DataSglLengthInvalid,
    'a bucket holds nothing of a write',
  );
  const long = device.put(0x1000, [
    [DataBlock, 0, 512],
    [DataBlock, 0, 1],
  ]);
  assert.equal(device.refused(512, [LastSegment, 0x1000, long]), DataSglLengthInvalid);
  const short = device.put(0x2000, [[DataBlock, 0, 511]]);
  assert.equal(device.refused(512, [LastSegment, 0x2000, short]), DataSglLengthInvalid);
  device.dispose();
});

test('types and sub types that there are not', () => {
  const device = new Segments();
  for (const type of [4, 5, 6, 7, 14, 15]) {
    assert.equal(device.refused(512, [type, 0, 512]), Status.SglDescriptorTypeInvalid);
    const bytes = device.put(0x1000, [[type, 0, 512]]);
    const inside = device.refused(512, [LastSegment, 0x1000, bytes]);
    assert.equal(inside, Status.SglDescriptorTypeInvalid);
  }
  for (const type of [DataBlock, Segment, LastSegment]) {
    assert.equal(device.refused(512, [type, 0, 512, 1]), Status.SglOffsetInvalid);
    assert.equal(device.refused(512, [type, 0, 512, 2]), Status.SglDescriptorTypeInvalid);
    assert.equal(device.refused(512, [type, 0, 512, 15]), Status.SglDescriptorTypeInvalid);
  }
  assert.equal(device.refused(512, [BitBucket, 0, 512, 1]), Status.SglDescriptorTypeInvalid);
  device.dispose();
});

test('segment descriptors: sizes, alignment, where they may stand', () => {
  const device = new Segments();
  const bytes = device.put(0x1000, [[DataBlock, 0, 512]]);
  for (const type of [Segment, LastSegment]) {
    for (const length of [0, 1, 8, 15, 17, 0xffff_ffff]) {
      const status = device.refused(512, [type, 0x1000, length]);
      assert.equal(status, Status.InvalidSglSegmentDescriptor, `${length} bytes`);
    }
    for (const offset of [1, 2, 4, 7]) {
      const status = device.refused(512, [type, 0x1000 + offset, bytes]);
      assert.equal(status, Status.InvalidSglSegmentDescriptor, `offset ${offset}`);
    }
    const link: Descriptor = [type, 0x1000, bytes];
    const inLast = device.put(0x2000, [[DataBlock, 0, 0], link]);
    const status = device.refused(512, [LastSegment, 0x2000, inLast]);
    assert.equal(status, Status.InvalidSglSegmentDescriptor, 'last in the last segment');
    const inside = device.put(0x3000, [link, [DataBlock, 0, 512]]);
    for (const outer of [Segment, LastSegment]) {
      const found = device.refused(512, [outer, 0x3000, inside]);
      assert.equal(found, Status.InvalidNumberOfSglDescriptors, 'not at the end');
    }
  }
  device.dispose();
});

test('a chain that runs in a circle ends, and so does one that never does', () => {
  const device = new Segments();
  const { InvalidNumberOfSglDescriptors } = Status;
  device.put(0x1000, [[Segment, 0x1000, SIZE]]);
  assert.equal(device.refused(512, [Segment, 0x1000, SIZE]), InvalidNumberOfSglDescriptors);
  // Memory that reads as zeros is full of empty data blocks.
  const empty: Descriptor = [LastSegment, 0x2000, 0xffff_fff0];
  assert.equal(device.refused(512, empty), InvalidNumberOfSglDescriptors);
  const exact: Descriptor = [Segment, 0x2000, (MAX_DESCRIPTORS - 1) * SIZE];
  assert.equal(device.refused(512, exact), Status.DataSglLengthInvalid, 'the most there may be');
  device.dispose();
});

test('a drive of whole dwords', () => {
  const device = new Segments();
  const dwords = { dwords: true };
  assert.equal(device.walk(512, [DataBlock, 0x1004, 512], dwords).step, WalkStep.Done);
  for (const [address, length] of [
    [0x1001, 512],
    [0x1002, 512],
    [0x1000, 510],
    [0x1000, 1],
  ] as const) {
    const status = device.refused(512, [DataBlock, address, length], dwords);
    assert.equal(status, Status.SglDataBlockGranularityInvalid);
  }
  device.dispose();
});

test('addresses beyond 2^52 become runs that nothing answers to', () => {
  const it = new SglWalk();
  assert.equal(it.begin(512, true, 0xffff_fff0, 0xffff_ffff, 512, 0), WalkStep.Done);
  assert.deepEqual(runsOf(it.runs), [[ADDR_LIMIT, 512]]);
  const segment = SglId.TYPE.of(LastSegment) * 2 ** 24;
  assert.equal(it.begin(512, true, 8, 0x10_0000, 16, segment), WalkStep.List);
  assert.equal(it.listAddress, ADDR_LIMIT);
});

test('any bytes at all end in runs for the whole data, or in one of the statuses for SGLs', () => {
  const statuses = new Set<Status>([
    Status.InvalidSglSegmentDescriptor,
    Status.InvalidNumberOfSglDescriptors,
    Status.DataSglLengthInvalid,
    Status.SglDescriptorTypeInvalid,
    Status.SglOffsetInvalid,
  ]);
  const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
  const word = fc.oneof(u32, fc.constantFrom(0, 16, 32, 512, 0x1000));
  const tail = fc.oneof(u32, fc.constantFrom(0, 0x1000_0000, 0x2000_0000, 0x3000_0000));
  const descriptor = fc.tuple(word, fc.constantFrom(0, 0, 1, 0xffff_ffff), word, tail);
  fc.assert(
    fc.property(descriptor, fc.array(descriptor, { maxLength: 40 }), (first, memory) => {
      const it = new SglWalk();
      const words = new Uint32Array(memory.flat());
      let step = it.begin(4096, true, ...first);
      for (let fetches = 0; step === WalkStep.List; fetches++) {
        assert.ok(fetches <= MAX_DESCRIPTORS);
        const bytes = new DataView(new ArrayBuffer(it.listBytes));
        const from = (it.listAddress % 4096) / 4;
        for (let i = 0; i < it.listBytes / 4; i++) {
          bytes.setUint32(4 * i, words[from + i] ?? 0xffff_ffff, true);
        }
        step = it.list(bytes, 0, it.listBytes);
      }
      if (step === WalkStep.Done) assert.equal(sum(runsOf(it.runs)), 4096);
      else assert.ok(statuses.has(it.status), `status ${it.status}`);
    }),
    { numRuns: 2000 },
  );
});
