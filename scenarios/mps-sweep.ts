/**
 * What Max_Payload_Size, Max_Read_Request_Size and the pieces of the root complex do to the rate of one link, beside
 * the closed form: payload over wire bytes, or what the tags keep in flight over the round trip. [PCIE] 2.2, 4.2
 * @module
 */
import {
  defineScenario,
  dmaAddr,
  HEADER_3DW,
  type LinkSpec,
  type Machine,
  type MachinePlan,
  machine,
  type ParamValues,
  param,
  payloadRate,
  serialisationPs,
  usage,
  wireBytes,
} from 'pcie-emu';
import { type ExerciserModel, exerciser, openExerciser } from 'pcie-emu/devices/exerciser';

const CARD = 'card';
const [KiB, MiB] = [2 ** 10, 2 ** 20];
const PAYLOADS = [128, 256, 512, 1024] as const;
const REQUESTS = [128, 512, 4096] as const;
/** Largest completion of the root complex: where it cuts reads of memory. [PCIE] 2.3.1.1 */
const PIECES = [64, 128, 256, 512] as const;

const params = {
  gen: param.choice([1, 2, 3, 4, 5, 6], 4, 'PCI Express generation of the link'),
  width: param.choice([1, 2, 4, 8, 16], 4, 'lanes of the link'),
  mps: param.choice([...PAYLOADS, 0], 0, 'Max_Payload_Size, 0 for all'),
  mrrs: param.choice([...REQUESTS, 0], 0, 'Max_Read_Request_Size, 0 for all'),
  rcb: param.choice(
    [...PIECES, 0],
    0,
    'bytes at which the root complex cuts its completions, 0 for all',
  ),
  tags: param.choice([32, 256], 256, 'read requests that the device can have under way'),
  size: param.bytes('256KiB', 'bytes measured', { min: '64KiB', max: '1MiB' }),
  tolerance: param.number(1, 'largest difference from the formula, per cent', { min: 0, max: 100 }),
};
type Params = ParamValues<typeof params>;

interface Cell {
  readonly mps: (typeof PAYLOADS)[number];
  readonly mrrs: (typeof REQUESTS)[number];
  readonly rcb: (typeof PIECES)[number];
}
const nameOf = ({ mps, mrrs, rcb }: Cell): string => `MPS ${mps}, MRRS ${mrrs}, RCB ${rcb}`;

function cellsOf(p: Params): readonly Cell[] {
  const chosen = <T extends number>(all: readonly T[], one: number): readonly T[] =>
    all.filter((size) => one === 0 || size === one);
  return chosen(PAYLOADS, p.mps).flatMap((mps) =>
    chosen(REQUESTS, p.mrrs).flatMap((mrrs) =>
      chosen(PIECES, p.rcb)
        .filter((rcb) => rcb <= mps)
        .map((rcb) => ({ mps, mrrs, rcb })),
    ),
  );
}

const linkOf = ({ gen, width }: Params): LinkSpec => ({ gen, width });

function plan({ mps, mrrs, rcb }: Cell, p: Params): MachinePlan {
  const device = exerciser({
    name: CARD,
    maxPayloadBytes: 4096,
    tags: p.tags,
    memoryBytes: 4 * MiB,
  });
  return machine({
    maxPayloadBytes: mps,
    maxReadRequestBytes: mrrs,
    rootCompletionBytes: rcb,
    // Memory that is not what limits it.
    memory: { bytesPerSecond: 1e12, sizeBytes: 64 * MiB },
    rootPorts: [{ link: linkOf(p), device }],
  });
}

/** The closed forms, in bytes a second. */
function formula({ mps, mrrs, rcb }: Cell, p: Params, roundTripPs: number) {
  const link = linkOf(p);
  // Host memory begins below 4 GiB, and there the transfers go.
  const header = HEADER_3DW;
  const write = 1e9 * payloadRate(link, { headerBytes: header, payloadBytes: mps });
  const piece = Math.min(mps, mrrs, rcb);
  const answers = 1e9 * payloadRate(link, { headerBytes: HEADER_3DW, payloadBytes: piece });
  const requestPs = serialisationPs(
    link,
    wireBytes(p.gen, { headerBytes: header, payloadBytes: 0 }),
  );
  const asked = (mrrs / requestPs) * 1e12;
  const inFlight = ((p.tags * mrrs) / roundTripPs) * 1e12;
  const least = Math.min(answers, asked, inFlight);
  const limit = least === answers ? 'completions' : least === asked ? 'requests' : 'tags';
  return { write, read: least, limit };
}

/** Time of a transfer until nothing of it is left anywhere, ps. */
async function timeOf(
  host: Machine,
  card: ExerciserModel,
  isWrite: boolean,
  address: number,
  sizeBytes: number,
) {
  const start = host.kernel.now;
  const at = dmaAddr(address);
  if (isWrite) await card.write(at, sizeBytes, 0);
  else await card.read(at, sizeBytes, 0);
  return host.kernel.now - start;
}

/** Rate once it flows: from the difference of two sizes, so that the latency falls out. */
async function rateOf(
  host: Machine,
  card: ExerciserModel,
  isWrite: boolean,
  address: number,
  size: number,
) {
  const one = await timeOf(host, card, isWrite, address, size);
  const three = await timeOf(host, card, isWrite, address, 3 * size);
  return (2 * size * 1e12) / (three - one);
}

/** Whether bytes go there and come back. */
async function isRight(card: ExerciserModel, address: number, data: Uint8Array) {
  card.local.write(0, data);
  await card.write(dmaAddr(address), data.length, 0);
  card.local.fill(0, data.length, 0);
  await card.read(dmaAddr(address), data.length, 0);
  const back = new Uint8Array(data.length);
  card.local.read(0, back);
  return Buffer.compare(back, data) === 0;
}

const percent = (actual: number, expected: number): number => (actual / expected - 1) * 100;

/** Measures one cell: a row of the table. */
async function measure(cell: Cell, p: Params, host: Machine, data: Uint8Array) {
  const card = await openExerciser(host, CARD);
  const address = host.mm.allocate(4 * MiB);
  const right = await isRight(card, address, data);
  const timed = host.fabric.fidelity === 'timed';
  const roundTripPs = await timeOf(host, card, false, address, cell.mrrs);
  const expected = formula(cell, p, roundTripPs);
  const write = await rateOf(host, card, true, address, p.size);
  const read = await rateOf(host, card, false, address, p.size);
  return {
    ...cell,
    right,
    write: timed ? write : null,
    writeFormula: timed ? expected.write : null,
    writeError: timed ? percent(write, expected.write) : null,
    read: timed ? read : null,
    readFormula: timed ? expected.read : null,
    readError: timed ? percent(read, expected.read) : null,
    limit: timed ? expected.limit : null,
    roundTrip: timed ? roundTripPs / 1e3 : null,
  };
}

const UNITS = {
  write: 'B/s',
  writeFormula: 'B/s',
  writeError: '%',
  read: 'B/s',
  readFormula: 'B/s',
  readError: '%',
  roundTrip: 'ns',
} as const;

export default defineScenario({
  summary: 'MPS, MRRS and the cut of completions against the closed form of one link',
  params,
  topology(p) {
    const cells = cellsOf(p);
    if (cells.length > 0)
      return Object.fromEntries(cells.map((cell) => [nameOf(cell), plan(cell, p)]));
    throw usage(`rcb: expected at most the Max_Payload_Size ${p.mps}, got ${p.rcb}`, {
      key: 'rcb',
      got: p.rcb,
    });
  },
  async run({ machines, params: p, random, release, check, metric, table, progress }) {
    const data = new Uint8Array(64 * KiB);
    random('data').fill(data);
    const rows = [];
    const cells = cellsOf(p);
    for (const cell of cells) {
      const host = machines[nameOf(cell)];
      if (!host) continue;
      const row = await measure(cell, p, host, data);
      rows.push(row);
      check.ok(`${nameOf(cell)}: data`, row.right);
      for (const what of ['write', 'read'] as const) {
        const error = row[`${what}Error`];
        if (error !== null)
          check.atMost(`${nameOf(cell)}: ${what}, % off`, Math.abs(error), p.tolerance);
      }
      progress(rows.length, cells.length, nameOf(cell));
      release(host);
    }
    const worst = Math.max(
      ...rows.map(({ writeError, readError }) =>
        Math.max(Math.abs(writeError ?? 0), Math.abs(readError ?? 0)),
      ),
    );
    metric('worstError', rows[0]?.writeError === null ? null : worst, '%');
    table('sweep', rows, UNITS);
  },
});
