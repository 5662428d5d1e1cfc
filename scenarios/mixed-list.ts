/**
 * One NVMe command whose data goes to host pages, then GPU memory, then host pages again: which addresses the
 * drive is given for that list, by which way each part arrives, and what becomes of wrong addresses. [P2PDMA], [PHYR]
 * @module
 */
import {
  type Check,
  Direction,
  type DmaAddr,
  DmaFlag,
  DmaRangeList,
  defineScenario,
  delay,
  dmaAddr,
  type FaultRecord,
  formatBdf,
  hex,
  isRefusal,
  type Machine,
  type MachinePlan,
  type MapRefusal,
  MemoryStore,
  machine,
  observe,
  offsetBy,
  type ParamValues,
  PhyRangeList,
  type PhysAddr,
  param,
  pcieSwitch,
  Random,
  type TableRow,
  us,
  usage,
} from 'pcie-emu';
import { type GpuDevice, GpuStatus, gpu, openGpu } from 'pcie-emu/devices/gpu';
import { type NvmeDrive, nvme, openNvme } from 'pcie-emu/devices/nvme';

const PAGE = 4096;
const BLOCK = 512;
const MiB = 2 ** 20;
const GiB = 2 ** 30;
const [DRIVE, GPU, SWITCH] = ['nvme0', 'gpu0', 'sw0'];
/** What memory holds where nothing should arrive. */
const BACKGROUND = 0xa5;
/** Time for the last posted write to arrive, and for host software to read the fault queue. */
const SETTLE_PS = us(200);
/** The IOMMU cause that occurs here. [RVIOMMU] 3.2 */
const CAUSES: Readonly<Record<number, string>> = { 15: 'cause 15, write page fault' };

const params = {
  hostPages: param.int(2, 'host pages before the GPU memory, and after it', { min: 1, max: 32 }),
  gpuBytes: param.bytes('64KiB', 'GPU memory between the host pages, in blocks of 512', {
    min: BLOCK,
    max: '512KiB',
  }),
  descriptors: param.choice(['auto', 'prp', 'sgl'], 'auto', 'how the command describes its data'),
};
type Params = ParamValues<typeof params>;

/** @throws USAGE for parameters that do not fit together */
function checkParams({ gpuBytes, descriptors }: Params): void {
  const step = descriptors === 'prp' ? PAGE : BLOCK;
  if (gpuBytes % step === 0) return;
  throw usage(`gpuBytes: expected a multiple of ${step}, got ${gpuBytes}`, { key: 'gpuBytes' });
}

/** The drive's content: twice as much as the largest command takes. */
function driveData(seed: number): Uint8Array {
  const bytes = new Uint8Array(2 * MiB);
  new Random(seed, 'mixed-list').fill(bytes);
  return bytes;
}

function storeOf(seed: number): MemoryStore {
  const data = driveData(seed);
  const store = new MemoryStore({ blockCount: data.length / BLOCK, blockSizeBytes: BLOCK });
  store.memory.write(0, data);
  return store;
}

/**
 * `switch`: IOMMU on and redirects off, so that peers below the switch use bus addresses. `offset`: no IOMMU, and a bus
 * whose addresses are not the CPU's. `redirect`: ACS sends peer requests up to the IOMMU. `refused`: a root port each,
 * and neither software nor hardware lets peers through the host bridge.
 */
function plans(seed: number): Readonly<Record<string, MachinePlan>> {
  const drive = nvme({ name: DRIVE, store: () => storeOf(seed) });
  const ports = [
    { link: { gen: 4, width: 4 }, device: drive },
    { link: { gen: 4, width: 16 }, device: gpu({ name: GPU, vramBytes: 16 * MiB }) },
  ] as const;
  const rootPorts = [{ device: pcieSwitch({ name: SWITCH, ports }) }];
  // Mistakes are the point here: the checker of mappings is to tell of them, not to stop at the first.
  const checker = { onError: 'collect' } as const;
  const never = { hostBridgeAllowList: [], peerForwarding: false };
  return {
    switch: machine({ checker, iommu: true, acs: 'off', rootPorts }),
    offset: machine({ checker, hostBridges: [{ busOffset: { high: 64 * GiB }, rootPorts }] }),
    redirect: machine({ checker, iommu: true, acs: 'linux', rootPorts }),
    refused: machine({ checker, ...never, rootPorts: ports }),
  };
}

/** What a run tells, with the units of columns. */
const TABLES = {
  inList: { length: 'B' },
  outList: { length: 'B' },
  commands: { upstream: 'B', latency: 'ns' },
  wrongUse: {},
} as const;
type Tables = Readonly<Record<keyof typeof TABLES, TableRow[]>>;

/** What all machines have in common. */
interface Run {
  readonly params: Params;
  readonly check: Check;
  readonly data: Uint8Array;
  readonly tables: Tables;
}

/** A machine with its devices opened, and the faults it has shown so far. */
interface Rig extends Run {
  readonly name: string;
  readonly host: Machine;
  readonly drive: NvmeDrive;
  readonly gpu: GpuDevice;
  readonly faults: FaultRecord[];
}

async function open(name: string, host: Machine, run: Run): Promise<Rig> {
  const faults: FaultRecord[] = [];
  observe(host).on('fault', (fault) => faults.push(fault));
  const drive = await openNvme(host, DRIVE, { descriptors: run.params.descriptors });
  return { ...run, name, host, drive, gpu: await openGpu(host, GPU), faults };
}

const settle = ({ host }: Rig) => host.kernel.spawn('settle', delay(SETTLE_PS));

/** A piece of memory as software thinks of it. */
interface Piece {
  readonly memory: 'host' | 'GPU';
  readonly address: PhysAddr;
  readonly sizeBytes: number;
}

/** GPU memory, with a page on either side that stays as it is. */
function gpuPiece({ gpu: card }: Rig, sizeBytes: number): Piece {
  const offset = card.vram.allocate(sizeBytes + 2 * PAGE) + PAGE;
  return { memory: 'GPU', address: offsetBy(card.vram.address, offset), sizeBytes };
}

/** Host pages that are no neighbours, GPU memory, and such pages again. */
function allocate(rig: Rig): readonly Piece[] {
  const { hostPages, gpuBytes } = rig.params;
  const first = rig.host.mm.allocate(4 * hostPages * PAGE);
  const pages = Array.from({ length: 2 * hostPages }, (_, i): Piece => {
    return { memory: 'host', address: offsetBy(first, 2 * i * PAGE), sizeBytes: PAGE };
  }).reverse();
  return [...pages.slice(0, hostPages), gpuPiece(rig, gpuBytes), ...pages.slice(hostPages)];
}

function hostBytes({ host }: Rig, address: PhysAddr, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  host.mm.memory.read(address, bytes);
  return bytes;
}

/** What is there now: host memory as the CPU reads it, GPU memory as the GPU's own engine copies it out. */
async function bytesAt(rig: Rig, { memory, address, sizeBytes }: Piece): Promise<Uint8Array> {
  if (memory === 'host') return hostBytes(rig, address, sizeBytes);
  const { host, gpu: card } = rig;
  const buffer = host.mm.allocate(sizeBytes);
  const mapping = card.dma.map(host.mm.pin(buffer, sizeBytes), Direction.FromDevice);
  if (isRefusal(mapping)) throw new Error(`${card.name}: ${mapping.reason}`);
  const from = { vram: address - card.vram.address };
  const status = await card.copy({ from, to: { ranges: mapping.ranges }, sizeBytes });
  if (status !== GpuStatus.Ok) throw new Error(`${card.name}: a copy ended with ${status}`);
  await card.dma.unmap(mapping);
  const bytes = hostBytes(rig, buffer, sizeBytes);
  host.mm.free(buffer, sizeBytes);
  return bytes;
}

/** Fills a piece with the background, with `margin` bytes before and after it. */
async function clear(rig: Rig, { memory, address, sizeBytes }: Piece, margin = 0): Promise<void> {
  const [start, bytes] = [address - margin, sizeBytes + 2 * margin];
  if (memory === 'host') return rig.host.mm.memory.fill(start, bytes, BACKGROUND);
  const to = { vram: start - rig.gpu.vram.address };
  await rig.gpu.fill({ to, sizeBytes: bytes, value: BACKGROUND });
}

// ---------------------------------------------------------------- the list, mapped as it should be

/** Data that crossed the switch's link to the root complex, both ways together. */
function upstreamBytes({ host }: Rig): number {
  const link = host.links().find(({ path }) => path.endsWith(`.${SWITCH}`));
  return link ? link.up.dataBytes + link.down.dataBytes : 0;
}

/** Reads into the whole list with one command, if it can be mapped, and checks every byte. */
async function readMixed(rig: Rig): Promise<void> {
  const { name, host, drive, check, tables } = rig;
  const pieces = allocate(rig);
  const list = new PhyRangeList();
  for (const [range, { memory, address, sizeBytes }] of pieces.entries()) {
    list.append(address, sizeBytes);
    tables.inList.push({ machine: name, range, memory, address: hex(address), length: sizeBytes });
  }
  const mapping = drive.dma.map(list, Direction.FromDevice);
  if (isRefusal(mapping)) return refused(rig, mapping);
  const other = host.iommu ? 'IOVA' : 'physical';
  for (const [range, { address, length, flags }] of [...mapping.ranges].entries()) {
    const kind = flags & DmaFlag.BusAddress ? 'bus' : other;
    tables.outList.push({ machine: name, range, kind, address: hex(address), length });
  }
  for (const piece of pieces) await clear(rig, piece, piece.memory === 'GPU' ? PAGE : 0);
  const before = upstreamBytes(rig);
  const { status, latencyPs } = await drive.read({
    block: 0,
    count: list.sizeBytes / BLOCK,
    mapping,
  });
  await settle(rig);
  tables.commands.push({
    ...{ machine: name, mapType: mapping.mapType, refusal: null, status },
    descriptors: drive.descriptors.sgl > 0 ? 'SGL' : 'PRP',
    upstream: upstreamBytes(rig) - before,
    latency: host.fabric.fidelity === 'timed' ? latencyPs / 1e3 : null,
  });
  check.equal(`${name}: the command`, status, 'Success');
  await drive.dma.unmap(mapping);
  await checkBytes(rig, pieces);
}

/** Nothing was mapped: there is no list for the device and no command. */
function refused({ name, check, tables }: Rig, refusal: MapRefusal): void {
  const command = { mapType: null, refusal: refusal.refused, status: null, descriptors: null };
  tables.commands.push({ machine: name, ...command, upstream: 0, latency: null });
  tables.wrongUse.push({
    ...{ machine: name, believed: 'anything: map() will do', programmed: 'nothing' },
    ...{ address: null, happened: 'refused', landed: null, read: null, write: null },
    ...{ fault: refusal.refused, recordedBy: 'map()', checker: null },
  });
  const isForGood = refusal.refused === 'EREMOTEIO';
  check.ok(`${name}: map() refuses the list for good`, isForGood, refusal.reason);
}

/** Compares each piece with its part of the data, and what lies around the GPU's with the background. */
async function checkBytes(rig: Rig, pieces: readonly Piece[]): Promise<void> {
  const { check, data } = rig;
  let at = 0;
  for (const [range, piece] of pieces.entries()) {
    const { memory, address, sizeBytes } = piece;
    const name = `${rig.name}: range ${range}, ${memory} memory`;
    check.bytes(name, await bytesAt(rig, piece), data.subarray(at, at + sizeBytes));
    at += sizeBytes;
    if (memory === 'host') continue;
    for (const [side, offset] of [
      ['before', -PAGE],
      ['behind', sizeBytes],
    ] as const) {
      const margin = { memory, address: offsetBy(address, offset), sizeBytes: PAGE };
      const background = new Uint8Array(PAGE).fill(BACKGROUND);
      check.bytes(`${name}, the page ${side} it`, await bytesAt(rig, margin), background);
    }
  }
}

// ---------------------------------------------------------------- wrong addresses

/** First block of the commands with wrong addresses, and behind their data the first that they may overwrite. */
const [TRIAL_BLOCK, SCRAP_BLOCK] = [MiB / BLOCK, (MiB + PAGE) / BLOCK];

/** An address that software takes for one of another map type. */
interface Mistake {
  /** Map type, and what the address would be. */
  readonly believed: string;
  /** What it is. */
  readonly programmed: string;
  readonly address: 'bar' | 'physical' | 'stale';
  /** Where the bytes should go, and what becomes of them instead. */
  readonly aim: Piece['memory'];
  readonly expected: 'misrouted' | 'detour' | 'faulted' | 'refused';
}

const mistake = (
  believed: string,
  programmed: string,
  address: Mistake['address'],
  aim: Mistake['aim'],
  expected: Mistake['expected'],
): Mistake => ({ believed, programmed, address, aim, expected });

const MISTAKES: Readonly<Record<string, readonly Mistake[]>> = {
  switch: [
    mistake('NONE: IOVA of a host page', "within the GPU's window", 'bar', 'host', 'misrouted'),
  ],
  offset: [mistake('BUS_ADDR: bus address', 'BAR as the CPU has it', 'bar', 'GPU', 'detour')],
  redirect: [
    mistake('BUS_ADDR: not redirected', 'bus address', 'bar', 'GPU', 'faulted'),
    mistake('THRU_HOST_BRIDGE: mapped', 'IOVA unmapped before', 'stale', 'GPU', 'faulted'),
    mistake('NONE: no IOMMU', 'physical address', 'physical', 'host', 'faulted'),
  ],
  refused: [mistake('THRU_HOST_BRIDGE: allowed', 'BAR', 'bar', 'GPU', 'refused')],
};

/** The address to make a mistake with: of the GPU's memory, or of a host page. */
async function addressOf({ drive }: Rig, intent: Mistake, page: Piece, vram: Piece) {
  if (intent.address === 'physical') return dmaAddr(page.address);
  if (intent.address === 'bar') return dmaAddr(vram.address);
  const mapping = drive.dma.map(PhyRangeList.of(vram.address, PAGE), Direction.FromDevice);
  if (isRefusal(mapping)) throw new Error(`${drive.name}: ${mapping.reason}`);
  const address = mapping.ranges.address(0);
  await drive.dma.unmap(mapping);
  return address;
}

/** Gives the drive the address, one command each way: a row of what became of it. */
async function tryOut(rig: Rig, pages: readonly Piece[], address: DmaAddr, intent: Mistake) {
  const { host, drive, faults, data } = rig;
  const { believed, programmed, aim } = intent;
  for (const page of pages) await clear(rig, page);
  const logged = host.faults?.count ?? 0;
  const reported = host.checker?.count ?? 0;
  faults.length = 0;
  const upstream = upstreamBytes(rig);
  const request = { count: PAGE / BLOCK, ranges: DmaRangeList.of(address, PAGE) };
  const read = await drive.read({ ...request, block: TRIAL_BLOCK });
  await settle(rig);
  const crossed = upstreamBytes(rig) - upstream;
  const sent = data.subarray(MiB, MiB + PAGE).toString();
  const landed = [];
  for (const page of pages) if (`${await bytesAt(rig, page)}` === sent) landed.push(page.memory);
  const record = faultOf(rig, logged);
  const write = await drive.write({ ...request, block: SCRAP_BLOCK });
  await settle(rig);
  let happened = landed.includes(aim) ? 'arrived' : 'misrouted';
  if (happened === 'arrived' && aim === 'GPU' && crossed > 0) happened = 'detour';
  if (landed.length === 0) happened = record.recordedBy === QUEUE ? 'faulted' : 'refused';
  return {
    ...{ machine: rig.name, believed, programmed, address: hex(address), happened },
    ...{ landed: landed.join() || null, read: read.status, write: write.status, ...record },
    checker: host.checker?.reports[reported]?.class ?? null,
  };
}

const QUEUE = 'IOMMU fault queue';

/** The first fault since `logged`: as the IOMMU's driver found it in the queue, else as a component reported it. */
function faultOf({ host, faults }: Rig, logged: number) {
  const log = host.faults;
  const [entry] = log ? log.faults.slice(log.faults.length - (log.count - logged)) : [];
  const first = entry ?? faults[0];
  if (!first) return { fault: null, recordedBy: null };
  const fault = `${CAUSES[Number(first.cause)] ?? first.cause}, from ${formatBdf(first.requester)}`;
  return { fault, recordedBy: entry ? QUEUE : (faults[0]?.path ?? null) };
}

/** What becomes of each mistake that the machine makes something of. */
async function misuse(rig: Rig): Promise<void> {
  const { name, host, check, tables } = rig;
  const page: Piece = { memory: 'host', address: host.mm.allocate(PAGE), sizeBytes: PAGE };
  const vram = gpuPiece(rig, PAGE);
  for (const intent of MISTAKES[name] ?? []) {
    const address = await addressOf(rig, intent, page, vram);
    const row = await tryOut(rig, [page, vram], address, intent);
    tables.wrongUse.push(row);
    const { believed, programmed, expected } = intent;
    check.equal(`${name}: ${programmed}, believed ${believed}`, row.happened, expected);
  }
}

export default defineScenario({
  summary:
    'one NVMe command into host pages, GPU memory and host pages; and wrong addresses for it',
  params,
  topology(p, { seed }) {
    checkParams(p);
    return plans(seed);
  },
  async run({ machines, params: p, seed, check, table }) {
    const tables: Tables = { inList: [], outList: [], commands: [], wrongUse: [] };
    const run = { params: p, check, data: driveData(seed), tables };
    for (const [name, host] of Object.entries(machines)) {
      const rig = await open(name, host, run);
      await readMixed(rig);
      await misuse(rig);
      for (const device of [rig.drive, rig.gpu]) await device.close();
      check.equal(`${name}: mappings left`, host.checker?.live().length, 0);
    }
    const inHost = 2 * p.hostPages * PAGE;
    const expected = [inHost, inHost, inHost + 2 * p.gpuBytes, 0];
    for (const [i, { machine: name, upstream }] of tables.commands.entries()) {
      check.equal(`${name}: data on the link to the root complex`, upstream, expected[i]);
    }
    let name: keyof Tables;
    for (name in TABLES) table(name, tables[name], TABLES[name]);
  },
});
