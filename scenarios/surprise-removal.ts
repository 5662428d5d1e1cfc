/**
 * A card is pulled while it is busy: what its peers, the CPU and the card itself get, what the links lost, what the
 * port reports, and whether all is well again once a card is back. [PCIE] 2.9.1, 3.2.1, 6.7
 * @module
 */
import {
  type Check,
  DmaStatus,
  defineScenario,
  delay,
  dmaAddr,
  type Machine,
  type MachinePlan,
  machine,
  ns,
  type ParamValues,
  type PhysAddr,
  Purpose,
  param,
} from 'pcie-emu';
import { type ExerciserModel, exerciser, openExerciser } from 'pcie-emu/devices/exerciser';

const [CARD, PEER] = ['card', 'peer'] as const;
const SLOT = 'rc0.port0';
const MiB = 2 ** 20;
/** How often what has been reported is looked at after the removal. */
const LOOKS = 20;
const ALL_ONES = 0xffff_ffff;
/** Slots that are made for it, and slots for which it is an error. */
const SLOTS = ['surprise', 'orderly'] as const;
type Slot = (typeof SLOTS)[number];
/** Where in the card's memory its peer reads and writes; in the peer's, where it puts what it reads. */
const [READ_AT, WRITE_AT] = [MiB, 2 * MiB] as const;

const params = {
  size: param.bytes('256KiB', 'bytes of each transfer in flight', { min: '64KiB', max: '1MiB' }),
  after: param.int(20_000, 'when the card is pulled, ns after the transfers began', {
    min: 5000,
    max: 1_000_000,
  }),
  slot: param.choice(
    [...SLOTS, 'both'],
    'both',
    'whether the slot says that cards may be pulled at any time',
  ),
  gen: param.choice([1, 2, 3, 4, 5], 3, 'PCI Express generation of every link'),
  width: param.choice([1, 2, 4, 8, 16], 4, 'lanes of every link'),
};
type Params = ParamValues<typeof params>;

const card = () => exerciser({ name: CARD, memoryBytes: 4 * MiB });

const plan = (slot: Slot, { gen, width }: Params): MachinePlan =>
  machine({
    // Transfers here go to addresses that no driver has mapped.
    checker: false,
    rootPorts: [
      { link: { gen, width }, hotplug: { surprise: slot === 'surprise' }, device: card() },
      { link: { gen, width }, device: exerciser({ name: PEER, memoryBytes: 4 * MiB }) },
    ],
  });

const STATUS_NAMES = new Map<number, string>(
  Object.entries(DmaStatus).map(([name, value]) => [value, name]),
);

/** One transfer: how it was told to have ended, if at all. */
class Told {
  status: DmaStatus | null = null;
  times = 0;
  dmaDone(status: DmaStatus): void {
    this.status = status;
    this.times++;
  }
  get name(): string {
    return this.status === null
      ? 'never told'
      : (STATUS_NAMES.get(this.status) ?? String(this.status));
  }
}

interface Rig {
  readonly host: Machine;
  readonly card: ExerciserModel;
  readonly peer: ExerciserModel;
  readonly data: Uint8Array;
  /** Host memory with the data. */
  readonly buffer: PhysAddr;
  /** The card's BAR. */
  readonly bar: PhysAddr;
}

async function rigOf(host: Machine, data: Uint8Array): Promise<Rig> {
  const [one, peer] = [await openExerciser(host, CARD), await openExerciser(host, PEER)];
  const buffer = host.mm.allocate(data.length);
  host.mm.memory.write(buffer, data);
  one.shown.write(READ_AT, data);
  peer.local.write(0, data);
  return { host, card: one, peer, data, buffer, bar: host.function(CARD).bar(0).address };
}

/** How many bytes from the start are those of `data`. */
function arrived(bytes: Uint8Array, data: Uint8Array): number {
  const wrong = bytes.findIndex((byte, i) => byte !== data[i]);
  return wrong < 0 ? bytes.length : wrong;
}

const bytesAt = (memory: ExerciserModel['local'], at: number, size: number): Uint8Array => {
  const bytes = new Uint8Array(size);
  memory.read(at, bytes);
  return bytes;
};

/** Starts the transfers, pulls the card, and waits until nobody waits any more: the rows. */
async function pull(slot: Slot, rig: Rig, p: Params) {
  const { host, card: pulled, peer, data, buffer, bar } = rig;
  const { size } = p;
  const reported = new Set<string>();
  const told = { read: new Told(), write: new Told(), card: new Told() };
  const to = { read: dmaAddr(bar + READ_AT), write: dmaAddr(bar + WRITE_AT) };
  const port = host.root.ports[0]!;
  const link = [port, pulled.endpoint.port];
  const before = link.map(({ losses }) => losses[0] ?? 0);
  peer.endpoint.read(to.read, size, peer.local, READ_AT, Purpose.Data, told.read, 0);
  peer.endpoint.write(to.write, size, peer.local, 0, Purpose.Data, told.write, 0);
  pulled.endpoint.read(dmaAddr(buffer), size, pulled.local, 0, Purpose.Data, told.card, 0);
  await host.kernel.spawn('a hand', delay(ns(p.after)));
  await host.remove(CARD, { surprise: true });
  const load = await host.cpu.read32(bar);
  // Often: the service keeps the latest records only.
  for (let i = 0; i < LOOKS; i++) {
    await host.kernel.spawn('error service', delay(ns(50_000)));
    noteErrors(host, reported);
  }
  await host.kernel.spawn('timeouts', delay(3 * peer.endpoint.config.completionTimeoutPs));
  noteErrors(host, reported);
  const lost = link.map(({ losses }, i) => (losses[0] ?? 0) - (before[i] ?? 0));
  const row = (what: string, one: Told, bytes: Uint8Array) => ({
    ...{ slot, what, told: one.name, times: one.times },
    arrived: arrived(bytes, data),
  });
  const rows = [
    row('peer reads the card', told.read, bytesAt(peer.local, READ_AT, size)),
    row('peer writes the card', told.write, bytesAt(pulled.shown, WRITE_AT, size)),
    row('card reads memory', told.card, bytesAt(pulled.local, 0, size)),
  ];
  return { rows, load, reported, lost: lost[0]! + lost[1]! };
}

/** Adds the names of the errors that host software has read of the slot's port. */
function noteErrors({ errors }: Machine, names: Set<string>): void {
  for (const record of errors?.records ?? []) {
    if (record.path === SLOT) for (const error of record.errors) names.add(error);
  }
}

/** Pushes a card in, opens it, and moves data every way. */
async function comeBack(rig: Rig, slot: Slot, p: Params, check: Check): Promise<void> {
  const { host, peer, data, buffer } = rig;
  const names = await host.insert(SLOT, card());
  check.equal(`${slot}: what came back`, names.join(), CARD);
  const back = await openExerciser(host, CARD);
  const bar = host.function(CARD).bar(0).address;
  check.equal(`${slot}: where it stands`, bar, rig.bar);
  const { size } = p;
  peer.local.write(0, data);
  peer.local.fill(READ_AT, size, 0);
  await peer.write(dmaAddr(bar + WRITE_AT), size, 0);
  check.equal(
    `${slot}: a read`,
    await peer.read(dmaAddr(bar + WRITE_AT), size, READ_AT),
    DmaStatus.Ok,
  );
  check.bytes(`${slot}: from peer to card and back`, bytesAt(peer.local, READ_AT, size), data);
  await back.read(dmaAddr(buffer), size, 0);
  check.bytes(`${slot}: from memory to the card`, bytesAt(back.local, 0, size), data);
}

type Pulled = Awaited<ReturnType<typeof pull>>;

/** What hardware says to those who were in the middle of it. */
function checkPull(
  slot: Slot,
  { rows, load, lost, reported }: Pulled,
  host: Machine,
  p: Params,
  check: Check,
): void {
  const [read, write, own] = rows;
  const timed = host.fabric.fidelity === 'timed';
  check.equal(`${slot}: a load afterwards`, load, ALL_ONES);
  check.equal(`${slot}: a posted write tells nothing`, write?.told, 'Ok');
  check.equal(`${slot}: times the peer's read was told`, read?.times, 1);
  check.equal(
    `${slot}: Surprise Down in AER of the port`,
    reported.has('SDES'),
    slot === 'orderly',
  );
  // In functional fidelity everything had arrived in no time.
  if (!timed) {
    check.equal(`${slot}: nothing in flight`, read?.told, 'Ok');
    return;
  }
  check.ok(
    `${slot}: the peer's read failed`,
    read?.told === 'Timeout' || read?.told === 'UnsupportedRequest',
    read?.told,
  );
  check.equal(`${slot}: the card's own read`, own?.told, 'never told');
  for (const one of rows)
    check.atMost(`${slot}: ${one.what}, bytes that arrived`, one.arrived, p.size - 1);
  check.atLeast(`${slot}: TLPs that the link lost`, lost, 1);
}

export default defineScenario({
  summary: 'a busy card is pulled: who is told what, what was lost, and all is well with the next',
  params,
  topology: (p) => Object.fromEntries(slotsOf(p).map((slot) => [slot, plan(slot, p)])),
  async run({ machines, params: p, random, release, check, metric, table }) {
    const data = new Uint8Array(p.size);
    random('data').fill(data);
    const rows: Pulled['rows'] = [];
    for (const slot of slotsOf(p)) {
      const host = machines[slot];
      if (!host) continue;
      const rig = await rigOf(host, data);
      const pulled = await pull(slot, rig, p);
      checkPull(slot, pulled, host, p, check);
      rows.push(...pulled.rows);
      metric(`${slot}.lostTlps`, host.fabric.fidelity === 'timed' ? pulled.lost : null, '');
      await comeBack(rig, slot, p, check);
      check.equal(`${slot}: TLPs left over`, host.fabric.tlps.inUse, 0);
      release(host);
    }
    table('transfers', rows, { arrived: 'B' });
  },
});

function slotsOf({ slot }: Params): readonly Slot[] {
  return SLOTS.filter((one) => slot === 'both' || slot === one);
}
