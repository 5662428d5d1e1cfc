/**
 * `emu bench fabric`: what a transaction costs, in time and in holds of the event queue measured beside it.
 * @module
 */
import process from 'node:process';
import { Recorder } from '#emu/scenario/recorder.ts';
import type { Bench, BenchResult } from './bench.ts';
import { holdCost } from './kernel-bench.ts';
import { measure, perSecond } from './measure.ts';
import { PeerTraffic, type TrafficOptions } from './peer-traffic.ts';

const MiB = 2 ** 20;
/** Bytes at the disposal of all devices of a machine together. */
const TOTAL_BYTES = 2 * MiB;
const CHUNK = 64 * 1024;
const TLP_BYTES = 256;
/** Up to the switch and down again. */
const HOPS_PER_WRITE = 2;
const PAIR = { switches: 1, devicesPerSwitch: 2, bytesPerDevice: TOTAL_BYTES / 2 } as const;

/** About 3 million link hops a second where a hold costs 24 ns; the prototype reached 11.8. */
const MAX_HOLDS_PER_WRITE = 28;
/** A read is a request and its completions, each over two links. */
const MAX_HOLDS_PER_READ_HOP = 42;
const MAX_SCAVENGES_PER_MILLION = 1;
const MIN_SHARE_OF_64 = 0.4;
/** 256 bytes at 1 GB/s and 1 MiB at 5 GB/s take 256 ns and 210 us; a hold takes 24 ns or so. */
const MAX_HOLDS_PER_256B = 10;
const MAX_HOLDS_PER_1MIB = 8_700;

/** About 3, 1.5 and 2 million link hops a second where a hold costs 24 ns. */
const ROUTES = [
  ['writeHopsAllRules', { rules: 'all' }, true, 14],
  ['readHopsAllRules', { rules: 'all' }, false, 28],
  ['hostWriteHops', { target: 'host' }, true, 21],
  ['hostReadHops', { target: 'host' }, false, 28],
] as const;

export const fabricBench: Bench = {
  name: 'fabric',
  summary: 'peer reads and writes below switches, timed and functional',
  run,
};

async function run(): Promise<BenchResult> {
  const recorder = new Recorder();
  const holdNs = await holdCost(64);
  recorder.metric('hold64', perSecond(holdNs), '1/s');
  await writes(recorder, holdNs);
  await reads(recorder, holdNs);
  for (const [name, options, isWrite, maxHolds] of ROUTES) {
    await route(
      recorder,
      holdNs,
      name,
      { ...PAIR, ...options, fidelity: 'timed' },
      isWrite,
      maxHolds,
    );
  }
  await manyEndpoints(recorder);
  await functional(recorder, holdNs, 'functional1MiB', MiB, MAX_HOLDS_PER_1MIB);
  await functional(recorder, holdNs, 'functional256B', TLP_BYTES, MAX_HOLDS_PER_256B);
  recorder.metric('peakRss', process.resourceUsage().maxRSS * 1024, 'B');
  const { metrics, checks } = recorder;
  return { schema: 1, bench: 'fabric', ok: checks.every(({ ok }) => ok), metrics, checks };
}

/** Timed writes of one device to its peer. */
async function writes(recorder: Recorder, holdNs: number): Promise<void> {
  const traffic = new PeerTraffic({ ...PAIR, fidelity: 'timed' });
  const bytes = 32 * MiB;
  const { nsPerHop, scavenges, hops } = await measureHops(traffic, () => {
    traffic.run(true, bytes, CHUNK, 1);
  });
  const holdsPerTlp = (HOPS_PER_WRITE * nsPerHop) / holdNs;
  const scavengesPerMillion = (scavenges * 1e6 * HOPS_PER_WRITE) / hops;
  recorder.metric('writeHops', perSecond(nsPerHop), '1/s');
  recorder.metric('holdsPerWriteTlp', holdsPerTlp, '');
  recorder.metric('scavengesPerMillionTlp', scavengesPerMillion, '');
  const { check } = recorder;
  check.ok('written bytes have arrived', traffic.verify(1));
  check.atMost('holds per write TLP', holdsPerTlp, MAX_HOLDS_PER_WRITE);
  check.atMost('scavenges per million TLPs', scavengesPerMillion, MAX_SCAVENGES_PER_MILLION);
  traffic.machine.dispose();
}

/** Timed reads of one device from its peer. */
async function reads(recorder: Recorder, holdNs: number): Promise<void> {
  const traffic = new PeerTraffic({ ...PAIR, fidelity: 'timed' });
  traffic.prepareReads();
  const { nsPerHop } = await measureHops(traffic, () => traffic.run(false, 16 * MiB, CHUNK, 1));
  recorder.metric('readHops', perSecond(nsPerHop), '1/s');
  recorder.check.ok('read bytes have arrived', traffic.verify(1));
  recorder.check.atMost('holds per read hop', nsPerHop / holdNs, MAX_HOLDS_PER_READ_HOP);
  traffic.machine.dispose();
}

/** Timed transfers of one device by another route, or under more rules. */
async function route(
  recorder: Recorder,
  holdNs: number,
  name: string,
  options: TrafficOptions,
  isWrite: boolean,
  maxHolds: number,
): Promise<void> {
  const traffic = new PeerTraffic(options);
  if (!isWrite) traffic.prepareReads();
  const { nsPerHop } = await measureHops(traffic, () => traffic.run(isWrite, 16 * MiB, CHUNK, 1));
  recorder.metric(name, perSecond(nsPerHop), '1/s');
  recorder.check.ok(`${name}: bytes have arrived`, traffic.verify(1));
  recorder.check.atMost(`${name}: holds per hop`, nsPerHop / holdNs, maxHolds);
  traffic.machine.dispose();
}

/** 64 busy devices below 8 switches against two below one. */
async function manyEndpoints(recorder: Recorder): Promise<void> {
  const few = new PeerTraffic({ ...PAIR, fidelity: 'timed' });
  const many = new PeerTraffic({
    fidelity: 'timed',
    switches: 8,
    devicesPerSwitch: 8,
    bytesPerDevice: TOTAL_BYTES / 64,
  });
  const ofFew = await measureHops(few, () => few.run(true, 16 * MiB, CHUNK));
  const ofMany = await measureHops(many, () => many.run(true, MiB / 2, TOTAL_BYTES / 64));
  const share = ofFew.nsPerHop / ofMany.nsPerHop;
  recorder.metric('endpoints64Hops', perSecond(ofMany.nsPerHop), '1/s');
  recorder.check.ok('bytes of 64 devices have arrived', many.verify());
  recorder.check.atLeast('rate of 64 devices against 2', share, MIN_SHARE_OF_64);
  few.machine.dispose();
  many.machine.dispose();
}

/** Functional writes of one device to its peer, in transfers of one size. */
async function functional(
  recorder: Recorder,
  holdNs: number,
  name: string,
  transferBytes: number,
  maxHolds: number,
): Promise<void> {
  const traffic = new PeerTraffic({ ...PAIR, fidelity: 'functional' });
  const bytes = Math.min(512 * MiB, 200_000 * transferBytes);
  const { nsPerOperation } = await measure(() => {
    traffic.run(true, bytes, transferBytes, 1);
    return bytes / transferBytes;
  });
  recorder.metric(name, perSecond(nsPerOperation) * transferBytes, 'B/s');
  recorder.check.ok(`${name}: bytes have arrived`, traffic.verify(1));
  recorder.check.atMost(`${name}: holds per transfer`, nsPerOperation / holdNs, maxHolds);
  traffic.machine.dispose();
}

interface HopCost {
  readonly nsPerHop: number;
  readonly hops: number;
  readonly scavenges: number;
}

/** CPU time of a link crossing, rounds of `work` being measured. */
async function measureHops({ machine }: PeerTraffic, work: () => void): Promise<HopCost> {
  const { fabric } = machine;
  const { nsPerOperation, operations, scavenges } = await measure(() => {
    const before = fabric.hops;
    work();
    return fabric.hops - before;
  });
  return { nsPerHop: nsPerOperation, hops: operations, scavenges };
}
