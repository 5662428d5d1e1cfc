/**
 * Runs what a timing row says and measures it: rates over a steady part of a stream, times of single transfers,
 * and TLPs on a link.
 * @module
 */
import { openNvme } from '#devices/nvme/index.ts';
import { EmuError, invariant, usage } from '#emu/base/errors.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import type { Machine } from '#emu/host/machine.ts';
import type { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import { ackLatencySymbols } from '#emu/pcie/link/ack-timing.ts';
import { serialisationPs } from '#emu/pcie/link/link-timing.ts';
import { isCompletion } from '#emu/pcie/tlp/tlp.ts';
import type { Pending } from '#emu/sim/pending.ts';
import type {
  NvmeWorkload,
  StreamWorkload,
  TimingMachine,
  TimingQuantity,
  TimingRow,
} from './timing-row.ts';
import { DRIVE, TARGET, TimingStand } from './timing-stand.ts';
import { TlpTally } from './tlp-tally.ts';
import type { Traffic, TrafficPlan } from './traffic.ts';

/** Transfers before measuring begins, and how many are measured, of each requester. */
const WARM_UP = 2000;
const MEASURED = 8000;
const SAMPLES = 64;
const PS_PER_SECOND = 1e12;

/** What a row's machine gives for its workload, in the unit of its quantity. */
export function measureRow(row: TimingRow): number {
  const value = measure(row.machine, row);
  if (row.against === undefined) return value;
  const { how, machine } = row.against;
  const other = measure(
    { ...row.machine, ...machine, link: machine.link ?? row.machine.link },
    row,
  );
  return how === 'difference' ? value - other : value / other;
}

function measure(config: TimingMachine, { workload, quantity }: TimingRow): number {
  if (quantity.name === 'ack-latency') {
    const { gen, width } = config.link;
    invariant(gen !== 6, 'flits have no Ack DLLPs');
    return ackLatencySymbols({ gen, width }, config.maxPayloadBytes ?? 256);
  }
  const requesters = workload.type === 'stream' ? workload.requesters : 1;
  const drive = workload.type === 'nvme';
  const stand = new TimingStand(config, { requesters: drive ? 0 : requesters, drive });
  try {
    if (workload.type === 'nvme') return nvme(stand, workload, quantity);
    if (workload.type === 'mmio-read') {
      if (quantity.name !== 'latency') throw unsuited(quantity);
      return mmioRead(stand, workload.sizeBytes);
    }
    if (workload.addressBits === 64) stand.fillLowMemory();
    if (workload.type === 'stream') return streamRate(stand, workload, quantity);
    return single(stand, workload, quantity);
  } finally {
    stand.dispose();
  }
}

/** Rate of the middle of a stream, all requesters together; of reads with as many writes, that of either. */
function streamRate(
  stand: TimingStand,
  workload: Extract<StreamWorkload, { type: 'stream' }>,
  quantity: TimingQuantity,
): number {
  expectQuantity(quantity, 'payload-rate');
  const { requesters, requesterGBps, outstanding, sizeBytes, op } = workload;
  const spacingPs = requesterGBps === undefined ? 0 : (1000 * sizeBytes) / requesterGBps;
  const meters = Array.from({ length: requesters }, (_, i) => {
    const plan = { ...planOf(stand, i, workload), outstanding, spacingPs };
    return new Meter(stand.requester(i), plan, WARM_UP, WARM_UP + MEASURED);
  });
  const { kernel } = stand.machine;
  while (!meters.every((meter) => meter.isOver)) {
    if (!kernel.runSlice(1000)) throw new EmuError('INVARIANT', 'a stream of transfers ended');
  }
  const bytesPerPs = meters.reduce((sum, meter) => sum + meter.transfersPerPs * sizeBytes, 0);
  const directions = op === 'both' ? 2 : 1;
  return inUnit(stand.config, (bytesPerPs * 1000) / directions, quantity);
}

/** From the first to the last of some transfers, in a stream that goes on. */
class Meter {
  readonly #last: number;
  readonly #first: number;
  readonly #traffic: Traffic;
  #from = 0;
  #to = 0;

  constructor(traffic: Traffic, plan: TrafficPlan, first: number, last: number) {
    this.#traffic = traffic;
    this.#first = first;
    this.#last = last;
    traffic.onDone = () => this.#note();
    traffic.start(plan, Number.POSITIVE_INFINITY);
  }

  get isOver(): boolean {
    return this.#traffic.done >= this.#last;
  }

  get transfersPerPs(): number {
    return (this.#last - this.#first) / (this.#to - this.#from);
  }

  #note(): void {
    const { done, doneAt } = this.#traffic;
    if (done === this.#first) this.#from = doneAt;
    if (done === this.#last) this.#to = doneAt;
  }
}

/** GB/s as the quantity wants them. */
function inUnit(config: TimingMachine, gigabytes: number, quantity: RateQuantity): number {
  const { unit, budget } = quantity;
  if (budget === undefined) return unit === 'GB/s' ? gigabytes : 8 * gigabytes;
  return (gigabytes * serialisationPs(config.link, 1) * budget) / 1000;
}

type RateQuantity = Extract<TimingQuantity, { name: 'payload-rate' }>;

/** One transfer at a time: how long it takes, or what it puts on a link. */
function single(
  stand: TimingStand,
  workload: Extract<StreamWorkload, { type: 'single' }>,
  quantity: TimingQuantity,
): number {
  const traffic = stand.requester(0);
  const plan = { ...planOf(stand, 0, workload), outstanding: 1, spacingPs: 0 };
  if (quantity.name === 'latency') {
    const isRequest = plan.op === 'write' || quantity.of === 'request';
    return median(
      Array.from({ length: SAMPLES }, () => latencyNs(stand, traffic, plan, isRequest)),
    );
  }
  return tallied(stand, traffic.device.endpoint, quantity, () => {
    traffic.start(plan, 1);
    stand.machine.kernel.run();
  });
}

/** Until a request has arrived, or its data are there, ns. */
function latencyNs(
  { machine }: TimingStand,
  traffic: Traffic,
  plan: TrafficPlan,
  isRequest: boolean,
): number {
  const { kernel, fabric } = machine;
  const begun = kernel.now;
  let arrived = begun;
  fabric.probe = {
    sent: () => {},
    delivered: (_path, tlp) => {
      if (!isCompletion(tlp)) arrived = kernel.now;
    },
    refused: () => {},
  };
  traffic.start(plan, 1);
  kernel.run();
  fabric.probe = null;
  return ((isRequest ? arrived : traffic.doneAt) - begun) / 1000;
}

function planOf(
  stand: TimingStand,
  i: number,
  { op, sizeBytes, windowBytes, random }: StreamWorkload,
): Omit<TrafficPlan, 'outstanding' | 'spacingPs'> {
  const stream = random ? stand.machine.kernel.random(`timing requester ${i}`) : null;
  return { op, sizeBytes, windowBytes, random: stream, base: stand.target(i, windowBytes) };
}

/** TLPs, or their bytes, that `run` puts on the link of the requester or of the target. */
function tallied(
  { machine }: TimingStand,
  requester: Endpoint,
  quantity: TimingQuantity,
  run: () => void,
): number {
  if (quantity.name !== 'tlps' && quantity.name !== 'wire-bytes') throw unsuited(quantity);
  const end = quantity.at === 'requester' ? requester : machine.endpoint(TARGET);
  const tally = new TlpTally(end.port);
  machine.fabric.probe = tally;
  run();
  machine.fabric.probe = null;
  return quantity.name === 'tlps' ? tally.count(quantity) : tally.wireBytes(quantity);
}

/** A CPU's load from the requester's registers, ns. */
function mmioRead({ machine }: TimingStand, sizeBytes: 1 | 2 | 4): number {
  const [bar] = machine.pci.node('requester0').bars;
  invariant(bar !== undefined, 'an exerciser has a BAR');
  const { kernel } = machine;
  const begun = kernel.now;
  const answer = machine.root.mmioRead(bar.address, sizeBytes);
  kernel.run();
  invariant(answer.done, 'a register is read');
  return (kernel.now - begun) / 1000;
}

/** Commands of the NVMe driver: what they put on the drive's link, or how fast they are. */
function nvme(stand: TimingStand, workload: NvmeWorkload, quantity: TimingQuantity): number {
  const { machine } = stand;
  const { op, sizeBytes, commands, queueDepth } = workload;
  stand.fillLowMemory();
  const drive = finished(machine, openNvme(machine, DRIVE, { queueDepth }));
  const bytes = sizeBytes * commands;
  const memory = machine.mm.allocate(bytes);
  const mapping = drive.dma.map(PhyRangeList.of(memory, bytes), Direction.Bidirectional);
  invariant(!isRefusal(mapping), 'host memory is mapped');
  const move = () => {
    const request = { direction: op, block: 0, mapping, commandBytes: sizeBytes };
    const result = finished(machine, drive.transfer(request));
    invariant(result.ok, `nvme ${op}: ${result.status}`);
    return result.endedPs - result.startedPs;
  };
  if (quantity.name === 'tlps' || quantity.name === 'wire-bytes') {
    return tallied(stand, machine.endpoint(DRIVE), quantity, move);
  }
  const elapsedPs = move();
  if (quantity.name === 'command-rate') return (PS_PER_SECOND * commands) / elapsedPs;
  expectQuantity(quantity, 'payload-rate');
  return inUnit(stand.config, (1000 * bytes) / elapsedPs, quantity);
}

/** Runs the machine until `pending` is done. */
function finished<T>({ kernel }: Machine, pending: Pending<T>): T {
  kernel.run();
  return pending.value;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function expectQuantity(
  quantity: TimingQuantity,
  name: 'payload-rate',
): asserts quantity is RateQuantity {
  if (quantity.name !== name) throw unsuited(quantity);
}

const unsuited = ({ name }: TimingQuantity) =>
  usage(`quantity: expected one that the workload has, got '${name}'`);
