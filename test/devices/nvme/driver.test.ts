/**
 * The drive as host software uses it, through the whole machine: bring-up, reads and writes, depth, transfers,
 * close. [NVME] 3.5.1, [NVMECS] 3.2
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type NvmeResult, nvme } from '#devices/nvme/index.ts';
import { type PhysAddr, physAddr } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { machine } from '#emu/host/machine.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { Bench, BLOCK } from './drive-bench.ts';

const BOTH = ['timed', 'functional'] as const;

/** Pages that data is scattered over; every second page stays unused. */
const POOL_PAGES = 16;

const request = fc.record({
  write: fc.boolean(),
  block: fc.nat(63),
  count: fc.integer({ min: 1, max: 40 }),
  offset: fc.nat(1023).map((dword) => 4 * dword),
  // Distinct pages: one that stood twice would be written twice.
  pages: fc.shuffledSubarray([...Array(POOL_PAGES).keys()], { minLength: 8, maxLength: 8 }),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

/** Writes random data or reads, and compares memory with what the blocks should hold. */
async function moveAndCheck(
  bench: Bench,
  pool: PhysAddr,
  content: Uint8Array,
  { write, block, count, offset, pages }: Request,
): Promise<void> {
  const { drive, machine: host } = bench;
  const list = new PhyRangeList();
  for (const page of pages) list.append(physAddr(pool + 8192 * page), 4096);
  const mapping = bench.map(list);
  const size = count * BLOCK;
  const part = content.subarray(block * BLOCK, block * BLOCK + size);
  /** Address of a dword of the data. */
  const at = (i: number): PhysAddr =>
    physAddr(pool + 8192 * pages[(offset + i) >> 12]! + ((offset + i) & 4095));
  if (write) {
    host.kernel.random(`${block} ${count} ${offset}`).fill(part);
    for (let i = 0; i < size; i += 4) host.mm.memory.write(at(i), part.subarray(i, i + 4));
  }
  const io = { block, count, mapping, offset };
  assert.ok((await (write ? drive.write(io) : drive.read(io))).ok);
  for (let i = 0; i < size; i += 4) assert.deepEqual(bench.bytes(at(i), 4), part.slice(i, i + 4));
  await drive.dma.unmap(mapping);
}

test('commands submitted at one moment share a doorbell, and completions another', async () => {
  const bench = await Bench.open({ fidelity: 'timed' });
  const { drive, machine: host } = bench;
  host.kernel.run();
  const [link] = host.links();
  const before = link?.down.controlBytes ?? 0;
  const flushes = Array.from({ length: 8 }, () => drive.flush());
  for (const flush of flushes) assert.ok((await flush).ok);
  host.kernel.run();
  const bytes = (link?.down.controlBytes ?? 0) - before;
  // Eight entries, one tail; a head for each interrupt at most.
  assert.ok(bytes >= 8 * 64 + 8 && bytes <= 8 * 64 + 4 + 8 * 4, `${bytes} bytes`);
  host.dispose();
});

for (const fidelity of BOTH) {
  for (const iommu of [false, true]) {
    test(`bring-up, I/O and close (${fidelity}, ${iommu ? 'IOMMU' : 'direct'})`, async () => {
      const bench = await Bench.open({ fidelity, iommu, open: { queues: 3, queueDepth: 8 } });
      const { drive } = bench;
      const used = bench.machine.mm.allocations;
      assert.equal(drive.blockCount, 16384);
      assert.equal(drive.blockSizeBytes, BLOCK);
      assert.equal(drive.queueDepth, 24);
      assert.equal(drive.maxTransferBytes, 2 ** 20);
      assert.equal(drive.identity.model, 'pcie-emu NVMe drive');
      assert.equal(drive.identity.version, 0x2_0000);
      const { address, mapping } = bench.buffer(65536);
      const expected = bench.scribble(address, 65536);
      const written = await drive.write({ block: 100, count: 128, mapping });
      assert.deepEqual([written.ok, written.status, written.code], [true, 'Success', 0]);
      assert.equal((await drive.flush()).status, 'Success');
      bench.machine.mm.memory.fill(address, 65536, 0);
      assert.ok((await drive.read({ block: 101, count: 127, mapping, offset: 512 })).ok);
      assert.deepEqual(bench.bytes(address, 65536).subarray(512), expected.subarray(512));
      assert.equal(drive.latencies.count, 3);
      await drive.dma.unmap(mapping);
      bench.machine.mm.free(address, 65536);
      await drive.close();
      assert.ok(bench.machine.mm.allocations < used, 'queues and lists are freed');
      assert.equal(drive.dma.liveMappings, 0);
      assert.deepEqual(bench.machine.kernel.outstanding(), []);
      assert.equal(bench.machine.fabric.errors.size, 0);
      assert.throws(() => drive.flush(), { code: 'USAGE' });
      bench.machine.dispose();
    });
  }

  test(`random blocks through scattered pages, as a model of the drive has them (${fidelity})`, async () => {
    const bench = await Bench.open({ fidelity, open: { queues: 2, queueDepth: 5 } });
    const pool = bench.machine.mm.allocate(POOL_PAGES * 8192);
    const content = new Uint8Array(128 * BLOCK);
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 20 }), async (requests) => {
        for (const each of requests) await moveAndCheck(bench, pool, content, each);
      }),
      { numRuns: fidelity === 'timed' ? 6 : 12 },
    );
    bench.machine.dispose();
  });

  test(`more commands than slots wait their turn; queues wrap many times (${fidelity})`, async () => {
    const bench = await Bench.open({ fidelity, open: { queues: 2, queueDepth: 3 } });
    const { drive } = bench;
    const { address, mapping } = bench.buffer(4096);
    bench.store.write(0, 8, bench.machine.mm.memory, address);
    const results: Pending<NvmeResult>[] = [];
    for (let i = 0; i < 300; i++) {
      const request = { block: i, count: 1, mapping, offset: (i % 8) * BLOCK };
      results.push(i % 3 ? drive.read(request) : drive.write(request));
    }
    for (const result of results) assert.ok((await result).ok);
    assert.equal(drive.latencies.count, 300);
    await drive.close();
    bench.machine.dispose();
  });

  test(`a transfer is cut into commands and keeps its depth (${fidelity})`, async () => {
    const bench = await Bench.open({ fidelity, iommu: true, device: { timing: 'optane' } });
    const { drive } = bench;
    const size = 4 * 2 ** 20;
    const { address, mapping } = bench.buffer(size);
    const expected = bench.scribble(address, size);
    const steps: number[] = [];
    const onProgress = (bytes: number) => steps.push(bytes);
    const common = { block: 9, mapping, commandBytes: 131_072, queueDepth: 4 };
    const out = await drive.transfer({ direction: 'write', ...common, onProgress });
    assert.deepEqual([out.status, out.commands, out.bytes], ['Success', 32, size]);
    assert.equal(steps.length, 32);
    assert.equal(steps.at(-1), size);
    bench.machine.mm.memory.fill(address, size, 0);
    const back = await drive.transfer({ direction: 'read', ...common });
    assert.ok(bench.bytes(address, size).every((byte, i) => byte === expected[i]));
    assert.equal(back.latencies.count, 32);
    const rate = size / ((back.endedPs - back.startedPs) / 1e12);
    assert.ok(rate > 2.2e9 && rate <= 2.4e9, `${rate} B/s`);
    // Little's law: what is outstanding is rate times latency.
    const outstanding = ((rate / 131_072) * back.latencies.mean()) / 1e12;
    assert.ok(Math.abs(outstanding - 4) < 0.3, `${outstanding} outstanding`);
    await drive.close();
    bench.machine.dispose();
  });
}

test('a transfer may end inside a command, and be empty', async () => {
  const bench = await Bench.open();
  const { drive } = bench;
  const { mapping } = bench.buffer(65536);
  const request = { direction: 'read', block: 0, mapping, commandBytes: 16384 } as const;
  const part = await drive.transfer({ ...request, sizeBytes: 20480, offset: 4096 });
  assert.deepEqual([part.ok, part.commands, part.bytes], [true, 2, 20480]);
  const none = await drive.transfer({ ...request, sizeBytes: 0 });
  assert.deepEqual([none.ok, none.commands, none.bytes], [true, 0, 0]);
  const large = await drive.transfer({ ...request, commandBytes: 2 ** 30 });
  assert.deepEqual([large.commands, large.bytes], [1, 65536]);
  bench.machine.dispose();
});

test('both fidelities give the same statuses and bytes, the same seed the same trace', async () => {
  const run = async (
    fidelity: Fidelity,
  ): Promise<{ hash: string; seen: unknown[]; data: string }> => {
    const bench = await Bench.open({ fidelity, device: { timing: 'optane' } });
    const { address, mapping } = bench.buffer(2 ** 20);
    bench.scribble(address, 2 ** 20);
    const seen: unknown[] = [];
    const transfer = { direction: 'write', mapping, commandBytes: 65536 } as const;
    const { status, bytes } = await bench.drive.transfer({ ...transfer, block: 0 });
    const beyond = await bench.drive.transfer({ ...transfer, block: 15000, queueDepth: 1 });
    seen.push(status, bytes, beyond.status, beyond.bytes);
    for (const block of [0, 16383, 16384]) {
      seen.push((await bench.drive.read({ block, count: 1, mapping, offset: 512 })).status);
    }
    const data = String.fromCharCode(...bench.bytes(address, 4096));
    await bench.drive.close();
    const hash = bench.machine.fabric.traceHash.digest;
    bench.machine.dispose();
    return { hash, seen, data };
  };
  const [timed, again, functional] = [
    await run('timed'),
    await run('timed'),
    await run('functional'),
  ];
  assert.deepEqual(timed, again);
  assert.deepEqual([functional.seen, functional.data], [timed.seen, timed.data]);
  assert.deepEqual(timed.seen, [
    ...['Success', 2 ** 20, 'LbaOutOfRange', 655_360],
    ...['Success', 'Success', 'LbaOutOfRange'],
  ]);
});

test('a 4 KiB read at depth 1 costs the TLPs that hardware was seen to send', async () => {
  const bench = await Bench.open({ fidelity: 'timed' });
  const { drive, machine: host } = bench;
  const { mapping } = bench.buffer(4096);
  await drive.read({ block: 0, count: 8, mapping });
  host.kernel.run();
  const [link] = host.links();
  if (!link) throw new Error('no link');
  const [up, down] = [link.up, link.down];
  await drive.read({ block: 0, count: 8, mapping });
  host.kernel.run();
  const mps = host.endpoint('nvme0').config.maxPayloadBytes;
  // Up: entry fetch, data, completion, interrupt. Down: doorbell, entry, doorbell.
  assert.equal(link.up.tlps - up.tlps, 4096 / mps + 3);
  assert.equal(link.down.tlps - down.tlps, 3);
  assert.equal(link.up.dataBytes - up.dataBytes, 4096);
  assert.equal(link.up.controlBytes - up.controlBytes, 16 + 4);
  assert.equal(link.down.dataBytes - down.dataBytes, 0);
  assert.equal(link.down.controlBytes - down.controlBytes, 64 + 4 + 4);
  host.dispose();
});

test('a store made by a function is closed with its machine, another is not', async () => {
  let closed = 0;
  class Closing extends MemoryStore {
    override close(): void {
      closed++;
      super.close();
    }
  }
  const store = new Closing({ blockCount: 8 });
  for (const given of [store, () => new Closing({ blockCount: 8 })]) {
    const host = machine({ rootPorts: [{ device: nvme({ store: given }) }] }).build();
    host.dispose();
  }
  assert.equal(closed, 1);
  store.close();
});

test('a probe sees each command once, and changes nothing', async () => {
  const run = async (watch: boolean): Promise<{ hash: string; seen: number[][] }> => {
    const bench = await Bench.open({ fidelity: 'timed' });
    const seen: number[][] = [];
    const { model } = bench.machine.endpoint('nvme0');
    if (watch && model && 'probe' in model) {
      model.probe = {
        completed: (_path: string, { opcode, status, dataBytes }: Record<string, number>) =>
          seen.push([opcode ?? -1, status ?? -1, dataBytes ?? -1]),
      };
    }
    const { mapping } = bench.buffer(8192);
    await bench.drive.read({ block: 0, count: 16, mapping });
    await bench.drive.read({ block: 16384, count: 1, mapping });
    const hash = bench.machine.fabric.traceHash.digest;
    bench.machine.dispose();
    return { hash, seen };
  };
  const [watched, unwatched] = [await run(true), await run(false)];
  assert.deepEqual(watched.seen, [
    [2, 0, 8192],
    [2, 0x80, 0],
  ]);
  assert.equal(watched.hash, unwatched.hash);
});
