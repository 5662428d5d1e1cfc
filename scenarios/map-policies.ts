/**
 * One workload by five ways to make host memory accessible to a drive: every command's buffer is mapped for it and
 * unmapped after it. Shown is what each way costs, and how long after unmap the device still reaches the memory.
 * Model: mapping and copying take no simulated time; rates tell of translation and of invalidations. [DMAAPI]
 * @module
 */
import { createHash, type Hash } from 'node:crypto';
import {
  BounceCounter,
  type Check,
  Direction,
  type DmaAddr,
  type DmaMapping,
  DmaStatus,
  defineScenario,
  delay,
  IommuCounter,
  isRefusal,
  type Machine,
  type MachinePlan,
  MemoryStore,
  machine,
  ms,
  offsetBy,
  type ParamValues,
  type Pending,
  PhyRangeList,
  type PhysAddr,
  Purpose,
  param,
  SparseMemory,
  us,
  usage,
} from 'pcie-emu';
import { type NvmeDrive, nvme, openNvme, TIMING } from 'pcie-emu/devices/nvme';

/** `wrapper` is the legacy provider, which maps scatterlists only, above a strict IOMMU. */
const POLICIES = ['strict', 'lazy', 'direct', 'bounce', 'wrapper'] as const;
type Policy = (typeof POLICIES)[number];

const [PAGE, BLOCK, MiB, GiB] = [4096, 512, 2 ** 20, 2 ** 30];
const DRIVE = 'nvme0';
/** A drive that is not the bottleneck. */
const DRIVE_TIMING = { ...TIMING.optane, readBytesPerSecond: 14e9, writeBytesPerSecond: 14e9 };
/** Between two accesses after unmap, and so the resolution of the window. */
const STEP_PS = us(100);
/** Longer than any flush waits. */
const LONG_PS = ms(12);
/** Where the buffers lie: a drive with 32 address bits, as `bounce` has, does not reach them. */
const BUFFERS_AT = 4 * GiB;

const params = {
  size: param.bytes('2MiB', 'bytes to write, and to read back', { min: BLOCK, max: '256MiB' }),
  blockSize: param.bytes('16KiB', 'bytes of each command', { min: BLOCK, max: '1MiB' }),
  policy: param.choice([...POLICIES, 'all'], 'all', 'how to map; wrapper brings strict along'),
  queueDepth: param.int(32, 'commands of a batch', { min: 1, max: 256 }),
};
type Params = ParamValues<typeof params>;

/** @throws USAGE for parameters that do not fit together */
function checkParams(p: Params): void {
  for (const key of ['size', 'blockSize'] as const) {
    if (p[key] % BLOCK === 0) continue;
    throw usage(`${key}: expected a multiple of ${BLOCK}, got ${p[key]}`, { key, got: p[key] });
  }
}

function policiesOf({ policy }: Params): readonly Policy[] {
  if (policy === 'wrapper') return ['strict', 'wrapper'];
  return POLICIES.filter((each) => policy === 'all' || policy === each);
}

function plan(policy: Policy, p: Params): MachinePlan {
  const store = () => new MemoryStore({ blockCount: p.size / BLOCK, blockSizeBytes: BLOCK });
  const device = nvme({ name: DRIVE, store, timing: DRIVE_TIMING });
  // The accesses after unmap are wrong on purpose: the checker is to tell of them, not to end the run.
  const checker = { onError: 'collect' } as const;
  const rootPorts = [{ link: { gen: 4, width: 4 }, device }] as const;
  const common = { checker, rootPorts, memory: { sizeBytes: 8 * GiB } };
  const batch = p.queueDepth * Math.max(p.blockSize, PAGE);
  const bounceBytes = Math.ceil(batch / MiB) * MiB + 16 * MiB;
  const specs = {
    strict: { iommu: { flush: 'strict' } },
    lazy: { iommu: { flush: 'lazy' } },
    direct: { dma: { provider: 'direct' } },
    bounce: { dma: { provider: 'bounce', bounceBytes } },
    wrapper: { iommu: { flush: 'strict' }, dma: { provider: 'legacy' } },
  } as const;
  return machine({ ...common, ...specs[policy] });
}

/** One policy's machine with its drive opened. */
interface Rig {
  readonly policy: Policy;
  readonly host: Machine;
  readonly drive: NvmeDrive;
  readonly params: Params;
  readonly data: Uint8Array;
  readonly progress: (bytes: number) => void;
  /** Room for the buffers of a batch. */
  readonly buffers: PhysAddr;
  /** Every list that the device was given. */
  readonly lists: Hash;
}

/** One command with its buffer: pages that are no neighbours, freshly mapped. */
interface Job {
  /** Of the data. */
  readonly at: number;
  readonly sizeBytes: number;
  readonly buffer: PhysAddr;
  readonly mapping: DmaMapping;
}

/** @throws when the host refuses to map `list` */
function mapped({ policy, drive }: Rig, list: PhyRangeList, direction: Direction): DmaMapping {
  const mapping = drive.dma.map(list, direction);
  if (!isRefusal(mapping)) return mapping;
  throw new Error(`${policy}: ${mapping.refused}: ${mapping.reason}`);
}

/** Bytes of a buffer: pages, and a page that is not used behind each. */
const roomFor = (sizeBytes: number): number => 2 * PAGE * Math.ceil(sizeBytes / PAGE);

/** The pages of a buffer, the highest first: address, position and size of each piece. */
function* pagesOf(buffer: PhysAddr, sizeBytes: number) {
  const pages = Math.ceil(sizeBytes / PAGE);
  for (let i = 0; i < pages; i++) {
    const address = offsetBy(buffer, 2 * PAGE * (pages - 1 - i));
    yield { address, at: i * PAGE, length: Math.min(PAGE, sizeBytes - i * PAGE) };
  }
}

/** Maps buffer `index` of the batch, with the data in it where the drive is to read that. */
function prepare(rig: Rig, direction: Direction, index: number, at: number): Job {
  const { host, data, lists, params: p } = rig;
  const buffer = offsetBy(rig.buffers, index * roomFor(p.blockSize));
  const sizeBytes = Math.min(p.blockSize, p.size - at);
  const list = new PhyRangeList();
  for (const page of pagesOf(buffer, sizeBytes)) {
    list.append(page.address, page.length);
    if (direction === Direction.FromDevice) continue;
    const start = at + page.at;
    host.mm.memory.write(page.address, data.subarray(start, start + page.length));
  }
  const mapping = mapped(rig, list, direction);
  for (const { address, length, flags } of mapping.ranges) {
    lists.update(`${address}+${length}/${flags} `);
  }
  lists.update(`${mapping.mapType}\n`);
  return { at, sizeBytes, buffer, mapping };
}

/** Prepares a batch, carries it out and ends it; what was read goes to `digest`. */
async function runBatch(rig: Rig, jobs: readonly Job[], digest: Hash | null): Promise<void> {
  const { host, drive, policy } = rig;
  const commands = jobs.map(({ at, sizeBytes, mapping }) => {
    const request = { block: at / BLOCK, count: sizeBytes / BLOCK, mapping };
    return digest ? drive.read(request) : drive.write(request);
  });
  for (const command of commands) {
    const { ok, status } = await command;
    if (!ok) throw new Error(`${policy}: a command ended with ${status}`);
  }
  const unmaps: readonly Pending<void>[] = jobs.map(({ mapping }) => drive.dma.unmap(mapping));
  for (const unmap of unmaps) await unmap;
  const bytes = new Uint8Array(PAGE);
  for (const { buffer, sizeBytes } of jobs) {
    for (const { address, length } of pagesOf(buffer, sizeBytes)) {
      host.mm.memory.read(address, bytes);
      digest?.update(bytes.subarray(0, length));
    }
    host.mm.memory.discard(buffer, roomFor(sizeBytes));
  }
}

const noMappings = { mapType: '', mappings: 0, ranges: 0 };

/** Writes all of the data, or reads it back into `digest`; tells what the mappings came to. */
async function pass(rig: Rig, digest: Hash | null, sum = noMappings) {
  const { size, blockSize, queueDepth } = rig.params;
  const direction = digest ? Direction.FromDevice : Direction.ToDevice;
  let { mapType, mappings, ranges } = sum;
  for (let at = 0; at < size; ) {
    const jobs: Job[] = [];
    for (; at < size && jobs.length < queueDepth; at += blockSize) {
      const job = prepare(rig, direction, jobs.length, at);
      jobs.push(job);
      mapType = job.mapping.mapType;
      ranges += job.mapping.ranges.count;
    }
    mappings += jobs.length;
    await runBatch(rig, jobs, digest);
    rig.progress((digest ? size : 0) + Math.min(at, size));
  }
  return { mapType, mappings, ranges };
}

/** Events so far. */
function counts({ host }: Rig) {
  const bounced = (slot: number): number => host.bounce?.counters[slot] ?? 0;
  return {
    iotlbMisses: host.iommu?.counters[IommuCounter.misses] ?? 0,
    invalidations: host.iommu?.invalidations ?? 0,
    copies: bounced(BounceCounter.copiesIn) + bounced(BounceCounter.copiesOut),
    bytesIn: bounced(BounceCounter.bytesIn),
    bytesOut: bounced(BounceCounter.bytesOut),
  };
}

/** Writes and reads back all data: what that took, and what is checked of it. */
async function measure(rig: Rig, check: Check) {
  const { policy, host, params: p, data } = rig;
  const before = counts(rig);
  const startPs = host.kernel.now;
  const digest = createHash('sha256');
  const writes = await pass(rig, null);
  const written = counts(rig);
  const sum = await pass(rig, digest, writes);
  const seconds = (host.kernel.now - startPs) / 1e12;
  // A lazy IOMMU still has to flush what was unmapped last, which would also end the window below early.
  await host.kernel.spawn('last flush', delay(LONG_PS));
  const after = counts(rig);
  const expected = createHash('sha256').update(data).digest('hex');
  check.equal(`${policy}: SHA-256 of what was read back`, digest.digest('hex'), expected);
  check.equal(`${policy}: wrong use by the drivers`, host.checker?.count, 0);
  if (policy === 'bounce') {
    const [first, last] = [written.bytesIn - before.bytesIn, written.bytesOut - before.bytesOut];
    check.equal('bounce: bytes copied in for writes', first, p.size);
    check.equal('bounce: bytes copied out for writes', last, 0);
    // What the drive does not overwrite must stay as it was, so the copy begins with what is there. [DMAAPI]
    check.equal('bounce: bytes copied in for reads', after.bytesIn - written.bytesIn, p.size);
    check.equal('bounce: bytes copied out for reads', after.bytesOut - written.bytesOut, p.size);
  }
  const timed = host.fabric.fidelity === 'timed';
  return {
    policy,
    rate: timed ? (2 * p.size) / seconds : null,
    ...sum,
    // Which translations are replaced depends on the order of the accesses.
    iotlbMisses: timed ? after.iotlbMisses - before.iotlbMisses : null,
    invalidations: after.invalidations - before.invalidations,
    copies: after.copies - before.copies,
    copiedBytes: after.bytesIn + after.bytesOut - before.bytesIn - before.bytesOut,
  };
}

const [BACKGROUND, MARK] = [0xa5, 0x3c];

/** What the accesses after unmap came to. */
interface Window {
  /** From unmap to the latest access that still arrived, 0 for none, ns; null when there is no end. */
  readonly staleWindow: number | null;
  readonly afterUnmap: string;
}

/** Writes a page straight from the device's end of the link, as no driver would; takes {@link STEP_PS}. */
async function writeRaw({ host }: Rig, address: DmaAddr, from: SparseMemory): Promise<void> {
  const sent = host.kernel.pending<number>('raw write');
  const client = { dmaDone: (status: number) => sent.complete(status) };
  const pause = host.kernel.spawn('pause', delay(STEP_PS));
  host.endpoint(DRIVE).write(address, PAGE, from, 0, Purpose.Data, client, 0);
  const status = await sent;
  if (status !== DmaStatus.Ok) throw new Error(`a raw write ended with ${status}`);
  await pause;
}

/** Whether the page has been written to since the last look, and clears it. */
function arrivedAt({ host }: Rig, page: PhysAddr): boolean {
  const { memory } = host.mm;
  const isThere = memory.getU32(page) !== BACKGROUND * 0x0101_0101;
  memory.fill(page, PAGE, BACKGROUND);
  return isThere;
}

/** Writes to a page by an address that was unmapped, again and again: the checker collects these, see {@link plan}. */
async function useAfterUnmap(rig: Rig, check: Check): Promise<Window> {
  const { policy, host, drive, buffers: page } = rig;
  const { kernel } = host;
  const bytes = new SparseMemory(PAGE, 'raw writes');
  bytes.fill(0, PAGE, MARK);
  host.mm.memory.fill(page, PAGE, BACKGROUND);
  const mapping = mapped(rig, PhyRangeList.of(page, PAGE), Direction.FromDevice);
  const address = mapping.ranges.address(0);
  await writeRaw(rig, address, bytes);
  await drive.dma.unmap(mapping);
  const unmappedPs = kernel.now;
  check.ok(`${policy}: a DMA before unmap arrives`, arrivedAt(rig, page));
  const arrived: number[] = [];
  const faultsBefore = host.iommu?.counters[IommuCounter.faults] ?? 0;
  let accesses = 0;
  for (; kernel.now < unmappedPs + LONG_PS; accesses++) {
    const atPs = kernel.now;
    await writeRaw(rig, address, bytes);
    if (arrivedAt(rig, page)) arrived.push((atPs - unmappedPs) / 1e3);
  }
  const faults = (host.iommu?.counters[IommuCounter.faults] ?? 0) - faultsBefore;
  bytes.dispose();
  // What was lent to the mapping is still in the pool, and so is what the device wrote there.
  const isInPool = host.bounce !== null && host.mm.memory.getU32(address) === MARK * 0x0101_0101;
  const classes = new Set(host.checker?.reports.map((report) => report.class));
  check.equal(`${policy}: what the checker tells of`, [...classes].join(), 'after-unmap');
  check.equal(`${policy}: how often`, host.checker?.count, accesses);
  const window = judge(arrived, accesses, faults, isInPool);
  check.equal(`${policy}: a DMA after unmap`, window.afterUnmap, EXPECTED[policy]);
  return window;
}

const EXPECTED: Readonly<Record<Policy, string>> = {
  strict: 'faults',
  lazy: 'arrives, then faults',
  direct: 'arrives',
  bounce: 'arrives in the pool',
  wrapper: 'faults',
};

function judge(
  arrived: readonly number[],
  accesses: number,
  faults: number,
  isInPool: boolean,
): Window {
  if (arrived.length === accesses) return { staleWindow: null, afterUnmap: 'arrives' };
  if (isInPool && faults === 0) return { staleWindow: null, afterUnmap: 'arrives in the pool' };
  if (arrived.length + faults < accesses) return { staleWindow: null, afterUnmap: 'is lost' };
  const afterUnmap = arrived.length > 0 ? 'arrives, then faults' : 'faults';
  return { staleWindow: arrived.at(-1) ?? 0, afterUnmap };
}

/** Units of the metrics, and of the table's columns. */
const UNITS = {
  rate: 'B/s',
  mappings: '',
  ranges: '',
  iotlbMisses: '',
  invalidations: '',
  copies: '',
  copiedBytes: 'B',
  staleWindow: 'ns',
} as const;
type Measure = keyof typeof UNITS;
type Row = Readonly<
  Record<Measure, number | null> & Record<'policy' | 'mapType' | 'afterUnmap', string>
>;

/** What the rows say together. */
function compare(rows: readonly Row[], lists: ReadonlyMap<Policy, string>, check: Check): void {
  const [strict, lazy] = ['strict', 'lazy'].map((policy) =>
    rows.find((row) => row.policy === policy),
  );
  if (strict) check.equal('strict: stale window, ns', strict.staleWindow, 0);
  if (lazy) check.atLeast('lazy: stale window, ns', lazy.staleWindow ?? 0, 1);
  if (strict && lazy) {
    check.atMost('lazy: invalidations', lazy.invalidations ?? 0, strict.invalidations ?? 0);
  }
  const wrapper = lists.get('wrapper');
  if (wrapper) check.equal('wrapper: lists for the device', wrapper, lists.get('strict'));
}

export default defineScenario({
  summary: 'NVMe reads and writes by each way of mapping: strict, lazy, direct, bounce, wrapper',
  params,
  topology(p) {
    checkParams(p);
    return Object.fromEntries(policiesOf(p).map((policy) => [policy, plan(policy, p)]));
  },
  async run({ machines, params: p, random, release, check, metric, table, progress }) {
    const data = new Uint8Array(p.size);
    random('data').fill(data);
    const rows: Row[] = [];
    const lists = new Map<Policy, string>();
    for (const policy of POLICIES) {
      const host = machines[policy];
      if (!host) continue;
      if (policy === 'bounce') host.function(DRIVE).limitDma({ addressLimit: BUFFERS_AT });
      const drive = await openNvme(host, DRIVE, { queueDepth: p.queueDepth });
      const room = p.queueDepth * roomFor(p.blockSize);
      const buffers = host.mm.allocate(room, BUFFERS_AT);
      const rig: Rig = {
        ...{ buffers, policy, host, drive, params: p, data, lists: createHash('sha256') },
        progress: (bytes) => progress(bytes, 2 * p.size, policy),
      };
      const measured = await measure(rig, check);
      lists.set(policy, rig.lists.digest('hex'));
      rows.push({ ...measured, ...(await useAfterUnmap(rig, check)) });
      host.mm.free(buffers, room);
      await drive.close();
      check.equal(`${policy}: mappings left`, host.checker?.live().length, 0);
      release(host);
    }
    compare(rows, lists, check);
    let key: Measure;
    for (const row of rows) {
      for (key in UNITS) metric(`${row.policy}.${key}`, row[key], UNITS[key]);
    }
    table('policies', rows, UNITS);
  },
});
