/**
 * How the driver describes data: the choice between PRPs and SGLs, what neither can do, and lists with gaps and of
 * mixed memory through the whole machine. [NVME] 4.1
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommandFields } from '#devices/nvme/driver/command-fields.ts';
import { DataRanges, RangeReader } from '#devices/nvme/driver/data-ranges.ts';
import { type DescriptorPolicy, describe } from '#devices/nvme/driver/descriptors.ts';
import { type NvmeDrive, nvme, openNvme, SglSupport } from '#devices/nvme/index.ts';
import { WalkStep } from '#devices/nvme/model/descriptor-walk.ts';
import { PrpWalk } from '#devices/nvme/model/prp-walk.ts';
import type { RunList } from '#devices/nvme/model/run-list.ts';
import { SglWalk } from '#devices/nvme/model/sgl-walk.ts';
import { Sqe } from '#devices/nvme/spec.ts';
import { dmaAddr, offsetBy, type PhysAddr, physAddr } from '#emu/base/units.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { machine } from '#emu/host/machine.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { Bench, BLOCK } from './drive-bench.ts';

const BOTH = ['timed', 'functional'] as const;
const PAGE = 4096;
const KIB = 1024;
type Piece = readonly [address: number, size: number];

const AUTO: DescriptorPolicy = {
  sgl: SglSupport.Byte,
  preferSgl: false,
  sglThresholdBytes: 32 * KIB,
};
const PRPS: DescriptorPolicy = { ...AUTO, sgl: SglSupport.None };
const SGLS: DescriptorPolicy = { ...AUTO, preferSgl: true };
const POLICIES = [AUTO, PRPS, SGLS, { ...AUTO, sgl: SglSupport.Dword }];

const LIST = physAddr(0x10_0000);
const LIST_DMA = dmaAddr(0x2_0010_0000);

function dataOf(pieces: readonly Piece[]): DataRanges {
  const data = new DataRanges();
  for (const [address, size] of pieces) data.append(dmaAddr(address), size);
  return data;
}

/** Describes pieces and lets the controller's walk read that: what it finds, or why there is nothing. */
function found(
  pieces: readonly Piece[],
  policy: DescriptorPolicy,
): { kind: 'prp' | 'sgl'; runs: Piece[] } | string {
  const memory = new SparseMemory(2 ** 24, 'lists');
  const list = { memory, address: LIST, dma: LIST_DMA, sizeBytes: 16384 };
  const data = dataOf(pieces);
  const fields = new CommandFields().clear(2);
  const refusal = describe(data, policy, list, fields);
  if (refusal !== null) return refusal;
  const entry = new DataView(new ArrayBuffer(Sqe.SIZE));
  fields.encode(entry, 0, 1);
  const walk = fields.isSgl
    ? new SglWalk(undefined, policy.sgl === SglSupport.Dword)
    : new PrpWalk();
  const [a, b, c, d] = [0, 4, 8, 12].map((at) => entry.getUint32(Sqe.prp1.at + at, true));
  const size = data.sizeBytes;
  let step =
    walk instanceof SglWalk
      ? walk.begin(size, true, a!, b!, c!, d!)
      : walk.begin(PAGE, size, a!, b!, c!, d!);
  while (step === WalkStep.List) {
    const { listAddress, listBytes } = walk;
    assert.ok(listAddress >= LIST_DMA && listAddress + listBytes <= LIST_DMA + list.sizeBytes);
    const bytes = new Uint8Array(listBytes);
    memory.read(listAddress - LIST_DMA + LIST, bytes);
    step = walk.list(new DataView(bytes.buffer), 0, listBytes);
  }
  memory.dispose();
  assert.equal(step, WalkStep.Done, `status ${walk.status}`);
  return { kind: fields.isSgl ? 'sgl' : 'prp', runs: runsOf(walk.runs) };
}

const runsOf = (runs: RunList): Piece[] =>
  Array.from({ length: runs.count }, (_, i) => [runs.address(i), runs.sizeBytes(i)]);

function joined(pieces: readonly Piece[]): Piece[] {
  const runs: [number, number][] = [];
  for (const [address, size] of pieces) {
    const last = runs.at(-1);
    if (last && last[0] + last[1] === address) last[1] += size;
    else runs.push([address, size]);
  }
  return runs;
}

/** What PRPs can say, told from the bytes: whole pages but for the first one's start and the last one's end. */
function isPages(pieces: readonly Piece[]): boolean {
  const runs = joined(pieces);
  const aligned = runs.every(([address, size], i) => {
    const startsWell = i === 0 ? address % 4 === 0 : address % PAGE === 0;
    return startsWell && (i === runs.length - 1 || (address + size) % PAGE === 0);
  });
  return aligned;
}

/** Lists that are mostly of whole pages, often follow on from one another, and now and then have gaps. */
const length = fc.oneof(
  fc.constantFrom(PAGE, 2 * PAGE, 16 * PAGE, 512, 4),
  fc.integer({ min: 1, max: 20_000 }),
);
const lists = fc
  .array(
    fc.record({
      page: fc.integer({ min: 1, max: 2 ** 28 }),
      follows: fc.boolean(),
      offset: fc.oneof(
        { weight: 5, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: 4095 }) },
      ),
      length,
    }),
    { minLength: 1, maxLength: 60 },
  )
  .map((parts) => {
    let end = 0;
    return parts.map(({ page, follows, offset, length: size }): Piece => {
      const address = follows && end > 0 ? end : page * PAGE + offset;
      end = address + size;
      return [address, size];
    });
  });

test('whatever the list and the policy: the ranges exactly, in order, or a reason', () => {
  const seen = { prp: 0, sgl: 0, refused: 0 };
  fc.assert(
    fc.property(lists, fc.constantFrom(...POLICIES), (pieces, policy) => {
      const result = found(pieces, policy);
      const dwords = pieces.every(([address, size]) => address % 4 === 0 && size % 4 === 0);
      const hasSgl = policy.sgl === SglSupport.Byte || (policy.sgl === SglSupport.Dword && dwords);
      if (typeof result === 'string') {
        seen.refused++;
        assert.ok(!isPages(pieces) && !hasSgl, result);
        assert.match(result, /^range \d+ .*, which PRPs cannot describe, and /);
        return;
      }
      seen[result.kind]++;
      assert.deepEqual(result.runs, joined(pieces));
      if (result.kind === 'prp') assert.ok(isPages(pieces));
      if (policy === SGLS) assert.equal(result.kind, 'sgl');
      if (policy === PRPS) assert.equal(result.kind, 'prp');
    }),
    { numRuns: 600 },
  );
  for (const [kind, count] of Object.entries(seen)) assert.ok(count > 50, `${kind}: ${count}`);
});

test('the choice is that of Linux: gaps, one large range, large ranges on average', () => {
  const kind = (policy: DescriptorPolicy, ...pieces: Piece[]): string => {
    const result = found(pieces, policy);
    return typeof result === 'string' ? 'refused' : result.kind;
  };
  const pages = (count: number, pagesEach: number): Piece[] =>
    Array.from({ length: count }, (_, i) => [2 ** 20 * (i + 1), PAGE * pagesEach]);
  assert.equal(kind(AUTO, [0x1000, 2 * PAGE]), 'prp', 'two pages');
  assert.equal(kind(AUTO, [0x1004, 2 * PAGE]), 'sgl', 'two pages that touch three');
  assert.equal(kind(PRPS, [0x1004, 2 * PAGE]), 'prp', 'without SGLs by a list');
  assert.equal(kind(AUTO, [0x1001, 512]), 'sgl', 'an odd start');
  assert.equal(kind(AUTO, ...pages(8, 7)), 'prp', '28 KiB on average');
  assert.equal(kind(AUTO, ...pages(8, 8)), 'sgl', '32 KiB on average');
  assert.equal(
    kind({ ...AUTO, sglThresholdBytes: Number.POSITIVE_INFINITY }, ...pages(8, 8)),
    'prp',
  );
  assert.equal(kind(AUTO, [0x1000, 512], [0x3000, 512]), 'sgl', 'a gap');
  assert.equal(kind(PRPS, [0x1000, 512], [0x3000, 512]), 'refused');
  assert.equal(kind(SGLS, [0x1000, 512]), 'sgl');
  const many: Piece[] = Array.from({ length: 1025 }, (_, i) => [8192 * (i + 1), PAGE]);
  assert.equal(kind(SGLS, ...many), 'prp', 'more ranges than a segment has room for');
  const gaps = many.map(([address]): Piece => [address, 512]);
  const room = 'there is room for 1024 SGL descriptors, not for 1025';
  assert.match(String(found(gaps, SGLS)), new RegExp(`PRPs cannot describe, and ${room}$`));
});

test('a reader cuts a list into commands: all of it, once, in order', () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 30_000 }), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(lists, cuts, fc.nat(9000), (pieces, sizes, skip) => {
      const list = new DmaRangeList();
      for (const [address, size] of pieces) list.appendApart(dmaAddr(address), size);
      const offset = Math.min(skip, list.sizeBytes);
      const reader = new RangeReader();
      reader.start(list, offset);
      const data = new DataRanges();
      const seen: Piece[] = [[0, offset]];
      let left = list.sizeBytes - offset;
      for (const size of [...sizes, list.sizeBytes]) {
        reader.take(data, size);
        assert.equal(data.sizeBytes, Math.min(size, left));
        left -= data.sizeBytes;
        for (let i = 0; i < data.count; i++) seen.push([data.address(i), data.length(i)]);
      }
      const tail = [...list.slice(offset, list.sizeBytes - offset)];
      assert.deepEqual(
        joined(seen.slice(1)),
        joined(tail.map(({ address, length: size }): Piece => [address, size])),
      );
    }),
    { numRuns: 100 },
  );
});

// ---------------------------------------------------------------- through the machine

/** Places in a pool of pages, disjoint: sizes and offsets of any bytes, which together are whole blocks. */
const gapped = fc
  .array(fc.record({ offset: fc.nat(4095), size: fc.integer({ min: 1, max: 9000 }) }), {
    minLength: 1,
    maxLength: 40,
  })
  .map((parts) => {
    const total = parts.reduce((sum, { size }) => sum + size, 0);
    const rest = (BLOCK - (total % BLOCK)) % BLOCK;
    const all = rest === 0 ? parts : [...parts, { offset: 1, size: rest }];
    return all.map(({ offset, size }, i) => [16384 * i + offset, size] as const);
  });

for (const fidelity of BOTH) {
  for (const iommu of [false, true]) {
    const name = `${fidelity}, ${iommu ? 'IOMMU' : 'direct'}`;
    test(`lists with gaps at any byte, both ways (${name})`, async () => {
      const bench = await Bench.open({ fidelity, iommu });
      const { drive, machine: host } = bench;
      const pool = host.mm.allocate(48 * 16384);
      await fc.assert(
        fc.asyncProperty(gapped, async (parts) => {
          const list = new PhyRangeList();
          const bytes: Uint8Array[] = [];
          for (const [at, size] of parts) {
            list.append(offsetBy(pool, at), size);
            bytes.push(bench.scribble(offsetBy(pool, at), size));
          }
          const mapping = bench.map(list);
          const request = { block: 7, count: list.sizeBytes / BLOCK, mapping };
          assert.equal((await drive.write(request)).status, 'Success');
          host.mm.memory.fill(pool, 48 * 16384, 0xee);
          assert.equal((await drive.read(request)).status, 'Success');
          for (const [i, [at, size]] of parts.entries()) {
            assert.deepEqual(bench.bytes(offsetBy(pool, at), size), bytes[i]);
            assert.deepEqual([...bench.bytes(offsetBy(pool, at + size), 1)], [0xee]);
          }
          await drive.dma.unmap(mapping);
        }),
        { numRuns: fidelity === 'timed' ? 6 : 15 },
      );
      assert.ok(drive.descriptors.sgl > 5, JSON.stringify(drive.descriptors));
      await drive.close();
      assert.equal(host.fabric.errors.size, 0);
      host.dispose();
    });
  }

  test(`transfers over gaps are cut anywhere in them (${fidelity})`, async () => {
    const bench = await Bench.open({ fidelity, open: { queueDepth: 3 } });
    const { drive, machine: host } = bench;
    const pool = host.mm.allocate(2 ** 20);
    const list = new PhyRangeList();
    for (let i = 0; i < 96; i++) list.append(offsetBy(pool, 8192 * i + 100), 1536);
    const mapping = bench.map(list);
    const content = bench.scribble(pool, 2 ** 20);
    const common = { block: 3, mapping, commandBytes: 5120 } as const;
    assert.ok((await drive.transfer({ direction: 'write', ...common })).ok);
    host.mm.memory.fill(pool, 2 ** 20, 0);
    const result = await drive.transfer({ direction: 'read', ...common });
    assert.deepEqual([result.ok, result.reason], [true, null]);
    for (let i = 0; i < 96; i++) {
      const at = 8192 * i + 100;
      assert.deepEqual(bench.bytes(offsetBy(pool, at), 1536), content.slice(at, at + 1536));
    }
    assert.ok(drive.descriptors.sgl >= 50);
    host.dispose();
  });
}

/** Host memory with a gap that PRPs cannot describe, mapped. */
function withGap(bench: Bench): { mapping: ReturnType<Bench['map']>; address: PhysAddr } {
  const address = bench.machine.mm.allocate(8 * PAGE);
  const list = new PhyRangeList();
  list.append(address, 512).append(offsetBy(address, 2 * PAGE), 512);
  return { address, mapping: bench.map(list) };
}

for (const [name, setup] of [
  ['the driver wants none', { open: { descriptors: 'prp' } }],
  ['the drive has none', { device: { sgl: 'none' } }],
] as const) {
  test(`without SGLs a list with gaps is refused as a value: ${name}`, async () => {
    const bench = await Bench.open(setup);
    const { drive } = bench;
    const { address, mapping } = withGap(bench);
    const gap = `range 0 ends inside a page, at 0x${(address + 512).toString(16)}`;
    const reason = `${gap}, which PRPs cannot describe, and SGLs are off`;
    const refused = { ok: false, status: 'refused', code: -2, dw0: 0, latencyPs: 0, reason };
    assert.deepEqual(await drive.read({ block: 0, count: 2, mapping }), refused);
    assert.deepEqual(await drive.write({ block: 0, count: 2, mapping }), refused);
    const transfer = await drive.transfer({ direction: 'read', block: 0, mapping });
    assert.deepEqual(
      [transfer.ok, transfer.status, transfer.reason, transfer.commands],
      [false, 'refused', reason, 0],
    );
    const half = await drive.transfer({ direction: 'read', block: 0, mapping, commandBytes: 512 });
    assert.deepEqual([half.ok, half.commands, half.bytes], [true, 2, 1024], 'a command each');
    assert.ok((await drive.read({ block: 0, count: 1, mapping, offset: 512 })).ok);
    assert.deepEqual(drive.descriptors, { prp: 3, sgl: 0 });
    await drive.close();
    bench.machine.dispose();
  });
}

test('a transfer ends with what was under way when a later command is refused', async () => {
  const bench = await Bench.open({ open: { descriptors: 'prp' }, device: { timing: 'optane' } });
  const { drive } = bench;
  const list = new PhyRangeList();
  const base = bench.machine.mm.allocate(16 * PAGE);
  list.append(base, 4 * PAGE).append(offsetBy(base, 5 * PAGE + 512), PAGE);
  const mapping = bench.map(list);
  const transfer = { direction: 'read', block: 0, mapping, commandBytes: 3 * PAGE } as const;
  const result = await drive.transfer(transfer);
  assert.deepEqual([result.status, result.commands, result.bytes], ['refused', 1, 3 * PAGE]);
  await drive.close();
  bench.machine.dispose();
});

test('a drive of whole dwords: dwords go, bytes are refused with the reason', async () => {
  const bench = await Bench.open({ device: { sgl: 'dword' } });
  const { drive } = bench;
  assert.equal(drive.identity.sgl, SglSupport.Dword);
  const { mapping } = withGap(bench);
  assert.equal((await drive.read({ block: 0, count: 2, mapping })).status, 'Success');
  const odd = new PhyRangeList();
  odd.append(offsetBy(bench.machine.mm.allocate(PAGE), 1), 512);
  const refused = await drive.read({ block: 0, count: 1, mapping: bench.map(odd) });
  assert.match(refused.reason ?? '', /no multiple of 4.* and the drive's SGLs take whole dwords/);
  bench.machine.dispose();
});

test('SGLs on demand need a drive that takes them', async () => {
  const always = await Bench.open({ open: { descriptors: 'sgl' } });
  const { mapping } = always.buffer(PAGE);
  assert.ok((await always.drive.read({ block: 0, count: 8, mapping })).ok);
  assert.deepEqual(always.drive.descriptors, { prp: 0, sgl: 1 });
  always.machine.dispose();
  const store = new MemoryStore({ blockCount: 8 });
  const host = machine({ rootPorts: [{ device: nvme({ store, sgl: 'none' }) }] }).build();
  await host.boot();
  const opening = async (): Promise<NvmeDrive> => openNvme(host, 'nvme0', { descriptors: 'sgl' });
  await assert.rejects(opening, /expected a drive that takes SGLs/);
  assert.deepEqual(host.kernel.outstanding(), []);
  host.dispose();
});
