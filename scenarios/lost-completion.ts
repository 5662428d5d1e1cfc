/**
 * A completion that is lost or late: the timeout, the tag that nobody may have until it cannot come any more, and the
 * wrong bytes that a device without that quarantine takes for its own. Error registers as host software reads them.
 * [PCIE] 2.8, 6.2.3.2.4
 * @module
 */
import {
  type Check,
  DmaStatus,
  defineScenario,
  delay,
  dmaAddr,
  Effect,
  Injector,
  type Machine,
  type MachinePlan,
  machine,
  offsetBy,
  type ParamValues,
  type PhysAddr,
  type Process,
  param,
} from 'pcie-emu';
import { type ExerciserModel, exerciser, openExerciser } from 'pcie-emu/devices/exerciser';

const CARD = 'card';
/** The root port, which sends the completions. */
const PORT = 'rc0.port0';
const CASES = ['undisturbed', 'lost', 'late', 'late, no quarantine'] as const;
type Case = (typeof CASES)[number];
/** Advanced Error Reporting: capability ID, offset of Correctable Error Mask, and a bit of it. [PCIE] 7.8.4 */
const AER = { ID: 1, CORRECTABLE_MASK: 0x14, ADVISORY: 1 << 13 } as const;
const STATUS_NAMES = new Map<number, string>(
  Object.entries(DmaStatus).map(([name, value]) => [value, name]),
);

const params = {
  case: param.choice([...CASES, 'all'], 'all', 'what happens to the completion of the first read'),
  size: param.int(256, 'bytes of each read, which is one request with one completion', {
    min: 4,
    max: 256,
  }),
  hit: param.int(50, 'when a late one comes: per cent of the round trip of the next read', {
    min: 1,
    max: 99,
  }),
};
type Params = ParamValues<typeof params>;

const casesOf = (p: Params): readonly Case[] =>
  CASES.filter((name) => p.case === 'all' || p.case === name);

const plan = (name: Case): MachinePlan =>
  machine({
    maxReadRequestBytes: 512,
    rootPorts: [
      {
        link: { gen: 4, width: 4 },
        device: exerciser({ name: CARD, tagQuarantine: name !== 'late, no quarantine' }),
      },
    ],
  });

interface Rig {
  readonly host: Machine;
  readonly card: ExerciserModel;
  readonly size: number;
  /** Two pages of host memory, and what is in them. */
  readonly pages: readonly PhysAddr[];
  readonly data: readonly Uint8Array[];
}

async function rigOf(host: Machine, p: Params, fill: (bytes: Uint8Array) => void): Promise<Rig> {
  const card = await openExerciser(host, CARD);
  const base = host.mm.allocate(8192);
  const pages = [base, offsetBy(base, 4096)];
  const data = pages.map((page) => {
    const bytes = new Uint8Array(p.size);
    fill(bytes);
    host.mm.memory.write(page, bytes);
    return bytes;
  });
  return { host, card, size: p.size, pages, data };
}

/** Reads page `index` into the card's memory at the same place. */
const read = ({ card, size, pages }: Rig, index: number) =>
  card.read(dmaAddr(pages[index] ?? 0), size, index * 4096);

/** What the card has of page `index`: its bytes, those of the other page, or neither. */
function contentOf({ card, size, data }: Rig, index: number): string {
  const bytes = new Uint8Array(size);
  card.local.read(index * 4096, bytes);
  const found = data.findIndex((page) => Buffer.compare(page, bytes) === 0);
  if (found === index) return 'right';
  return found < 0 ? 'nothing' : "the first read's";
}

/** Tells the injector what to do with the next completion of the root port. */
function disturb(name: Case, host: Machine, delayPs: number): void {
  if (name === 'undisturbed') return;
  const injector = new Injector(host.fabric);
  host.fabric.injector = injector;
  if (name === 'lost') injector.add({ effect: Effect.Drop, port: PORT, kind: 'CplD' });
  else injector.add({ effect: Effect.Delay, port: PORT, kind: 'CplD', delayPs });
}

/** One case: a row. */
async function measure(name: Case, rig: Rig, p: Params) {
  const { host, card } = rig;
  const { kernel } = host;
  await kernel.spawn('unmask', unmaskAdvisory(host));
  const timeoutPs = card.endpoint.config.completionTimeoutPs;
  let start = kernel.now;
  await read(rig, 1);
  const roundTripPs = kernel.now - start;
  card.local.fill(0, 8192, 0);
  const refused = new Map(host.fabric.errors);
  // It left the root port half a round trip after the request; the next request leaves at the timeout.
  disturb(name, host, timeoutPs - roundTripPs + Math.round((roundTripPs * p.hit) / 100));
  start = kernel.now;
  const first = await read(rig, 0);
  const waitedPs = kernel.now - start;
  const firstBytes = contentOf(rig, 0);
  const second = await read(rig, 1);
  const secondBytes = contentOf(rig, 1);
  // Until every message has been sent and read.
  await kernel.spawn('aftermath', delay(3 * timeoutPs));
  const errors = [...host.fabric.errors].filter(([key, count]) => count > (refused.get(key) ?? 0));
  const timed = host.fabric.fidelity === 'timed';
  return {
    case: name,
    first: STATUS_NAMES.get(first) ?? String(first),
    firstBytes,
    waited: timed ? waitedPs / 1e3 : null,
    second: STATUS_NAMES.get(second) ?? String(second),
    secondBytes,
    fabric: errors.map(([key]) => key.split(' ')[1]).join(' '),
    aer: (host.errors?.records ?? [])
      .map(({ severity, errors: bits, advised }) => [severity, ...bits, ...advised].join(' '))
      .join('; '),
    timeout: timed ? timeoutPs / 1e3 : null,
  };
}

/** Lets advisory errors be reported, which are masked by default: an unexpected completion is one. [PCIE] 7.8.4.6 */
function* unmaskAdvisory(host: Machine): Process<void> {
  const card = host.function(CARD);
  const at = card.extendedCapability(AER.ID) + AER.CORRECTABLE_MASK;
  const mask = yield* card.configRead32(at);
  yield* card.configWrite32(at, mask & ~AER.ADVISORY);
}

type Row = Awaited<ReturnType<typeof measure>>;

/** What hardware does in each case. Functional fidelity has no late completions, and no time to wait. */
const EXPECTED: Readonly<
  Record<Case, Pick<Row, 'first' | 'firstBytes' | 'second' | 'secondBytes'>>
> = {
  undisturbed: { first: 'Ok', firstBytes: 'right', second: 'Ok', secondBytes: 'right' },
  lost: { first: 'Timeout', firstBytes: 'nothing', second: 'Ok', secondBytes: 'right' },
  late: { first: 'Timeout', firstBytes: 'nothing', second: 'Ok', secondBytes: 'right' },
  'late, no quarantine': {
    ...{ first: 'Timeout', firstBytes: 'nothing', second: 'Ok' },
    secondBytes: "the first read's",
  },
};

function checkRow(row: Row, timed: boolean, check: Check): void {
  const isLate = row.case.startsWith('late');
  const expected = EXPECTED[isLate && !timed ? 'undisturbed' : row.case];
  for (const key of ['first', 'firstBytes', 'second', 'secondBytes'] as const) {
    // In functional fidelity bytes are there before their completion is lost; the device is told that they are not.
    if (key === 'firstBytes' && !timed && row.case === 'lost') continue;
    check.equal(`${row.case}: ${key}`, row[key], expected[key]);
  }
  const errors = [
    ...(row.first === 'Timeout' ? ['completion-timeout'] : []),
    ...(isLate && timed ? ['unexpected-completion'] : []),
  ];
  check.equal(`${row.case}: what the card reports`, row.fabric, errors.join(' '));
  const names = (text: string): string =>
    [...new Set(text.match(/CmpltTO|UnxCmplt/g))].sort().join(' ');
  // Of errors so near to each other host software may read one with the other.
  const expectedBits = errors.map((error) =>
    error === 'completion-timeout' ? 'CmpltTO' : 'UnxCmplt',
  );
  check.equal(`${row.case}: AER`, names(row.aer), expectedBits.join(' '));
  if (row.waited !== null && row.first === 'Timeout') {
    check.equal(`${row.case}: waited for the timeout, ns`, row.waited, row.timeout);
  }
}

export default defineScenario({
  summary: 'a lost or late completion: timeout, tag quarantine, and the corruption without it',
  params,
  topology: (p) => Object.fromEntries(casesOf(p).map((name) => [name, plan(name)])),
  async run({ machines, params: p, random, release, check, table }) {
    const source = random('data');
    const fill = (bytes: Uint8Array): void => source.fill(bytes);
    const rows: Row[] = [];
    for (const name of casesOf(p)) {
      const host = machines[name];
      if (!host) continue;
      const row = await measure(name, await rigOf(host, p, fill), p);
      checkRow(row, host.fabric.fidelity === 'timed', check);
      rows.push(row);
      release(host);
    }
    table('cases', rows, { waited: 'ns', timeout: 'ns' });
  },
});
