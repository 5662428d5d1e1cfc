/**
 * Peer traffic under every setting of Access Control Services: which way it takes, how fast, whether the data is
 * right, what software believed of it, and what happens to software that believes in bus addresses all the same.
 * [PCIE] 6.12, [P2PDMA]
 * @module
 */
import {
  AcsBit,
  type Check,
  Direction,
  type DmaAddr,
  DmaStatus,
  defineScenario,
  dmaAddr,
  isRefusal,
  type Machine,
  type MachinePlan,
  machine,
  type ParamValues,
  PhyRangeList,
  type PortSpec,
  param,
  pcieSwitch,
} from 'pcie-emu';
import { type ExerciserModel, exerciser, openExerciser } from 'pcie-emu/devices/exerciser';

const { SV, TB, RR, CR, UF, EC, DT } = AcsBit;
const [CLIENT, PROVIDER] = ['client', 'provider'] as const;
/** AT field of an address that the device has had translated. [PCIE] 10.2.1 */
const TRANSLATED = 2;
/** Every port of the component is blocked. */
const ALL_PORTS = 0xffff_ffff;

/** Settings of all ports; `translated`: requests claim to carry translated addresses. */
const SETTINGS = {
  none: { acs: 0 },
  RR: { acs: RR },
  'RR+CR': { acs: RR | CR },
  'RR+CR+UF': { acs: RR | CR | UF },
  SV: { acs: SV },
  EC: { acs: EC },
  'EC+RR+UF': { acs: EC | RR | UF },
  TB: { acs: TB, translated: true },
  'RR+CR+UF+DT': { acs: RR | CR | UF | DT, translated: true },
} as const;
type Setting = keyof typeof SETTINGS;
const NAMES = [
  'none',
  'RR',
  'RR+CR',
  'RR+CR+UF',
  'SV',
  'EC',
  'EC+RR+UF',
  'TB',
  'RR+CR+UF+DT',
] as const;
const TREES = ['switch', 'switches', 'ports'] as const;
type Tree = (typeof TREES)[number];
const ONES = ['on', 'off'] as const;

const params = {
  size: param.bytes('64KiB', 'bytes written, and read', { min: 4096, max: '512KiB' }),
  tree: param.choice(
    [...TREES, 'all'],
    'all',
    'client and provider below one switch, two, or root ports',
  ),
  iommu: param.choice(
    [...ONES, 'both'],
    'both',
    'address translation of requests that reach the root',
  ),
  acs: param.choice([...NAMES, 'all'], 'all', 'ACS bits of every port'),
  gen: param.choice([3, 4, 5], 4, 'PCI Express generation of every link'),
  width: param.choice([4, 8, 16], 4, 'lanes of every link'),
};
type Params = ParamValues<typeof params>;

interface Case {
  readonly tree: Tree;
  readonly iommu: 'on' | 'off';
  readonly acs: Setting;
}
const nameOf = ({ tree, iommu, acs }: Case): string => `${tree}, IOMMU ${iommu}, ${acs}`;

function casesOf(p: Params): readonly Case[] {
  const chosen = <T extends string>(all: readonly T[], one: string): readonly T[] =>
    all.filter((name) => name === one || one === 'all' || one === 'both');
  return chosen(TREES, p.tree).flatMap((tree) =>
    chosen(ONES, p.iommu).flatMap((iommu) =>
      chosen(NAMES, p.acs).map((acs) => ({ tree, iommu, acs })),
    ),
  );
}

function plan({ tree, iommu, acs }: Case, { gen, width }: Params): MachinePlan {
  const port = (device: PortSpec['device']): PortSpec => ({
    link: { gen, width },
    acs: SETTINGS[acs].acs,
    acsEgress: ALL_PORTS,
    ...(device === undefined ? {} : { device }),
  });
  const cards = [CLIENT, PROVIDER].map((name) => port(exerciser({ name })));
  const apart = cards.map((card) => port(pcieSwitch({ ports: [card] })));
  const rootPorts = {
    ports: cards,
    switch: [port(pcieSwitch({ ports: cards }))],
    switches: [port(pcieSwitch({ ports: apart }))],
  };
  return machine({
    iommu: iommu === 'on',
    rootPorts: rootPorts[tree],
    memory: { sizeBytes: 2 ** 28 },
    // It would stop the run at the use of an address that is not mapped: here hardware has to.
    checker: false,
  });
}

type Result = 'right' | 'UR' | 'CA' | 'wrong';

/**
 * What the specification makes of a request for the peer's bus address. A detour ends at the translator, which knows
 * no such address; below one root port it needs Upstream Forwarding to be sent back. [PCIE] 6.12.3
 */
function lawOf({ tree, iommu, acs }: Case, translated: boolean): Result {
  const bits = SETTINGS[acs].acs;
  if (translated && bits & TB) return 'CA';
  const isFree = translated && bits & DT;
  if (isFree || !(bits & (RR | EC))) return 'right';
  if (!(bits & RR)) return 'CA';
  if (tree !== 'ports' && !(bits & UF)) return 'UR';
  return iommu === 'on' ? 'UR' : 'right';
}

/** What a transfer came to, and the way it took. */
interface Trial {
  readonly result: Result;
  readonly links: string;
  readonly reason: string;
  readonly rate: number | null;
}

interface Rig {
  readonly host: Machine;
  readonly client: ExerciserModel;
  readonly provider: ExerciserModel;
  readonly size: number;
  readonly data: Uint8Array;
}

/** Payload that crossed each link so far. */
const payloads = (host: Machine): ReadonlyMap<string, number> =>
  new Map(host.links().map(({ path, up, down }) => [path, up.dataBytes + down.dataBytes]));

/** Writes to an address of the peer, reads it back, and looks at what is there. */
async function attempt(rig: Rig, at: DmaAddr, translated: boolean): Promise<Trial> {
  const { host, client, provider, size, data } = rig;
  client.local.write(0, data);
  client.local.fill(size, size, 0);
  provider.shown.fill(0, size, 0);
  client.requestAs(translated ? { addressType: TRANSLATED } : {});
  const links = payloads(host);
  const errors = new Map(host.fabric.errors);
  const start = host.kernel.now;
  await client.write(at, size, 0);
  const status = await client.read(at, size, size);
  const seconds = (host.kernel.now - start) / 1e12;
  const crossed = [...payloads(host)].filter(([path, bytes]) => bytes > (links.get(path) ?? 0));
  const reasons = [...host.fabric.errors].filter(([key, count]) => count > (errors.get(key) ?? 0));
  const result = resultOf(status, isRight(rig));
  return {
    result,
    // By the component below each.
    links: crossed.map(([path]) => path.slice(path.lastIndexOf('.') + 1)).join(' '),
    reason: [...new Set(reasons.map(([key]) => key.split(' ')[1] ?? ''))].join(' '),
    rate: result === 'right' && host.fabric.fidelity === 'timed' ? (2 * size) / seconds : null,
  };
}

/** Whether the bytes are with the peer, and back. */
function isRight({ client, provider, size, data }: Rig): boolean {
  const [there, back] = [new Uint8Array(size), new Uint8Array(size)];
  provider.shown.read(0, there);
  client.local.read(size, back);
  return [there, back].every((bytes) => Buffer.compare(bytes, data) === 0);
}

function resultOf(status: DmaStatus, right: boolean): Result {
  if (status === DmaStatus.UnsupportedRequest) return 'UR';
  if (status === DmaStatus.CompleterAbort) return 'CA';
  return status === DmaStatus.Ok && right ? 'right' : 'wrong';
}

/** A row: what software believes and does with it, then what a bus address comes to. */
async function measure(one: Case, rig: Rig, check: Check): Promise<Row> {
  const { host, size } = rig;
  const bar = host.function(PROVIDER).bar(0);
  const { dma } = host.function(CLIENT);
  const mapping = dma.map(PhyRangeList.of(bar.address, size), Direction.Bidirectional);
  const isMapped = !isRefusal(mapping);
  const believed = isMapped ? mapping.mapType : mapping.refused;
  const mapped = isMapped ? await attempt(rig, mapping.ranges.address(0), false) : null;
  if (isMapped) await dma.unmap(mapping);
  const translated = 'translated' in SETTINGS[one.acs];
  const bus = await attempt(rig, busAddress(rig), translated);
  const name = nameOf(one);
  check.equal(`${name}: believed`, believed, beliefOf(one));
  check.equal(`${name}: as mapped`, mapped?.result, mappedLaw(one));
  check.equal(`${name}: by bus address`, bus.result, lawOf(one, translated));
  return {
    ...one,
    believed,
    mapped: mapped?.result ?? 'refused',
    mappedLinks: mapped?.links ?? '',
    mappedRate: mapped?.rate ?? null,
    bus: bus.result,
    busLinks: bus.links,
    busRate: bus.rate,
    reason: bus.reason,
  };
}
type Row = Readonly<
  Record<'believed' | 'mapped' | 'mappedLinks' | 'bus' | 'busLinks' | 'reason', string> &
    Record<'mappedRate' | 'busRate', number | null> & { [Key in keyof Case]: Case[Key] }
>;

/** Where the provider's BAR stands on the bus: this machine's host bridge has no offset. */
const busAddress = ({ host }: Rig): DmaAddr => dmaAddr(host.function(PROVIDER).bar(0).address);

/** A bus address where a bridge is common and nothing redirects; else through the host bridge, which is allowed here. */
function beliefOf({ tree, acs }: Case): string {
  const redirects = (SETTINGS[acs].acs & (RR | CR | EC)) !== 0;
  return tree === 'ports' || redirects ? 'THRU_HOST_BRIDGE' : 'BUS_ADDR';
}

/** With an IOMMU, what goes through the host bridge has an address that no window holds: it reaches the translator. */
function mappedLaw(one: Case): Result {
  const isTranslated = one.iommu === 'on' && beliefOf(one) === 'THRU_HOST_BRIDGE';
  return isTranslated ? 'right' : lawOf(one, false);
}

/** What rows say together: a detour costs what it crosses twice. */
function compare(rows: readonly Row[], check: Check): void {
  const of = (acs: Setting): Row | undefined =>
    rows.find((row) => row.tree === 'switch' && row.iommu === 'off' && row.acs === acs);
  const [straight, detour] = [of('none'), of('RR+CR+UF')];
  if (!straight || !detour) return;
  check.ok('a straight way crosses no upstream link', !/\bsw0\b/.test(straight.busLinks));
  check.ok('a detour crosses it', /\bsw0\b/.test(detour.busLinks));
  if (straight.busRate === null || detour.busRate === null) return;
  check.atMost('a detour is slower, B/s', detour.busRate, straight.busRate);
}

export default defineScenario({
  summary:
    'peer traffic by ACS bits, tree and IOMMU: route, rate, data, and what software believed',
  params,
  topology: (p) => Object.fromEntries(casesOf(p).map((one) => [nameOf(one), plan(one, p)])),
  async run({ machines, params: p, random, release, check, metric, table, progress }) {
    const data = new Uint8Array(p.size);
    random('data').fill(data);
    const rows: Row[] = [];
    const cases = casesOf(p);
    for (const one of cases) {
      const host = machines[nameOf(one)];
      if (!host) continue;
      const client = await openExerciser(host, CLIENT);
      const provider = await openExerciser(host, PROVIDER);
      rows.push(await measure(one, { host, client, provider, size: p.size, data }, check));
      progress(rows.length, cases.length, nameOf(one));
      release(host);
    }
    compare(rows, check);
    for (const result of ['right', 'UR', 'CA', 'wrong'] as const) {
      metric(`bus.${result}`, rows.filter(({ bus }) => bus === result).length, '');
    }
    table('matrix', rows, { mappedRate: 'B/s', busRate: 'B/s' });
  },
});
