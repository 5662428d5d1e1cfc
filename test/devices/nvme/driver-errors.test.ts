/**
 * What the driver makes of errors: statuses by name, timeouts, requests and drives that cannot be.
 * [NVME] 3.3.3.2.1
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type NvmeResult, nvme, openNvme, TIMING } from '#devices/nvme/index.ts';
import { CLASS_CODE } from '#devices/nvme/spec.ts';
import { ms, physAddr } from '#emu/base/units.ts';
import { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import { machine } from '#emu/host/machine.ts';
import { MemoryStore, StoreStatus } from '#emu/memory/block-store.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import { type BarHandler, Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { plainDevice } from '#test/support/plain-device.ts';
import { Bench, BLOCK } from './drive-bench.ts';

/** A store whose reads never end well. */
class Refusing extends MemoryStore {
  override read(): StoreStatus {
    return StoreStatus.ReadError;
  }
}

test('errors are values: statuses by name, and a transfer stops at the first', async () => {
  const store = new Refusing({ blockCount: 16384, blockSizeBytes: BLOCK });
  const bench = await Bench.open({ device: { store } });
  const { drive } = bench;
  const { mapping } = bench.buffer(2 ** 20);
  const one = await drive.read({ block: 0, count: 1, mapping });
  assert.deepEqual([one.ok, one.status], [false, 'UnrecoveredReadError']);
  const many = await drive.transfer({
    ...{ direction: 'read', block: 0, mapping, commandBytes: 4096, queueDepth: 4 },
  });
  assert.deepEqual([many.ok, many.status, many.bytes], [false, 'UnrecoveredReadError', 0]);
  assert.ok(many.commands <= 8);
  await drive.close();
  bench.machine.dispose();
});

test('data where nothing answers is a Data Transfer Error; the drive works on', async () => {
  const bench = await Bench.open();
  const { ranges } = bench.buffer(4096).mapping;
  const unmapped = DmaRangeList.of(bench.drive.dma.mapDoorbell(physAddr(0x3000_0000)), 4096);
  const result = await bench.drive.write({ block: 0, count: 8, ranges: unmapped });
  assert.equal(result.status, 'DataTransferError');
  assert.equal((await bench.drive.write({ block: 0, count: 8, ranges })).status, 'Success');
  bench.machine.dispose();
});

test('with bus mastering off every command ends as a timeout, none hangs', async () => {
  const bench = await Bench.open({ fidelity: 'timed', open: { queueDepth: 4, timeoutPs: 1e9 } });
  const { drive, machine: host } = bench;
  const { address, mapping } = bench.buffer(4096);
  host.mm.memory.fill(address, 4096, 0xee);
  const off = host.function('nvme0').setBusMaster(false);
  await host.kernel.spawn('bus master off', off);
  const before = host.links()[0]?.up.tlps;
  const results = Array.from({ length: 10 }, (_, i) => drive.read({ block: i, count: 8, mapping }));
  for (const result of results) assert.equal((await result).status, 'timeout');
  const transfer = await drive.transfer({ direction: 'read', block: 0, mapping });
  assert.deepEqual([transfer.ok, transfer.status, transfer.commands], [false, 'timeout', 0]);
  assert.equal(host.links()[0]?.up.tlps, before, 'the drive sent nothing');
  assert.deepEqual(new Set(bench.bytes(address, 4096)), new Set([0xee]));
  host.dispose();
});

test('a command answered after its timeout gives its slot back and disturbs nobody', async () => {
  const timing = { ...TIMING.instant, readLatencyPs: ms(3) };
  const bench = await Bench.open({ device: { timing }, open: { queueDepth: 2, timeoutPs: 1e9 } });
  const { drive } = bench;
  const { mapping } = bench.buffer(4096);
  const late = drive.read({ block: 0, count: 1, mapping });
  assert.equal((await late).status, 'timeout');
  assert.equal((await drive.flush()).status, 'Success');
  await bench.machine.kernel.spawn('wait', pause(5e9));
  const [a, b, c] = [drive.flush(), drive.flush(), drive.flush()];
  for (const result of [a, b, c]) assert.equal((await result).status, 'Success');
  await drive.close();
  bench.machine.dispose();
});

function* pause(ps: number): Generator<number, void, void> {
  yield ps;
}

test('a request made by the failure of another is not lost, nor the failure told twice', async () => {
  const bench = await Bench.open({ open: { queueDepth: 2, descriptors: 'prp' } });
  const { drive } = bench;
  const { mapping } = bench.buffer(65536);
  const gaps = new DmaRangeList();
  gaps.appendApart(mapping.ranges.address(0), 512);
  gaps.appendApart(mapping.ranges.address(0), 7680);
  const failures: string[] = [];
  const busy = [drive.flush(), drive.flush()];
  const request = { direction: 'read', block: 0, ranges: gaps, commandBytes: 4096 } as const;
  const transfer = drive.transfer(request);
  const followers: Pending<NvmeResult>[] = [];
  transfer.onDone(({ status }) => {
    failures.push(status);
    followers.push(drive.flush(), drive.flush(), drive.flush());
  });
  for (const result of busy) assert.ok((await result).ok);
  for (const result of [...followers]) assert.ok((await result).ok);
  assert.deepEqual(failures, ['refused']);
  assert.equal(followers.length, 3);
  await drive.close();
  bench.machine.dispose();
});

test('transfers that compete for slots: each ends once, with its own status', async () => {
  const bench = await Bench.open({ fidelity: 'timed', open: { queueDepth: 3 } });
  const { drive } = bench;
  const { mapping } = bench.buffer(65536);
  const common = { mapping, commandBytes: 4096, queueDepth: 3 } as const;
  const transfers = [0, 16380, 200, 16300, 400].map((block) =>
    drive.transfer({ direction: 'read', block, ...common }),
  );
  const flushes = Array.from({ length: 20 }, () => drive.flush());
  const statuses: string[] = [];
  for (const transfer of transfers) statuses.push((await transfer).status);
  const { length } = statuses.filter((status) => status === 'LbaOutOfRange');
  assert.deepEqual([length, statuses[1], statuses[3]], [2, 'LbaOutOfRange', 'LbaOutOfRange']);
  for (const flush of flushes) assert.ok((await flush).ok);
  await drive.close();
  bench.machine.dispose();
});

test('requests that cannot be are refused before they reach the drive', async () => {
  const bench = await Bench.open({ device: { maxTransferBytes: 65536 } });
  const { drive } = bench;
  const { mapping } = bench.buffer(131_072);
  assert.equal(drive.maxTransferBytes, 65536);
  const usage = { code: 'USAGE' };
  assert.throws(() => drive.read({ block: 0, count: 0, mapping }), usage);
  assert.throws(() => drive.read({ block: 0, count: 129, mapping }), usage);
  assert.throws(() => drive.read({ block: 0, count: 1 }), /expected a mapping or ranges/);
  assert.throws(() => drive.read({ block: 0, count: 2, mapping, offset: 131_072 - 512 }), usage);
  const transfer = { direction: 'read', block: 0, mapping } as const;
  assert.throws(() => drive.transfer({ ...transfer, sizeBytes: 100 }), usage);
  assert.throws(() => drive.transfer({ ...transfer, commandBytes: 100 }), usage);
  assert.throws(() => drive.transfer({ ...transfer, queueDepth: 0 }), usage);
  assert.throws(() => drive.transfer({ ...transfer, sizeBytes: 262_144 }), usage);
  await drive.close();
  bench.machine.dispose();
});

test('fewer queues, entries and vectors than asked for', async () => {
  const bench = await Bench.open({
    device: { queues: 2, maxQueueEntries: 8 },
    open: { queues: 9, queueDepth: 500 },
  });
  assert.equal(bench.drive.queueDepth, 14);
  const { mapping } = bench.buffer(4096);
  const results = Array.from({ length: 60 }, (_, i) =>
    bench.drive.read({ block: i, count: 1, mapping }),
  );
  for (const result of results) assert.ok((await result).ok);
  await bench.drive.close();
  bench.machine.dispose();
});

test('a drive can be opened again after it was closed', async () => {
  const bench = await Bench.open({ fidelity: 'timed', iommu: true });
  await bench.drive.close();
  const again = await openNvme(bench.machine, 'nvme0', { queueDepth: 2 });
  assert.equal((await again.flush()).status, 'Success');
  await again.close();
  bench.machine.dispose();
});

test('opening what is no drive, is not there, or with wrong options', async () => {
  const store = new MemoryStore({ blockCount: 8 });
  const plan = machine({
    rootPorts: [{ device: nvme({ store }) }, { device: plainDevice('other') }],
  });
  const host = plan.build();
  await host.boot();
  assert.throws(() => openNvme(host, 'other'), { code: 'USAGE' });
  assert.throws(() => openNvme(host, 'nvme7'), { code: 'USAGE' });
  for (const options of [
    { queueDepth: 0 },
    { queues: 1.5 },
    { maxTransferBytes: 100 },
    { timeoutPs: -1 },
    { sglThresholdBytes: -1 },
    { sglThresholdBytes: Number.NaN },
  ]) {
    assert.throws(() => openNvme(host, 'nvme0', options), { code: 'USAGE' });
  }
  // @ts-expect-error: what plain JavaScript may pass
  assert.throws(() => openNvme(host, 'nvme0', { descriptors: 'x' }), /auto, prp or sgl, got 'x'/);
  host.dispose();
});

test('a controller that does not come up fails the opening, with its status', async () => {
  const bench = await Bench.open();
  const { machine: host } = bench;
  // Memory decoding off: every read is all ones.
  host.endpoint('nvme0').config.write(4, 2, 0);
  await assert.rejects(async () => openNvme(host, 'nvme0'), /does not answer/);
  host.dispose();
});

/** A function of the right class whose registers read what they are told to. */
function impostor(registers: Readonly<Record<number, number>>, vectors = 4): DeviceSpec {
  const target: BarHandler = {
    mmioRead: (offset, size, out, at) => {
      for (let i = 0; i < size; i += 4) out.setUint32(at + i, registers[offset + i] ?? 0, true);
    },
    mmioWrite: () => {},
  };
  return {
    kind: 'impostor',
    name: 'nvme0',
    build: (fabric, path) =>
      new Endpoint(fabric, path, {
        identity: { vendorId: 0x1234, deviceId: 1, classCode: CLASS_CODE },
        bars: [{ index: 0, sizeBytes: 16384, width: 64, target }],
        msix: { vectors, bar: 0, tableOffset: 0x2000, pbaOffset: 0x3000 },
      }),
  };
}

const CAP_CQR_TO = 0x0101_003f;
const wrong: readonly (readonly [
  why: RegExp,
  registers: Record<number, number>,
  vectors?: number,
])[] = [
  [/does not answer/, { 28: 0xffff_ffff }],
  [/cannot use pages of 4 KiB/, { 0: CAP_CQR_TO, 4: 0x0011_0020 }],
  [/stay ready/, { 0: CAP_CQR_TO, 28: 1 }],
  [/did not become ready \(CSTS 0x0\)/, { 0: CAP_CQR_TO }],
  [/did not become ready \(CSTS 0x2\)/, { 0: CAP_CQR_TO, 28: 2 }],
  [/expected 2 MSI-X vectors or more, got 1/, { 0: CAP_CQR_TO }, 1],
];

for (const [why, registers, vectors] of wrong) {
  test(`bring-up fails with ${why.source} and leaves nothing behind`, async () => {
    const host = machine({
      iommu: true,
      rootPorts: [{ device: impostor(registers, vectors) }],
    }).build();
    await host.boot();
    const { dma } = host.function('nvme0');
    dma.mapDoorbell(host.map.doorbell.base);
    await assert.rejects(async () => openNvme(host, 'nvme0'), why);
    assert.equal(dma.liveMappings, 0);
    assert.deepEqual(host.kernel.outstanding(), []);
    assert.ok(!host.endpoint('nvme0').busMaster);
    host.dispose();
  });
}

test('a drive that stopped answering can still be closed, and its memory is freed', async () => {
  const bench = await Bench.open({ open: { timeoutPs: 1e9, queues: 4 } });
  const { drive, machine: host } = bench;
  await host.kernel.spawn('bus master off', host.function('nvme0').setBusMaster(false));
  assert.equal((await drive.flush()).status, 'timeout');
  await drive.close();
  assert.equal(drive.dma.liveMappings, 0);
  host.dispose();
});
