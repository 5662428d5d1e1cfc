/**
 * A file goes from an NVMe drive into GPU memory by three routes: directly below a common switch, through the
 * root complex with its IOMMU on, and bounced through host memory. Shown are rate, latency and who carried what.
 * @module
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import {
  type BlockStore,
  Direction,
  type DmaMapping,
  defineScenario,
  fileStore,
  isRefusal,
  type Machine,
  type MachinePlan,
  type MapType,
  MemoryCounter,
  MemoryStore,
  machine,
  type ParamValues,
  type PhyRangeList,
  type PhysAddr,
  param,
  pcieSwitch,
  Random,
  StoreStatus,
  usage,
} from 'pcie-emu';
import { type GpuDevice, type GpuLocation, GpuStatus, gpu, openGpu } from 'pcie-emu/devices/gpu';
import { type NvmeDrive, nvme, openNvme, TIMING } from 'pcie-emu/devices/nvme';

const ROUTES = ['switch', 'root', 'host'] as const;
type Route = (typeof ROUTES)[number];

const MiB = 2 ** 20;
/** Host memory used at a time, for bouncing and for reading back. */
const PIECE = 8 * MiB;
/** A drive faster than its default link, so that the route decides the rate. */
const DRIVE_TIMING = { ...TIMING.optane, readBytesPerSecond: 14e9 };
const [DRIVE, GPU, SWITCH] = ['nvme0', 'gpu0', 'sw0'];

const params = {
  input: param.file('file to move; default: seeded data of `size`'),
  size: param.bytes('64MiB', 'seeded data to move when there is no input'),
  route: param.choice([...ROUTES, 'all'], 'all', 'how the data goes'),
  blockSize: param.bytes('4KiB', 'bytes of each read; the input is rounded up to such blocks', {
    min: 512,
    max: '1MiB',
  }),
  queueDepth: param.int(32, 'reads outstanding', { min: 1, max: 1023 }),
  gen: param.choice([1, 2, 3, 4, 5], 4, 'PCI Express generation of every link'),
  width: param.choice([1, 2, 4, 8, 16], 4, "lanes of the drive's link; the others have 16"),
  vram: param.bytes('1GiB', 'GPU memory, a power of two'),
  drive: param.bytes(0, 'size of the drive; 0: that of the input'),
};
type Params = ParamValues<typeof params>;

const roundUp = (bytes: number, step: number): number => Math.ceil(bytes / step) * step;
const inputBytes = ({ input, size }: Params): number =>
  input === null ? size : statSync(input).size;
/** What is moved: the input in whole blocks. */
const movedBytes = (p: Params): number => roundUp(inputBytes(p), p.blockSize);

/** @throws USAGE for parameters that do not fit together */
function checkParams(p: Params): void {
  const bytes = inputBytes(p);
  const refuse = (key: string, expected: string, got: number) =>
    usage(`${key}: expected ${expected}, got ${got}`, { key, got });
  if (p.blockSize % 512 !== 0) throw refuse('blockSize', 'a multiple of 512', p.blockSize);
  if (p.drive !== 0 && bytes > p.drive) {
    throw refuse('drive', `at least ${bytes} bytes, the size of the input`, p.drive);
  }
  if (movedBytes(p) > p.vram) {
    throw refuse('vram', `at least ${movedBytes(p)} bytes, the input in blocks`, p.vram);
  }
}

/** The drive's content: the input, read in place and never written, or seeded data. */
function storeOf(p: Params, seed: number): BlockStore {
  const blockSizeBytes = p.blockSize % 4096 === 0 ? 4096 : 512;
  // A namespace has at least one block, and no read ends inside one.
  const sizeBytes = roundUp(Math.max(p.drive, inputBytes(p), 1), p.blockSize);
  if (p.input !== null) return fileStore(p.input, { readOnly: true, blockSizeBytes, sizeBytes });
  return new SeededStore(p, seed, blockSizeBytes, sizeBytes);
}

/** Seeded data, made when the first of it is read: a drive that waits for its turn takes no memory. */
class SeededStore implements BlockStore {
  readonly blockSizeBytes: number;
  readonly blockCount: number;
  readonly readOnly = true;
  readonly #blocks: MemoryStore;
  #missing: Iterable<Uint8Array> | null;

  constructor(p: Params, seed: number, blockSizeBytes: number, sizeBytes: number) {
    this.blockSizeBytes = blockSizeBytes;
    this.blockCount = sizeBytes / blockSizeBytes;
    this.#blocks = new MemoryStore({ blockCount: this.blockCount, blockSizeBytes });
    this.#missing = seededData(p.size, seed);
  }

  read(...request: Parameters<BlockStore['read']>): StoreStatus {
    let at = 0;
    for (const piece of this.#missing ?? []) {
      this.#blocks.memory.write(at, piece);
      at += piece.length;
    }
    this.#missing = null;
    return this.#blocks.read(...request);
  }
  write(): StoreStatus {
    return StoreStatus.ReadOnly;
  }
  flush(): StoreStatus {
    return StoreStatus.Ok;
  }
  close(): void {
    this.#blocks.close();
  }
}

/** The seed's data in pieces; each piece is overwritten by the next. */
function* seededData(sizeBytes: number, seed: number): Iterable<Uint8Array> {
  const random = new Random(seed, 'p2p-nvme input');
  const piece = new Uint8Array(MiB);
  for (let left = sizeBytes; left > 0; left -= piece.length) {
    const part = piece.subarray(0, Math.min(left, piece.length));
    random.fill(part);
    yield part;
  }
}

function* fileData(path: string): Iterable<Uint8Array> {
  const file = openSync(path, 'r');
  const piece = new Uint8Array(MiB);
  try {
    for (let got = readSync(file, piece); got > 0; got = readSync(file, piece)) {
      yield piece.subarray(0, got);
    }
  } finally {
    closeSync(file);
  }
}

function sha256(pieces: Iterable<Uint8Array>): string {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  return hash.digest('hex');
}

/** Drive and GPU below one switch, or the GPU on a root port of its own. */
function plan(route: Route, p: Params, seed: number): MachinePlan {
  const wide = { gen: p.gen, width: 16 } as const;
  const drive = nvme({ name: DRIVE, store: () => storeOf(p, seed), timing: DRIVE_TIMING });
  const below = [{ link: { gen: p.gen, width: p.width }, device: drive }];
  const card = { link: wide, device: gpu({ name: GPU, vramBytes: p.vram }) };
  const apart = route === 'root';
  const ports = apart ? below : [...below, card];
  const tree = { link: wide, device: pcieSwitch({ name: SWITCH, ports }) };
  return machine({ iommu: apart, rootPorts: apart ? [tree, card] : [tree] });
}

/** One route's machine with its devices opened. */
interface Rig {
  readonly route: Route;
  readonly host: Machine;
  readonly drive: NvmeDrive;
  readonly gpu: GpuDevice;
  readonly params: Params;
  /** The input in whole blocks, and where it goes in VRAM. */
  readonly bytes: number;
  readonly vram: number;
  readonly progress: (bytes: number) => void;
}

type DmaUser = NvmeDrive | GpuDevice;

/** @throws when the host refuses to map `list` for the device */
function mapped(device: DmaUser, list: PhyRangeList, direction: Direction): DmaMapping {
  const mapping = device.dma.map(list, direction);
  if (!isRefusal(mapping)) return mapping;
  throw new Error(`${device.name}: ${mapping.refused}: ${mapping.reason}`);
}

/** Reads `sizeBytes` at `at` of the drive into mapped memory. */
async function read(rig: Rig, mapping: DmaMapping, at: number, sizeBytes: number): Promise<void> {
  const { drive, params } = rig;
  const { ok, status } = await drive.transfer({
    direction: 'read',
    block: at / drive.blockSizeBytes,
    mapping,
    sizeBytes,
    commandBytes: params.blockSize,
    queueDepth: params.queueDepth,
    onProgress: (bytes) => rig.progress(at + bytes),
  });
  if (!ok) throw new Error(`${drive.name}: a read ended with ${status}`);
}

/** A way from the drive to VRAM, prepared: only `move` is measured. */
interface Way {
  readonly mapType: MapType;
  move(): Promise<void>;
  release(): Promise<void>;
}

/** The drive writes into VRAM itself. */
function directly(rig: Rig): Way {
  const { drive, gpu: card, bytes, vram, params } = rig;
  const list = card.vramRange(vram, Math.max(bytes, params.blockSize));
  const mapping = mapped(drive, list, Direction.FromDevice);
  return {
    mapType: mapping.mapType,
    move: () => read(rig, mapping, 0, bytes),
    release: async () => drive.dma.unmap(mapping),
  };
}

/** The drive writes to host memory, from where the GPU's copy engine takes it. */
function bounced(rig: Rig): Way {
  const { drive, gpu: card, bytes, vram, params } = rig;
  const buffer = new HostBuffer(rig.host);
  const [from, to] = [
    mapped(drive, buffer.list, Direction.FromDevice),
    mapped(card, buffer.list, Direction.ToDevice),
  ];
  const step = PIECE - (PIECE % params.blockSize);
  return {
    mapType: from.mapType,
    move: async () => {
      for (const [at, size] of pieces(bytes, step)) {
        await read(rig, from, at, size);
        await copy(rig, { ranges: to.ranges }, { vram: vram + at }, size);
      }
    },
    release: async () => {
      await drive.dma.unmap(from);
      await card.dma.unmap(to);
      buffer.free();
    },
  };
}

/** SHA-256 of the input's bytes in VRAM, fetched by the GPU's copy engine. */
async function digestOfVram(rig: Rig): Promise<string> {
  const { host, gpu: card, vram } = rig;
  const buffer = new HostBuffer(host);
  const mapping = mapped(card, buffer.list, Direction.FromDevice);
  const hash = createHash('sha256');
  const bytes = new Uint8Array(PIECE);
  for (const [at, size] of pieces(inputBytes(rig.params), PIECE)) {
    await copy(rig, { vram: vram + at }, { ranges: mapping.ranges }, size);
    const part = bytes.subarray(0, size);
    host.mm.memory.read(buffer.address, part);
    hash.update(part);
  }
  await card.dma.unmap(mapping);
  buffer.free();
  return hash.digest('hex');
}

/** A piece of pinned host memory. */
class HostBuffer {
  readonly address: PhysAddr;
  readonly list: PhyRangeList;
  readonly #host: Machine;

  constructor(host: Machine) {
    this.#host = host;
    this.address = host.mm.allocate(PIECE);
    this.list = host.mm.pin(this.address, PIECE);
  }

  free(): void {
    this.#host.mm.free(this.address, PIECE);
  }
}

async function copy({ gpu: card }: Rig, from: GpuLocation, to: GpuLocation, sizeBytes: number) {
  const status = await card.copy({ from, to, sizeBytes });
  if (status !== GpuStatus.Ok) throw new Error(`${card.name}: a copy ended with ${status}`);
}

/** Cuts `total` bytes: position and size of each piece. */
function* pieces(total: number, step: number): Iterable<[at: number, size: number]> {
  for (let at = 0; at < total; at += step) yield [at, Math.min(step, total - at)];
}

/** Bytes and TLPs so far. */
function traffic(host: Machine) {
  const upstream = host.links().find(({ path }) => path.endsWith(`.${SWITCH}`));
  if (!upstream) throw new Error(`no link leads to ${SWITCH}`);
  const { up, down } = upstream;
  const { counters } = host.root.server;
  return {
    upstreamData: up.dataBytes + down.dataBytes,
    upstreamControl: up.controlBytes + down.controlBytes,
    hostMemory:
      (counters[MemoryCounter.dataRead] ?? 0) + (counters[MemoryCounter.dataWritten] ?? 0),
    tlps: host.fabric.delivered,
  };
}

/** Moves the input by one route and measures it: a row of the table. */
async function measure(rig: Rig): Promise<Row> {
  const { route, host, drive, bytes } = rig;
  const way = route === 'host' ? bounced(rig) : directly(rig);
  const before = traffic(host);
  const startPs = host.kernel.now;
  if (bytes > 0) await way.move();
  const seconds = (host.kernel.now - startPs) / 1e12;
  const after = traffic(host);
  await way.release();
  const timed = host.fabric.fidelity === 'timed';
  const shown = timed && bytes > 0;
  return {
    route,
    mapType: way.mapType,
    rate: shown ? bytes / seconds : null,
    latencyMean: shown ? drive.latencies.mean() / 1e3 : null,
    latencyP99: shown ? drive.latencies.percentile(99) / 1e3 : null,
    upstreamData: after.upstreamData - before.upstreamData,
    upstreamControl: after.upstreamControl - before.upstreamControl,
    hostMemory: after.hostMemory - before.hostMemory,
    tlps: timed ? after.tlps - before.tlps : null,
  };
}
type Measure = keyof typeof UNITS;
type Row = Readonly<Record<Measure, number | null> & Record<'route' | 'mapType', string>>;

/** Units of the metrics, and of the table's columns. */
const UNITS = {
  rate: 'B/s',
  latencyMean: 'ns',
  latencyP99: 'ns',
  upstreamData: 'B',
  upstreamControl: 'B',
  hostMemory: 'B',
  tlps: '',
} as const;

export default defineScenario({
  summary: 'a file from an NVMe drive into GPU memory: peer to peer, through the root, bounced',
  params,
  topology(p, { seed }) {
    checkParams(p);
    const routes = ROUTES.filter((route) => p.route === 'all' || p.route === route);
    return Object.fromEntries(routes.map((route) => [route, plan(route, p, seed)]));
  },
  async run({ machines, params: p, seed, release, check, metric, table, progress }) {
    const expected = sha256(p.input === null ? seededData(p.size, seed) : fileData(p.input));
    const bytes = movedBytes(p);
    const rows: Row[] = [];
    for (const route of ROUTES) {
      const host = machines[route];
      if (!host) continue;
      const drive = await openNvme(host, DRIVE, { queueDepth: p.queueDepth });
      const card = await openGpu(host, GPU);
      const vram = card.vram.allocate(Math.max(bytes, p.blockSize));
      const rig: Rig = {
        ...{ route, host, drive, gpu: card, params: p, bytes, vram },
        progress: (done) => progress(done, bytes, route),
      };
      rows.push(await measure(rig));
      const digest = await digestOfVram(rig);
      check.equal(`${route}: SHA-256 of what is in VRAM`, digest, expected);
      for (const device of [drive, card]) await device.close();
      // Before the next route takes as much memory.
      release(host);
    }
    let key: Measure;
    for (const row of rows) {
      for (key in UNITS) metric(`${row.route}.${key}`, row[key], UNITS[key]);
    }
    table('routes', rows, UNITS);
  },
});
