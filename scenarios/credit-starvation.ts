/**
 * What small receive buffers cost: the rate against credits over the time that a credit is away, and who starves when
 * a class has few. Nothing is ever lost and nothing stands still: a sender without credits waits. [PCIE] 2.6.1, 2.4.1
 * @module
 */
import {
  type Check,
  type Credits,
  type DmaStatus,
  defineScenario,
  dmaAddr,
  HEADER_3DW,
  type LinkSpec,
  type Machine,
  type MachinePlan,
  machine,
  ns,
  offsetBy,
  type ParamValues,
  type Pending,
  type PhysAddr,
  param,
  payloadRate,
  pcieSwitch,
  serialisationPs,
  wireBytes,
} from 'pcie-emu';
import { type ExerciserModel, exerciser, openExerciser } from 'pcie-emu/devices/exerciser';

const MiB = 2 ** 20;
const [READER, WRITER] = ['reader', 'writer'] as const;
/** Max_Payload_Size and Max_Read_Request_Size: a TLP takes 16 data credits. */
const [MPS, MRRS, CREDIT_BYTES] = [256, 256, 16] as const;
/** Times of the model, so that the formula can name them: decision at a root port, memory, an UpdateFC. */
const TIMES = {
  root: ns(100),
  memory: ns(80),
  updateFc: ns(4),
  memoryBytesPerSecond: 1e12,
} as const;
/** No limit within the counters. */
const PLENTY: Partial<Credits> = { PH: 127, PD: 2032, NPH: 127, NPD: 127 };

const params = {
  gen: param.choice([1, 2, 3, 4, 5], 4, 'PCI Express generation of every link'),
  width: param.choice([1, 2, 4, 8, 16], 4, 'lanes of every link'),
  flight: param.int(10, 'time of flight of every link, ns', { min: 1, max: 10_000 }),
  size: param.bytes('128KiB', 'bytes of each transfer', { min: '128KiB', max: '1MiB' }),
  tolerance: param.number(2, 'largest difference from the formula, per cent', { min: 0, max: 100 }),
};
type Params = ParamValues<typeof params>;

/** Buffers of a root port for one card, and what is to be sent. */
interface Window {
  readonly kind: 'write' | 'read';
  readonly credits: Partial<Credits>;
  /** TLPs that they hold. */
  readonly tlps: number;
}

const headers = [1, 2, 4, 8, 16, 64] as const;
const WINDOWS: Readonly<Record<string, Window>> = Object.fromEntries([
  ...headers.map((PH) => [`PH ${PH}`, { kind: 'write', credits: { ...PLENTY, PH }, tlps: PH }]),
  ...headers.map((some) => [
    `PD ${some * CREDIT_BYTES}`,
    { kind: 'write', credits: { ...PLENTY, PD: some * CREDIT_BYTES }, tlps: some },
  ]),
  ...headers.map((NPH) => [`NPH ${NPH}`, { kind: 'read', credits: { ...PLENTY, NPH }, tlps: NPH }]),
]);

/** Buffers of the root port above a switch with two cards. */
const SHARED: Readonly<Record<string, Partial<Credits>>> = {
  plenty: PLENTY,
  'NPH 1': { ...PLENTY, NPH: 1 },
  'PH 1': { ...PLENTY, PH: 1 },
};

const linkOf = (p: Params): LinkSpec => ({
  ...{ gen: p.gen, width: p.width },
  propagationPs: ns(p.flight),
});

function plan(p: Params, credits: Partial<Credits>, isShared: boolean): MachinePlan {
  const link = linkOf(p);
  const memoryBytes = 4 * MiB;
  const names = isShared ? [READER, WRITER] : [WRITER];
  const cards = names.map((name) => ({ link, device: exerciser({ name, memoryBytes }) }));
  const device = isShared ? pcieSwitch({ ports: cards }) : cards[0]!.device;
  return machine({
    ...{ maxPayloadBytes: MPS, maxReadRequestBytes: MRRS, rootLatencyPs: TIMES.root },
    memory: {
      ...{ sizeBytes: 64 * MiB, latencyPs: TIMES.memory },
      bytesPerSecond: TIMES.memoryBytesPerSecond,
    },
    rootPorts: [{ link: { ...link, upperCredits: credits }, device }],
  });
}

/** Bytes a second: a window of TLPs goes each time its first credit is back, or as fast as the link allows. */
function formula({ kind, tlps }: Window, p: Params): { rate: number; loopPs: number } {
  const link = linkOf(p);
  const isWrite = kind === 'write';
  const payloadBytes = isWrite ? MPS : 0;
  const sentPs = serialisationPs(link, wireBytes(p.gen, { headerBytes: HEADER_3DW, payloadBytes }));
  const servedPs = isWrite ? 0 : TIMES.memory + (MRRS / TIMES.memoryBytesPerSecond) * 1e12;
  const loopPs = sentPs + 2 * ns(p.flight) + TIMES.root + servedPs + TIMES.updateFc;
  const window = (tlps * (isWrite ? MPS : MRRS) * 1e12) / Math.max(loopPs, tlps * sentPs);
  const line = 1e9 * payloadRate(link, { headerBytes: HEADER_3DW, payloadBytes: MPS });
  return { rate: Math.min(window, line), loopPs };
}

/** How long it takes until everything asked for has been sent or answered, ps. */
async function timeOf(
  host: Machine,
  ...jobs: readonly Pending<DmaStatus>[]
): Promise<readonly number[]> {
  const start = host.kernel.now;
  const ends: number[] = [];
  for (const [i, job] of jobs.entries()) {
    job.onDone(() => {
      ends[i] = host.kernel.now - start;
    });
  }
  for (const job of jobs) await job;
  return ends;
}

interface Rig {
  readonly host: Machine;
  readonly data: Uint8Array;
  /** Host memory: two halves, one to be read and one to be written. */
  readonly address: PhysAddr;
  /** Before: enumeration asks for functions that are not there. */
  readonly refusals: number;
}

const refusalsOf = ({ fabric }: Machine): number =>
  [...fabric.errors.values()].reduce((sum, count) => sum + count, 0);

function rigOf(host: Machine, data: Uint8Array): Rig {
  const address = host.mm.allocate(8 * MiB);
  host.mm.memory.write(address, data);
  return { host, data, address, refusals: refusalsOf(host) };
}

const reads = ({ address }: Rig, card: ExerciserModel, size: number): Pending<DmaStatus> =>
  card.read(dmaAddr(address), size, 0);
const writes = ({ address }: Rig, card: ExerciserModel, size: number): Pending<DmaStatus> =>
  card.write(dmaAddr(address + 4 * MiB), size, 0);

/** Checks that what was read and written is right, and that no receiver overflowed. */
function checkNothingLost(
  name: string,
  rig: Rig,
  size: number,
  check: Check,
  reader: ExerciserModel | null,
) {
  const { host, data, address } = rig;
  const bytes = new Uint8Array(size);
  if (reader !== null) {
    reader.local.read(0, bytes);
    check.bytes(`${name}: bytes read`, bytes, data.subarray(0, size));
  } else {
    host.mm.memory.read(offsetBy(address, 4 * MiB), bytes);
    check.bytes(`${name}: bytes written`, bytes, data.subarray(0, size));
  }
  check.equal(`${name}: refusals and losses`, refusalsOf(host) - rig.refusals, 0);
}

/** One card against a window: a row. */
async function measureWindow(name: string, rig: Rig, p: Params, check: Check) {
  const window = WINDOWS[name]!;
  const { host, data } = rig;
  const card = await openExerciser(host, WRITER);
  card.local.write(0, data);
  const go = window.kind === 'write' ? writes : reads;
  const [one = 0] = await timeOf(host, go(rig, card, p.size));
  const [three = 0] = await timeOf(host, go(rig, card, 3 * p.size));
  await card.read(dmaAddr(rig.address), 4, 3 * MiB);
  checkNothingLost(name, rig, p.size, check, window.kind === 'read' ? card : null);
  const timed = host.fabric.fidelity === 'timed';
  const { rate: expected, loopPs } = formula(window, p);
  const rate = timed ? (2 * p.size * 1e12) / (three - one) : null;
  const error = rate === null ? null : (rate / expected - 1) * 100;
  if (error !== null) check.atMost(`${name}: % off`, Math.abs(error), p.tolerance);
  return {
    credits: name,
    tlps: window.tlps,
    kind: window.kind,
    rate,
    formula: timed ? expected : null,
    error,
    loop: timed ? loopPs / 1e3 : null,
  };
}

/** Two cards that share a root port: each alone, then both. */
async function measureShared(name: string, rig: Rig, p: Params, check: Check) {
  const { host, data } = rig;
  const reader = await openExerciser(host, READER);
  const writer = await openExerciser(host, WRITER);
  writer.local.write(0, data);
  const [readAlone = 0] = await timeOf(host, reads(rig, reader, p.size));
  const [writeAlone = 0] = await timeOf(host, writes(rig, writer, p.size));
  await writer.read(dmaAddr(rig.address), 4, 3 * MiB);
  const [read = 0, write = 0] = await timeOf(
    host,
    reads(rig, reader, p.size),
    writes(rig, writer, p.size),
  );
  await writer.read(dmaAddr(rig.address), 4, 3 * MiB);
  checkNothingLost(`${name}, both`, rig, p.size, check, reader);
  checkNothingLost(`${name}, both`, rig, p.size, check, null);
  const timed = host.fabric.fidelity === 'timed';
  const rateOf = (ps: number): number | null => (timed ? (p.size * 1e12) / ps : null);
  return {
    credits: name,
    readAlone: rateOf(readAlone),
    writeAlone: rateOf(writeAlone),
    readBoth: rateOf(read),
    writeBoth: rateOf(write),
  };
}
type Shared = Awaited<ReturnType<typeof measureShared>>;

/** Who starves: reads without credits leave writes alone; writes without credits hold the reads behind them up. */
function compare(rows: readonly Shared[], check: Check): void {
  const of = (credits: string): Shared | undefined => rows.find((row) => row.credits === credits);
  const [plenty, few, slow] = [of('plenty'), of('NPH 1'), of('PH 1')];
  if (!plenty || !few || !slow || plenty.writeBoth === null) return;
  const share = (part: number | null, whole: number | null): number => (part ?? 0) / (whole ?? 1);
  check.atLeast('NPH 1: writes beside starving reads', share(few.writeBoth, few.writeAlone), 0.9);
  check.atLeast('NPH 1: reads go on', few.readBoth ?? 0, 1);
  // On a slow link few credits are enough, and nobody starves.
  if (share(few.readAlone, plenty.readAlone) < 0.5) {
    check.atMost('NPH 1: reads of those with credits', share(few.readBoth, plenty.readBoth), 0.5);
  }
  if (share(slow.writeAlone, plenty.writeAlone) < 0.5) {
    check.atMost('PH 1: reads behind starving writes', share(slow.readBoth, slow.readAlone), 0.9);
  }
}

export default defineScenario({
  summary: 'few receive credits: rate against the formula, who starves, and nothing lost',
  params,
  topology: (p) => ({
    ...Object.fromEntries(
      Object.entries(WINDOWS).map(([name, { credits }]) => [name, plan(p, credits, false)]),
    ),
    ...Object.fromEntries(
      Object.entries(SHARED).map(([name, credits]) => [`${name}, shared`, plan(p, credits, true)]),
    ),
  }),
  async run({ machines, params: p, random, release, check, metric, table }) {
    const data = new Uint8Array(3 * p.size);
    random('data').fill(data);
    const windows = [];
    for (const name of Object.keys(WINDOWS)) {
      const host = machines[name]!;
      windows.push(await measureWindow(name, rigOf(host, data), p, check));
      release(host);
    }
    const shared: Shared[] = [];
    for (const name of Object.keys(SHARED)) {
      const host = machines[`${name}, shared`]!;
      shared.push(await measureShared(name, rigOf(host, data), p, check));
      release(host);
    }
    compare(shared, check);
    const errors = windows.map(({ error }) => error);
    const worst = Math.max(...errors.map((error) => Math.abs(error ?? 0)));
    metric('worstError', errors[0] === null ? null : worst, '%');
    table('windows', windows, { rate: 'B/s', formula: 'B/s', error: '%', loop: 'ns' });
    const rates = { readAlone: 'B/s', writeAlone: 'B/s', readBoth: 'B/s', writeBoth: 'B/s' };
    table('sharing', shared, rates);
  },
});
