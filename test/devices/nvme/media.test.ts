/**
 * The timing model: flat latency, shared bandwidth, and what a drive makes of both.
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type NvmeTiming, nvme, TIMING } from '#devices/nvme/index.ts';
import { Media } from '#devices/nvme/model/media.ts';
import { us } from '#emu/base/units.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import { RawDrive } from './raw-drive.ts';

const LATENCY = 8_900_000;

test('one small read takes the latency, whenever it comes', () => {
  const media = new Media(TIMING.optane);
  assert.equal(media.readReady(0, 4096, true), LATENCY);
  assert.equal(media.readReady(1e9, 4096, true), 1e9 + LATENCY);
});

test('reads overlap their latency and share the bandwidth', () => {
  const media = new Media(TIMING.optane);
  const perRead = Math.ceil((4096 / 2.4e9) * 1e12);
  const ready = Array.from({ length: 16 }, () => media.readReady(0, 4096, true));
  assert.equal(ready[0], LATENCY);
  assert.ok(Math.abs((ready[15] ?? 0) - 16 * perRead) <= 16);
});

test('a large command takes the latency once, then the bandwidth', () => {
  const media = new Media(TIMING.optane);
  const chunk = 65536;
  const perChunk = (chunk / 2.4e9) * 1e12;
  let ready = media.readReady(0, chunk, true);
  for (let i = 1; i < 16; i++) ready = media.readReady(ready, chunk, false);
  assert.ok(Math.abs(ready - 16 * perChunk) <= 16);
});

test('time never runs backwards, and bandwidth is never exceeded', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          wait: fc.nat(2e7),
          size: fc.integer({ min: 512, max: 65536 }),
          write: fc.boolean(),
        }),
      ),
      (requests) => {
        const media = new Media(TIMING.optane);
        let now = 0;
        let last = 0;
        for (const { wait, size, write } of requests) {
          now += wait;
          const through = write ? media.writeSettled(now, size) : media.readReady(now, size, false);
          const rate = write ? 2.0e9 : 2.4e9;
          assert.ok(Number.isInteger(through));
          assert.ok(through - Math.max(now, last) >= (size / rate) * 1e12 - 1);
          last = through;
        }
      },
    ),
  );
});

test('no limits mean no time', () => {
  const media = new Media(TIMING.instant);
  assert.equal(media.readReady(5, 1e9, true), 5);
  assert.equal(media.writeSettled(5, 1e9), 5);
});

/** Commands of 4 KiB per second with `depth` outstanding, and the mean latency, ps. */
function measure(
  opcode: number,
  depth: number,
  rounds: number,
): { rate: number; latencyPs: number } {
  const store = new MemoryStore({ blockCount: 4096, blockSizeBytes: 4096 });
  const drive = new RawDrive({ store, fidelity: 'timed', timing: 'optane' }).start();
  const queue = drive.ioQueue(1, 64);
  const prp1 = drive.pages();
  const started = drive.machine.kernel.now;
  let completed = 0;
  for (let i = 0; i < depth; i++) drive.push(queue, { opcode, nsid: 1, prp1, cdw10: i });
  drive.postTail(queue);
  for (let submitted = depth; completed < rounds * depth; ) {
    drive.wait(50_000);
    const taken = drive.peek(queue).length;
    completed += taken;
    for (let i = 0; i < taken && submitted < rounds * depth; i++, submitted++) {
      drive.push(queue, { opcode, nsid: 1, prp1, cdw10: submitted % 4096 });
    }
    if (taken > 0) {
      drive.post({ offset: 0x100c }, queue.head);
      drive.postTail(queue);
    }
  }
  const elapsed = drive.machine.kernel.now - started;
  drive.dispose();
  return { rate: completed / (elapsed / 1e12), latencyPs: elapsed / rounds };
}

test('queue depth 1: the latency of the medium and some 1.5 us of fabric', () => {
  const { latencyPs } = measure(2, 1, 20);
  assert.ok(latencyPs > LATENCY && latencyPs < LATENCY + 2e6, `${latencyPs}`);
});

for (const [what, opcode, expected] of [
  ['reads', 2, 2.4e9 / 4096],
  ['writes', 1, 2.0e9 / 4096],
] as const) {
  test(`queue depth 32: ${what} reach the bandwidth of the medium and no more`, () => {
    const { rate } = measure(opcode, 32, 20);
    assert.ok(rate <= expected * 1.001 && rate > expected * 0.9, `${rate} of ${expected}`);
  });
}

test('timings that are none, and options beyond the limits, are refused', () => {
  const store = new MemoryStore({ blockCount: 8 });
  const wrong: Partial<NvmeTiming>[] = [
    { readBytesPerSecond: 0 },
    { writeBytesPerSecond: Number.NaN },
    { readLatencyPs: us(-1) },
  ];
  for (const change of wrong) {
    const device = { store, timing: { ...TIMING.optane, ...change } };
    assert.throws(() => nvme(device), { code: 'USAGE' });
  }
  for (const change of [
    { queues: 0 },
    { queues: 1024 },
    { queues: 1.5 },
    { maxQueueEntries: 1 },
    { maxQueueEntries: 65537 },
    { maxTransferBytes: 2048 },
    { maxTransferBytes: 12288 },
    { maxTransferBytes: 2 ** 29 },
    { serial: 'x'.repeat(21) },
    { model: 'é' },
  ]) {
    assert.throws(() => nvme({ store, ...change }), { code: 'USAGE' });
  }
  // @ts-expect-error: what plain JavaScript may pass
  assert.throws(() => nvme({ store, timing: 'slow' }), /expected optane or instant, got 'slow'/);
  // @ts-expect-error: the same
  assert.throws(() => nvme({ store, sgl: 'word' }), /expected byte or dword or none, got 'word'/);
});
