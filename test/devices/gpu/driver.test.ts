/** The host driver end to end: copies, fills, writes, back-pressure, faults, timeouts, peers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type GpuDevice,
  GpuModel,
  type GpuOpenOptions,
  GpuStatus,
  gpu,
  openGpu,
} from '#devices/gpu/index.ts';
import { QueueException } from '#devices/gpu/spec.ts';
import { dmaAddr, type PhysAddr, us } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { patternBytes } from '#test/support/gpu-rig.ts';
import { plainDevice } from '#test/support/plain-device.ts';
import { throwsCode } from '#test/support/usage-error.ts';

const BOTH: readonly Fidelity[] = ['timed', 'functional'];
const VRAM = 2 ** 24;

interface Bench {
  readonly m: Machine;
  readonly one: GpuDevice;
  done<T>(pending: Pending<T>): T;
}

function bench(
  fidelity: Fidelity,
  spec: Partial<MachineSpec> = {},
  options: GpuOpenOptions = {},
): Bench {
  const rootPorts = [{ device: gpu({ name: 'gpu0', vramBytes: VRAM }) }];
  const m = machine({ rootPorts, ...spec }).build({ fidelity, seed: 3 });
  const done = <T>(pending: Pending<T>): T => {
    m.kernel.run();
    return pending.value;
  };
  done(m.boot());
  return { m, one: done(openGpu(m, 'gpu0', options)), done };
}

function mapped(one: GpuDevice, list: PhyRangeList): DmaMapping {
  const mapping = one.dma.map(list, Direction.Bidirectional);
  assert.ok(!isRefusal(mapping));
  return mapping;
}

/** Host memory whose pages are not next to each other. */
function scattered(m: Machine, pages: number): PhyRangeList {
  const list = new PhyRangeList();
  for (let i = 0; i < pages; i++) {
    const page = m.mm.allocate(8192);
    list.append(page, 4096);
  }
  return list;
}

function readList(m: Machine, list: PhyRangeList): Uint8Array {
  const bytes = new Uint8Array(list.sizeBytes);
  let at = 0;
  for (const { address, length } of list) {
    m.mm.memory.read(address, bytes.subarray(at, at + length));
    at += length;
  }
  return bytes;
}

function writeList(m: Machine, list: PhyRangeList, bytes: Uint8Array): void {
  let at = 0;
  for (const { address, length } of list) {
    m.mm.memory.write(address, bytes.subarray(at, at + length));
    at += length;
  }
}

for (const fidelity of BOTH) {
  for (const iommu of [false, true]) {
    const name = `${fidelity}, IOMMU ${iommu ? 'on' : 'off'}`;

    test(`${name}: host memory goes to VRAM and back through scattered pages`, () => {
      const { m, one, done } = bench(fidelity, { iommu });
      const [from, to] = [scattered(m, 9), scattered(m, 9)];
      const sent = patternBytes(9 * 4096, 11);
      writeList(m, from, sent);
      const offset = one.vram.allocate(9 * 4096);
      const source = mapped(one, from);
      const sizeBytes = from.sizeBytes;
      const dest = { vram: offset };
      assert.equal(done(one.copy({ from: source, to: dest, sizeBytes })), GpuStatus.Ok);
      const back = mapped(one, to);
      assert.equal(done(one.copy({ from: dest, to: back, sizeBytes })), GpuStatus.Ok);
      assert.deepEqual(readList(m, to), sent);
      done(one.dma.unmap(source));
      done(one.dma.unmap(back));
      done(one.close());
      assert.deepEqual(m.kernel.outstanding(), []);
      assert.equal(one.dma.liveMappings, 0);
      m.dispose();
    });
  }

  test(`${fidelity}: fills and writes`, () => {
    const { m, one, done } = bench(fidelity);
    const list = scattered(m, 3);
    const host = mapped(one, list);
    const bytes = patternBytes(8192, 4);
    const jobs = [
      one.fill({ to: host, sizeBytes: 12288, value: 0xab }),
      one.fill({
        to: { ranges: host.ranges, offset: 8 },
        sizeBytes: 16,
        value: 0x01020304,
        unit: 'dword',
      }),
      one.write({ to: { ranges: host.ranges, offset: 4096 }, bytes }),
      one.fill({ to: { vram: 5 }, sizeBytes: 3, value: 0x77 }),
    ];
    m.kernel.run();
    for (const job of jobs) assert.equal(job.value, GpuStatus.Ok);
    const seen = readList(m, list);
    assert.ok(seen.subarray(0, 8).every((x) => x === 0xab));
    assert.deepEqual([...seen.subarray(8, 16)], [4, 3, 2, 1, 4, 3, 2, 1]);
    assert.equal(seen[24], 0xab);
    assert.deepEqual(seen.subarray(4096), bytes);
    const { model } = m.endpoint('gpu0');
    assert.ok(model instanceof GpuModel);
    assert.equal(model.vram.getU32(4), 0x7777_7700);
    assert.equal(
      done(one.copy({ from: { vram: 0 }, to: { vram: 0 }, sizeBytes: 0 })),
      GpuStatus.Ok,
    );
    m.dispose();
  });

  test(`${fidelity}: more packets than the ring holds wait for room, jobs complete in order`, () => {
    const { m, one } = bench(fidelity, {}, { ringBytes: 16384 });
    const pages = 700;
    const list = scattered(m, pages);
    const sent = patternBytes(pages * 4096, 8);
    writeList(m, list, sent);
    const { ranges } = mapped(one, list);
    const order: number[] = [];
    const jobs = [0, 1, 2].map((i) => {
      const half = (pages / 2) * 4096;
      const offset = i === 1 ? half : 0;
      const job = one.copy({
        from: { ranges, offset },
        to: { vram: i * 2 ** 22 },
        sizeBytes: half,
      });
      job.onDone(() => order.push(i));
      return job;
    });
    assert.equal(one.outstanding, 3);
    m.kernel.run();
    assert.deepEqual(order, [0, 1, 2]);
    for (const job of jobs) assert.equal(job.value, GpuStatus.Ok);
    assert.equal(one.outstanding, 0);
    const { model } = m.endpoint('gpu0');
    assert.ok(model instanceof GpuModel);
    const half = sent.length / 2;
    const seen = new Uint8Array(half);
    for (const [at, from] of [
      [0, 0],
      [2 ** 22, half],
      [2 ** 23, 0],
    ] as const) {
      model.vram.read(at, seen);
      assert.ok(Buffer.compare(seen, sent.subarray(from, from + half)) === 0);
    }
    m.dispose();
  });

  test(`${fidelity}: an address that nothing decodes fails the job, and restart recovers`, () => {
    const { m, one, done } = bench(fidelity);
    const good = one.fill({ to: { vram: 0 }, sizeBytes: 64, value: 1 });
    const bad = one.copy({ from: { address: dmaAddr(0x1000) }, to: { vram: 0 }, sizeBytes: 64 });
    const behind = one.fill({ to: { vram: 0 }, sizeBytes: 64, value: 2 });
    m.kernel.run();
    assert.equal(good.value, GpuStatus.Ok);
    assert.equal(bad.value, GpuStatus.QueueStopped);
    assert.equal(behind.value, GpuStatus.QueueStopped);
    assert.equal(one.fault?.exception, QueueException.ReadFailed);
    assert.equal(one.fault?.reason, 'ReadFailed');
    assert.equal(one.fault?.address, 0x1000);
    assert.equal(one.fault?.status, 1);
    const after = one.fill({ to: { vram: 0 }, sizeBytes: 64, value: 2 });
    assert.equal(after.value, GpuStatus.QueueStopped, 'told at once');
    done(one.restart());
    assert.equal(one.fault, null);
    assert.equal(done(one.fill({ to: { vram: 0 }, sizeBytes: 64, value: 3 })), GpuStatus.Ok);
    m.dispose();
  });

  test(`${fidelity}: a silent engine times out by name`, () => {
    const { m, one, done } = bench(fidelity, {}, { timeoutPs: us(500) });
    done(m.kernel.spawn('off', one.function.setBusMaster(false)));
    const start = m.kernel.now;
    const job = one.fill({ to: { vram: 0 }, sizeBytes: 64, value: 1 });
    assert.equal(done(job), GpuStatus.Timeout);
    assert.ok(m.kernel.now - start >= us(500) && m.kernel.now - start < us(600));
    done(m.kernel.spawn('on', one.function.setBusMaster(true)));
    done(one.restart());
    assert.equal(done(one.fill({ to: { vram: 0 }, sizeBytes: 64, value: 1 })), GpuStatus.Ok);
    assert.deepEqual(m.kernel.outstanding(), []);
    m.dispose();
  });

  test(`${fidelity}: closing ends jobs under way and gives everything back`, () => {
    const { m, one, done } = bench(fidelity);
    const list = scattered(m, 1);
    const { ranges } = mapped(one, list);
    const used = m.mm.allocations;
    const job = one.copy({ from: { ranges }, to: { vram: 0 }, sizeBytes: 4096 });
    done(one.close());
    assert.equal(job.value, GpuStatus.Closed);
    assert.equal(m.mm.allocations, used - 2, 'ring and pointers');
    assert.equal(one.fill({ to: { vram: 0 }, sizeBytes: 4, value: 1 }).value, GpuStatus.Closed);
    m.dispose();
  });

  test(`${fidelity}: VRAM of one GPU goes straight to the other below a switch`, () => {
    const ports = ['gpu0', 'gpu1'].map((name) => ({ device: gpu({ name, vramBytes: VRAM }) }));
    const sw = pcieSwitch({ ports });
    const { m, one, done } = bench(fidelity, { rootPorts: [{ device: sw }] });
    const two = done(openGpu(m, 'gpu1'));
    const bytes = patternBytes(100_000, 6);
    const models = ['gpu0', 'gpu1'].map((name) => m.endpoint(name).model);
    const [a, b] = models;
    assert.ok(a instanceof GpuModel && b instanceof GpuModel);
    a.vram.write(4096, bytes);
    const mapping = mapped(one, two.vramRange(8192, 100_000));
    assert.equal(mapping.mapType, 'BUS_ADDR');
    const sizeBytes = bytes.length;
    const push = one.copy({ from: { vram: 4096 }, to: mapping, sizeBytes });
    assert.equal(done(push), GpuStatus.Ok);
    const seen = new Uint8Array(sizeBytes);
    b.vram.read(8192, seen);
    assert.deepEqual(seen, bytes);
    const pull = one.copy({ from: mapping, to: { vram: 2 ** 20 }, sizeBytes });
    assert.equal(done(pull), GpuStatus.Ok);
    a.vram.read(2 ** 20, seen);
    assert.deepEqual(seen, bytes);
    m.dispose();
  });
}

test('many jobs in any order of sizes end with the bytes that one after the other gives', () => {
  const { m, one } = bench('timed');
  const host: PhysAddr = m.mm.allocate(65536);
  const { ranges } = mapped(one, m.mm.pin(host, 65536));
  const { model } = m.endpoint('gpu0');
  assert.ok(model instanceof GpuModel);
  const offset = fc.integer({ min: 0, max: 30_000 });
  const step = fc.record({ toVram: fc.boolean(), from: offset, to: offset, size: offset });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      const expected = { vram: patternBytes(65536, 1), host: patternBytes(65536, 2) };
      model.vram.write(0, expected.vram);
      m.mm.memory.write(host, expected.host);
      const jobs = steps.map(({ toVram, from, to, size }) => {
        const [src, dst] = toVram ? [expected.host, expected.vram] : [expected.vram, expected.host];
        dst.set(src.slice(from, from + size), to);
        const inVram = (at: number) => ({ vram: at });
        const inHost = (at: number) => ({ ranges, offset: at });
        return toVram
          ? one.copy({ from: inHost(from), to: inVram(to), sizeBytes: size })
          : one.copy({ from: inVram(from), to: inHost(to), sizeBytes: size });
      });
      m.kernel.run();
      for (const job of jobs) assert.equal(job.value, GpuStatus.Ok);
      const seen = new Uint8Array(65536);
      model.vram.read(0, seen);
      assert.ok(Buffer.compare(seen, expected.vram) === 0);
      m.mm.memory.read(host, seen);
      assert.ok(Buffer.compare(seen, expected.host) === 0);
    }),
    { numRuns: 15 },
  );
  m.dispose();
});

test('misuse is named at once', () => {
  const { m, one } = bench('functional');
  const copy = (vram: number, sizeBytes: number) =>
    one.copy({ from: { vram }, to: { vram: 0 }, sizeBytes });
  throwsCode('USAGE', /vram/, () => copy(VRAM - 1, 2));
  throwsCode('USAGE', /vram/, () => copy(0, -1));
  throwsCode('USAGE', /dwords/, () => one.write({ to: { vram: 0 }, bytes: new Uint8Array(3) }));
  throwsCode('USAGE', /VRAM range/, () => one.vramRange(VRAM, 1));
  const inWindow = one.copy({
    from: { address: dmaAddr(0x80_0000_0000) },
    to: { vram: 0 },
    sizeBytes: 4,
  });
  assert.equal(inWindow.value, GpuStatus.BadAddress);
  m.dispose();
});

test('another device and a bad ring are refused by name', () => {
  const rootPorts = [{ device: plainDevice('plain0') }, { device: gpu({ name: 'gpu0' }) }];
  const m = machine({ rootPorts }).build();
  m.boot();
  m.kernel.run();
  const failure = (name: string, options?: GpuOpenOptions): string => {
    const pending = openGpu(m, name, options);
    let message = '';
    pending.onDone(
      () => {},
      (error) => {
        message = `${error.code} ${error.message}`;
      },
    );
    m.kernel.run();
    return message;
  };
  assert.match(failure('plain0'), /USAGE plain0: expected a GPU 0x1002:0x744c/);
  assert.match(failure('gpu0', { ringBytes: 5000 }), /USAGE ringBytes/);
  assert.match(failure('nobody'), /USAGE device/);
  m.dispose();
});
