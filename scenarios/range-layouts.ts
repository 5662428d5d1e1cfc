/**
 * What it takes to describe the same memory: scatterlists and every layout of range lists, for pages, large pages,
 * one piece, fragments, and with a peer's memory. Sizes are checked; times are this computer's. [PHYR]
 * @module
 */
import {
  Direction,
  type DmaMapping,
  defineScenario,
  isRefusal,
  LegacyDomain,
  type Machine,
  machine,
  type ParamValues,
  type Pending,
  PhyRangeList,
  PROVIDER_INDEX,
  param,
  pcieSwitch,
  phyCursor,
  physAddr,
  type Random,
  type RangeLayout,
  RangeLayouts,
  type ScatterLayout,
  ScatterLayouts,
  ScatterList,
  usage,
} from 'pcie-emu';
import { edu } from 'pcie-emu/devices/edu';
import { gpu } from 'pcie-emu/devices/gpu';

const [KiB, MiB, GiB] = [2 ** 10, 2 ** 20, 2 ** 30];
const PAGE = 4 * KiB;
const LARGE_PAGE = 2 * MiB;
/** Fragments are aligned as direct I/O is: to blocks of a disk, not to pages. */
const SECTOR = 512;
/** Longest piece where 32 bits hold a length: they end at their last page. */
const LONGEST_32 = 4 * GiB - PAGE;
const [CLIENT, PEER] = ['edu0', 'gpu0'];
/** Number of the peer among the owners of memory that is not the host's. */
const PEER_FLAGS = PROVIDER_INDEX.of(1);

/** A piece of memory. */
type Piece = readonly [address: number, length: number, flags: number];

/** Where memory is, and how much of it to describe. */
interface Place {
  readonly dram: number;
  readonly bar: number;
  readonly size: number;
  readonly random: Random;
}

/** Every second of equal pages, so that none continues another. */
const everySecond = ({ dram, size }: Place, pageBytes: number): Piece[] =>
  Array.from({ length: size / pageBytes }, (_, i) => [dram + 2 * i * pageBytes, pageBytes, 0]);

/** Pieces of 512 bytes to 64 KiB with gaps no longer than they are. */
function fragments({ dram, size, random }: Place): Piece[] {
  const pieces: Piece[] = [];
  for (let at = dram, left = size; left > 0; ) {
    const sectors = 1 + random.below(128);
    const length = Math.min(left, sectors * SECTOR);
    pieces.push([at, length, 0]);
    at += length + (1 + random.below(sectors)) * SECTOR;
    left -= length;
  }
  return pieces;
}

/** Pages of the host and larger pieces of the peer's memory in turn, half of each. */
function withPeer({ dram, bar, size }: Place): Piece[] {
  const length = 16 * PAGE;
  const pieces: Piece[] = [];
  for (let at = 0; at < size / 2; at += length) {
    for (let page = 0; page < length; page += PAGE) pieces.push([dram + 2 * (at + page), PAGE, 0]);
    pieces.push([bar + 2 * at, length, PEER_FLAGS]);
  }
  return pieces;
}

/** What is described, by the first part of a row's name. */
const MEMORIES: readonly (readonly [name: string, at: (place: Place) => Piece[]])[] = [
  ['pages4k', (place) => everySecond(place, PAGE)],
  ['pages2m', (place) => everySecond(place, LARGE_PAGE)],
  ['contiguous', ({ dram, size }) => [[dram, size, 0]]],
  ['fragments', fragments],
  ['withPeer', withPeer],
];

const params = {
  size: param.bytes('1GiB', 'memory that each list describes; a multiple of 4 MiB', {
    min: 4 * MiB,
    max: 16 * GiB,
  }),
  memory: param.choice(['all', ...MEMORIES.map(([name]) => name)], 'all', 'what is described'),
  rounds: param.int(5, 'how often each step is timed; the fastest counts', { min: 1, max: 100 }),
  time: param.flag(true, "measure this computer's time; without it equal runs print the same"),
};
type Params = ParamValues<typeof params>;

/** Memory in a list of some kind. */
interface Described {
  readonly ranges: number;
  readonly metadata: number;
  readonly storage: number;
  /** Reads every address and length; returns the bytes seen. */
  walk(): number;
  /** The same memory in the fewest ranges. */
  runs(): PhyRangeList;
  /** As providers map it: those of today the one kind, those from before range lists the other. */
  readonly list: PhyRangeList | ScatterList;
}

/** A way to describe memory, by the second part of a row's name. */
interface Way {
  readonly name: string;
  /** Longest piece that one entry holds. */
  readonly longest: number;
  /** Bytes of the entry for a piece no longer than that. */
  entryBytes(address: number, length: number, flags: number): number;
  describe(pieces: readonly Piece[]): Described;
}

function rangeWay(layout: RangeLayout): Way {
  const { packed, compact } = RangeLayouts;
  const cursor = phyCursor();
  return {
    name: layout.name,
    longest: layout === packed ? LONGEST_32 : Number.POSITIVE_INFINITY,
    entryBytes: (address, length, flags) =>
      layout === compact && address % PAGE === 0 && length < 256 * MiB && flags === 0 ? 8 : 16,
    describe: (pieces) => {
      const list = new PhyRangeList(layout);
      // By index: taking the tuples apart would cost as much as appending.
      for (const piece of pieces) list.append(physAddr(piece[0]), piece[1], piece[2]);
      return {
        ...{ list, ranges: list.count, metadata: list.metadataBytes, storage: list.storageBytes },
        runs: () => list.coalesced(compact),
        walk: () => {
          let bytes = 0;
          for (list.open(cursor); cursor.next(); ) bytes += cursor.address > 0 ? cursor.length : 0;
          return bytes;
        },
      };
    },
  };
}

function scatterWay(layout: ScatterLayout): Way {
  return {
    name: layout.name,
    longest: LONGEST_32,
    entryBytes: () => layout.entryBytes,
    describe: (pieces) => {
      const list = scatterList(pieces, layout);
      const entries = list.cursor();
      return {
        ...{ list, ranges: list.count, metadata: list.metadataBytes, storage: list.storageBytes },
        runs: () => list.cpuList(RangeLayouts.compact).coalesced(),
        walk: () => {
          let bytes = 0;
          for (entries.rewind(); entries.next(); )
            bytes += entries.address > 0 ? entries.length : 0;
          return bytes;
        },
      };
    },
  };
}

/** As a kernel makes one: the size is known before the first entry is written. */
function scatterList(pieces: readonly Piece[], layout: ScatterLayout): ScatterList {
  let count = 0;
  for (const piece of pieces) count += Math.ceil(piece[1] / LONGEST_32);
  const list = new ScatterList(count, layout);
  const entries = list.cursor();
  for (const piece of pieces) {
    const [address, length] = [piece[0], piece[1]];
    for (let done = 0; done < length; done += LONGEST_32) {
      entries.advance();
      entries.setCpu(address + done, Math.min(LONGEST_32, length - done));
    }
  }
  return list;
}

const WAYS: readonly Way[] = [
  ...Object.values(ScatterLayouts).map(scatterWay),
  ...Object.values(RangeLayouts).map(rangeWay),
];

/** Times steps on this computer, in ns; null when not asked to. The fastest round counts. */
class Stopwatch {
  readonly #rounds: number;
  readonly #isOn: boolean;

  constructor({ rounds, time }: Params) {
    this.#rounds = time ? rounds : 1;
    this.#isOn = time;
  }

  /** @param after undoes the step; not timed */
  async time(step: () => unknown, after?: () => Promise<unknown>): Promise<number | null> {
    let fastest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#rounds; i++) {
      const start = performance.now();
      step();
      fastest = Math.min(fastest, performance.now() - start);
      await after?.();
    }
    return this.#isOn ? Math.round(fastest * 1e6) : null;
  }
}

/** What mapping gives: the list for the device, and how long it takes. */
interface Mapped {
  readonly ranges: number | null;
  /** Bytes in addition to those of the list that was mapped. */
  readonly metadata: number | null;
  readonly ns: number | null;
}

/** Makes memory accessible to the device and inaccessible again. */
interface Mapper {
  /** Null for what entries have no room to say. */
  map(): Omit<Mapped, 'ns'> | null;
  unmap(): Promise<unknown>;
}

function rangeMapper(host: Machine, list: PhyRangeList): Mapper {
  const { dma } = host.function(CLIENT);
  let mapping: DmaMapping;
  return {
    map() {
      const made = dma.map(list, Direction.FromDevice);
      if (isRefusal(made)) throw new Error(`${made.refused}: ${made.reason}`);
      mapping = made;
      return { ranges: made.ranges.count, metadata: made.ranges.metadataBytes };
    },
    unmap: async () => dma.unmap(mapping),
  };
}

/** By a provider from before range lists. A scatterlist has room for both sides, whatever is mapped. */
function scatterMapper(host: Machine, list: ScatterList): Mapper {
  let done: Pending<void> | null = null;
  const ended = () => {
    done = host.kernel.pending<void>('scatterlist unmap');
    return done;
  };
  const legacy = new LegacyDomain(host.function(CLIENT).dma.domain, ended);
  return {
    map() {
      const refusal = legacy.mapScatterlist(list, Direction.FromDevice);
      if (refusal === null) return { ranges: list.mappedCount, metadata: 0 };
      if (refusal.refused === 'EIO') return null;
      throw new Error(refusal.reason);
    },
    async unmap() {
      // What had no room has ended itself.
      if (list.mapping) legacy.unmapScatterlist(list, Direction.FromDevice, ended());
      await done;
    },
  };
}

async function map(host: Machine, { list }: Described, watch: Stopwatch): Promise<Mapped> {
  const mapper = list instanceof ScatterList ? scatterMapper(host, list) : rangeMapper(host, list);
  const size = mapper.map();
  await mapper.unmap();
  if (size === null) return { ranges: null, metadata: null, ns: null };
  return { ...size, ns: await watch.time(mapper.map, mapper.unmap) };
}

type Hosts = Readonly<Record<'direct' | 'iommu', Machine>>;

/** Measures one way to describe one piece of memory: a row of the table. */
async function measure(name: string, way: Way, pieces: Piece[], hosts: Hosts, watch: Stopwatch) {
  let made = way.describe(pieces);
  const append = await watch.time(() => {
    made = way.describe(pieces);
  });
  const iterate = await watch.time(() => made.walk());
  const direct = await map(hosts.direct, made, watch);
  const iommu = await map(hosts.iommu, made, watch);
  const row = {
    list: `${name}.${way.name}`,
    ranges: made.ranges,
    metadata: made.metadata,
    storage: made.storage,
    directRanges: direct.ranges,
    directMetadata: direct.metadata,
    iommuRanges: iommu.ranges,
    iommuMetadata: iommu.metadata,
    appendHostTime: append,
    iterateHostTime: iterate,
    directMapHostTime: direct.ns,
    iommuMapHostTime: iommu.ns,
  };
  return { row, made };
}
type Row = Awaited<ReturnType<typeof measure>>['row'];

/** Units of the metrics, and of the table's columns. Host times are this computer's, for the whole list. */
const UNITS = {
  ranges: '',
  metadata: 'B',
  storage: 'B',
  directRanges: '',
  directMetadata: 'B',
  iommuRanges: '',
  iommuMetadata: 'B',
  appendHostTime: 'ns',
  iterateHostTime: 'ns',
  directMapHostTime: 'ns',
  iommuMapHostTime: 'ns',
} as const;

/** Bytes that entries for `pieces` take by the reference's figures. */
function expectedBytes({ longest, entryBytes }: Way, pieces: readonly Piece[]): number {
  let bytes = 0;
  for (const [address, length, flags] of pieces) {
    const entries = Math.max(1, Math.ceil(length / longest));
    bytes += entries * entryBytes(address, Math.min(length, longest), flags);
  }
  return bytes;
}

/** A number that two lists of the same memory share. */
function digest(list: PhyRangeList): number {
  const cursor = phyCursor();
  let sum = 0;
  for (list.open(cursor); cursor.next(); ) {
    for (const n of [cursor.address, cursor.length]) {
      sum = Math.imul(sum ^ (n % 2 ** 32) ^ (n / 2 ** 32), 0x0100_0193);
    }
  }
  return sum >>> 0;
}

/** A device and a peer with memory of its own below one switch; `iommu` adds one for host memory. */
function plan(size: number, iommu: boolean) {
  const vramBytes = 2 ** Math.ceil(Math.log2(size));
  const ports = [{ device: edu({ name: CLIENT }) }, { device: gpu({ name: PEER, vramBytes }) }];
  return machine({
    // Every second page, and room for page tables.
    memory: { sizeBytes: Math.max(4 * GiB, 4 * size) },
    iommu,
    // It would cost more than what is measured.
    checker: false,
    // No redirection, so that the peer has bus addresses beside the IOMMU's.
    acs: 'off',
    rootPorts: [{ device: pcieSwitch({ ports }) }],
  });
}

export default defineScenario({
  summary: 'bytes and time to describe memory: scatterlists against the layouts of range lists',
  params,
  topology({ size }) {
    if (size % (2 * LARGE_PAGE) !== 0)
      throw usage(`size: expected a multiple of 4 MiB, got ${size}`);
    return { direct: plan(size, false), iommu: plan(size, true) };
  },
  async run({ machines, params: p, check, metric, table, progress, random }) {
    const { direct, iommu } = machines;
    if (!direct || !iommu) throw new Error('a machine is missing');
    const hosts = { direct, iommu };
    // Nothing is transferred, so only one of them need own the memory.
    const dram = direct.mm.allocate(2 * p.size, LARGE_PAGE);
    const bar = direct.function(PEER).bars[0]?.address ?? 0;
    const watch = new Stopwatch(p);
    const rows: Row[] = [];
    const memories = MEMORIES.filter(([name]) => p.memory === 'all' || p.memory === name);
    for (const [name, at] of memories) {
      const pieces = at({ dram, bar, size: p.size, random: random(name) });
      let common: number | null = null;
      for (const way of WAYS) {
        const { row, made } = await measure(name, way, pieces, hosts, watch);
        rows.push(row);
        progress(rows.length, memories.length * WAYS.length, row.list);
        const found = digest(made.runs());
        common ??= found;
        const same = found === common && made.walk() === p.size;
        check.ok(`${row.list}: the same memory`, same);
        check.equal(`${row.list}: bytes of metadata`, row.metadata, expectedBytes(way, pieces));
        const mapped = Math.max(row.directRanges ?? 0, row.iommuRanges ?? 0);
        check.atMost(`${row.list}: ranges for the device`, mapped, row.ranges);
      }
    }
    let key: keyof typeof UNITS;
    for (const row of rows) {
      for (key in UNITS) metric(`${row.list}.${key}`, row[key], UNITS[key]);
    }
    table('layouts', rows, UNITS);
    direct.mm.free(dram, 2 * p.size);
  },
});
