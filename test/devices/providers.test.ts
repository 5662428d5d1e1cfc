/**
 * Every driver under every way to make memory accessible to devices: what it moves arrives, what it shares with its
 * device is shared, and after close nothing is left. [DMAAPI]
 * @module
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EduDevice, edu, openEdu } from '#devices/edu/index.ts';
import { type GpuDevice, GpuStatus, gpu, openGpu } from '#devices/gpu/index.ts';
import { type NvmeDrive, nvme, openNvme } from '#devices/nvme/index.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, type DmaMapping, isRefusal } from '#emu/dma/mapping.ts';
import { IommuDomain } from '#emu/dma/providers/iommu-domain.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import type { MachineSpec } from '#emu/host/machine-spec.ts';
import { AddressSpace } from '#emu/host/memory/address-space.ts';
import { pinUserPages, unpinUserPages } from '#emu/host/memory/pinning.ts';
import type { UserAddr } from '#emu/host/memory/user-address.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { patternBytes } from '#test/support/gpu-rig.ts';
import { after, granted } from '#test/support/user-rig.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const BLOCK = 512;
const EDU_BYTES = 4096;
const DEVICES = ['nvme0', 'gpu0', 'edu0'] as const;

const PROVIDERS: Readonly<Record<string, Partial<MachineSpec>>> = {
  direct: {},
  strict: { iommu: true },
  lazy: { iommu: { flush: 'lazy' } },
  passthrough: { iommu: true, dma: { provider: 'direct' } },
  bounced: { dma: { provider: 'bounce', forceBounce: true } },
  'bounced below an IOMMU': { iommu: true, dma: { provider: 'bounce', forceBounce: true } },
  wrapper: { dma: { provider: 'legacy' } },
  'wrapper over the IOMMU': { iommu: true, dma: { provider: 'legacy' } },
};

interface Buffer {
  readonly name: string;
  readonly at: UserAddr;
  readonly list: PhyRangeList;
  readonly mapping: DmaMapping;
}

/** A machine with a device of each kind, and user memory on it. */
class Stand {
  readonly m: Machine;
  /** Of the user that the buffers belong to. */
  space: AddressSpace;

  constructor(spec: Partial<MachineSpec>, fidelity: Fidelity) {
    const store = new MemoryStore({ blockCount: 4096, blockSizeBytes: BLOCK });
    const plan = machine({
      ...spec,
      memory: { sizeBytes: 512 * MiB },
      checker: { onError: 'throw' },
      rootPorts: [
        { device: nvme({ name: 'nvme0', timing: 'instant', store }) },
        { device: gpu({ name: 'gpu0', vramBytes: 16 * MiB }) },
        { device: edu({ name: 'edu0', dmaMaskBits: 32 }) },
      ],
    });
    this.m = plan.build({ fidelity, seed: 1 });
    this.done(this.m.boot());
    this.space = new AddressSpace(this.m);
  }

  done<T>(pending: Pending<T>): T {
    this.m.kernel.run();
    return pending.value;
  }

  dma(name: string): DmaDevice {
    return this.m.function(name).dma;
  }

  /** User memory that holds these bytes from `offset` in a page on, pinned and mapped for a device. */
  buffer(name: string, bytes: Uint8Array, offset: number, direction: Direction): Buffer {
    const area = this.space.mapAnonymous(bytes.length + offset);
    const at = after(area, offset);
    this.space.write(at, bytes);
    const list = granted(pinUserPages(this.space, at, bytes.length, { write: true }));
    const mapping = this.dma(name).map(list, direction);
    assert.ok(!isRefusal(mapping), 'refused');
    return { name, at, list, mapping };
  }

  load({ at, list }: Buffer): Uint8Array {
    const bytes = new Uint8Array(list.sizeBytes);
    this.space.read(at, bytes);
    return bytes;
  }

  /** Ends mapping and pin; the bytes stay. */
  release(...buffers: readonly Buffer[]): void {
    for (const { name, list, mapping } of buffers) {
      this.done(this.dma(name).unmap(mapping));
      unpinUserPages(this.space, list);
    }
  }

  /** What drivers and mappings can leave behind, device by device. */
  account(): unknown {
    const perDevice = DEVICES.map((name) => {
      const { domain, liveMappings } = this.dma(name);
      if (!(domain instanceof IommuDomain)) return [name, liveMappings];
      // The doorbell's page stays, as long as its domain.
      return [name, liveMappings, domain.iovas.usedBytes, domain.table.leaves - 1];
    });
    return [perDevice, this.m.pins.live.length, this.m.bounce?.usedSlots ?? 0];
  }
}

const nothingLeft = (stand: Stand): unknown => [
  DEVICES.map((name) =>
    stand.dma(name).domain instanceof IommuDomain ? [name, 0, 0, 0] : [name, 0],
  ),
  0,
  0,
];

/** Writes blocks, reads them back elsewhere, looks at them while they are mapped, and changes them there. */
function useDrive(stand: Stand, drive: NvmeDrive): void {
  const bytes = patternBytes(200 * KiB, 5);
  const from = stand.buffer('nvme0', bytes, 512, Direction.ToDevice);
  const to = stand.buffer('nvme0', new Uint8Array(bytes.length), 1024, Direction.Bidirectional);
  const io = { block: 7, count: bytes.length / BLOCK };
  assert.equal(stand.done(drive.write({ ...io, mapping: from.mapping })).status, 'Success');
  assert.equal(stand.done(drive.read({ ...io, mapping: to.mapping })).status, 'Success');
  drive.dma.sync(to.mapping, 'cpu');
  assert.deepEqual(stand.load(to), bytes);
  const changed = patternBytes(bytes.length, 6);
  stand.space.write(to.at, changed);
  drive.dma.sync(to.mapping, 'device');
  assert.equal(stand.done(drive.write({ ...io, mapping: to.mapping })).status, 'Success');
  const part = { block: 7, count: 8, mapping: to.mapping, offset: 4096 };
  assert.equal(stand.done(drive.read(part)).status, 'Success');
  stand.release(from, to);
  changed.set(changed.slice(0, 4096), 4096);
  assert.deepEqual(stand.load(to), changed);
}

/** Copies through VRAM with writes and a fill in between, more often than the ring has room for. */
function useGpu(stand: Stand, one: GpuDevice): void {
  const bytes = patternBytes(100 * KiB, 7);
  const from = stand.buffer('gpu0', bytes, 256, Direction.ToDevice);
  const to = stand.buffer('gpu0', new Uint8Array(bytes.length), 64, Direction.FromDevice);
  const vram = one.vram.allocate(bytes.length);
  const sizeBytes = bytes.length;
  const jobs = [one.copy({ from: { ranges: from.mapping.ranges }, to: { vram }, sizeBytes })];
  for (let i = 0; i < 150; i++) {
    const part = patternBytes(512, i);
    bytes.set(part, 512 * i);
    jobs.push(one.write({ to: { vram: vram + 512 * i }, bytes: part }));
  }
  jobs.push(one.fill({ to: { vram: vram + sizeBytes - 100 }, sizeBytes: 100, value: 0x5a }));
  bytes.fill(0x5a, sizeBytes - 100);
  jobs.push(one.copy({ from: { vram }, to: { ranges: to.mapping.ranges }, sizeBytes }));
  stand.m.kernel.run();
  assert.deepEqual([...new Set(jobs.map(({ value }) => value))], [GpuStatus.Ok]);
  stand.release(from, to);
  assert.deepEqual(stand.load(to), bytes);
}

/** Sends bytes into the device's buffer and back to elsewhere. */
function useEdu(stand: Stand, one: EduDevice): void {
  const bytes = patternBytes(EDU_BYTES, 9);
  const from = stand.buffer('edu0', bytes, 100, Direction.ToDevice);
  const to = stand.buffer('edu0', new Uint8Array(EDU_BYTES), 4000, Direction.FromDevice);
  assert.equal(stand.done(one.factorial(6)), 720);
  stand.done(one.toDevice({ ranges: from.mapping.ranges }));
  stand.done(one.fromDevice({ ranges: to.mapping.ranges }));
  stand.release(from, to);
  assert.deepEqual(stand.load(to), bytes);
}

for (const fidelity of ['timed', 'functional'] as const) {
  for (const [name, spec] of Object.entries(PROVIDERS)) {
    test(`drivers move bytes and leave nothing: ${name}, ${fidelity}`, () => {
      const stand = new Stand(spec, fidelity);
      const { m } = stand;
      // The second time finds everything as the first did.
      const kept: number[] = [];
      for (let round = 0; round < 2; round++) {
        const drive = stand.done(openNvme(m, 'nvme0', { queues: 2, queueDepth: 4 }));
        const engine = stand.done(openGpu(m, 'gpu0', { ringBytes: 16 * KiB }));
        const one = stand.done(openEdu(m, 'edu0', { dmaMaskBits: 32 }));
        useDrive(stand, drive);
        useGpu(stand, engine);
        useEdu(stand, one);
        for (const each of [drive, engine, one]) stand.done(each.close());
        assert.deepEqual(stand.account(), nothingLeft(stand));
        stand.space.dispose();
        kept.push(m.mm.usedBytes);
        stand.space = new AddressSpace(m);
      }
      assert.equal(kept[1], kept[0], 'pages');
      assert.equal(m.checker?.count, 0);
      assert.equal(m.fabric.errors.size, 0);
      assert.deepEqual(m.kernel.outstanding(), []);
      stand.space.dispose();
      m.dispose();
    });
  }
}

test('a driver that goes while something is still mapped for its device is told, whichever it is', () => {
  const stand = new Stand({}, 'functional');
  const drive = stand.done(openNvme(stand.m, 'nvme0'));
  const engine = stand.done(openGpu(stand.m, 'gpu0'));
  const one = stand.done(openEdu(stand.m, 'edu0', { dmaMaskBits: 32 }));
  for (const [name, driver] of [
    ['nvme0', drive],
    ['gpu0', engine],
    ['edu0', one],
  ] as const) {
    const buffer = stand.buffer(name, new Uint8Array(100), 8, Direction.ToDevice);
    const closing = driver.close();
    let message = '';
    closing.onDone(
      () => {},
      (error) => {
        message = error.message;
      },
    );
    stand.m.kernel.run();
    const path = stand.m.function(name).path;
    assert.match(
      message,
      new RegExp(`^${path}: driver gone with a mapping left, such as 100 bytes`),
    );
    assert.match(message, /mapped at .*providers\.test/);
    stand.release(buffer);
  }
  assert.equal(stand.m.checker?.count, 3);
  stand.space.dispose();
  stand.m.dispose();
});
