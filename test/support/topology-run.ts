/**
 * One random machine under random requests: what each was, what the oracle says of it, and what became of it in one
 * fidelity. Runs; asserts nothing. @module
 */
import { createHash } from 'node:crypto';
import { bdfFromId, type DmaAddr, dmaAddr, physAddr } from '#emu/base/units.ts';
import type { Machine, MachinePlan } from '#emu/host/machine.ts';
import type { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import { DeliveryWatch } from '#test/support/delivery-watch.ts';
import {
  FIRST_DEVICE_ID,
  LOCAL_BYTES,
  RandomDevice,
  type Tape,
} from '#test/support/random-topology.ts';
import { type Ending, type Operation, RouteOracle } from '#test/support/route-oracle.ts';

export interface Request {
  /** Name of the device, or `cpu`. */
  readonly from: string;
  readonly op: Operation | 'config';
  /** Of a configuration read: the target's routing ID. */
  readonly address: number;
  readonly sizeBytes: number;
  readonly expected: Ending;
  /** {@link DmaStatus} that its device should be told; of the CPU, the value it should read or null. */
  readonly status: number | null;
}

/** What became of one request. */
export interface Outcome {
  /** As told, each time. */
  readonly told: number[];
  /** Bytes delivered, and requests, by path of the component. */
  readonly bytesAt: Map<string, number>;
}

export interface TopologyRun {
  readonly machine: Machine;
  readonly requests: readonly Request[];
  readonly outcomes: readonly Outcome[];
  readonly watch: DeliveryWatch;
  /** Ports whose credits are not as they were before. */
  readonly creditsMissing: readonly string[];
  /** Of all bytes in devices and host memory, but what failed reads have left. */
  readonly digest: string;
  /** Bytes that are not what they should be. */
  readonly wrongBytes: readonly string[];
}

const SLOTS = 32;
/** Host memory that requests go to, by slot. */
const SLOT_BYTES = 8192;
const MOST_BYTES = 6000;
const CPU = 'cpu';
const COMMAND = 0x04;
/** More than credits need to come back. */
const CREDITS_PS = 1e7;

/** Bytes that differ from place to place, of which every place has its own part. */
const BYTES = Uint8Array.from(
  { length: 2 ** 20 },
  (_, i) => Math.imul(i + 1, 2_654_435_761) >>> 21,
);
/** What was there before the requests. */
const filled = (seed: number, sizeBytes: number): Uint8Array =>
  BYTES.slice(seed * 251, seed * 251 + sizeBytes);
const RAM_SEED = 900;
const LOCAL_SEED = 1000;

interface Device {
  readonly name: string;
  readonly endpoint: Endpoint;
  readonly model: RandomDevice;
  readonly id: number;
}

/** Boots the machine, upsets a few functions, sends the requests all at once and waits until nothing moves. */
export function runTopology(plan: MachinePlan, tape: Tape, fidelity: Fidelity): TopologyRun {
  const machine = plan.build({ fidelity, seed: 1 });
  const { kernel } = machine;
  void machine.boot();
  kernel.run();
  const rig = new Rig(machine, tape);
  for (const steps of [rig.upset(), rig.readTree()]) {
    void kernel.spawn('preparation', steps);
    kernel.run();
  }
  return rig.run();
}

class Rig {
  readonly #machine: Machine;
  readonly #tape: Tape;
  readonly #devices: readonly Device[];
  readonly #ram: number;
  #oracle: RouteOracle | null = null;

  constructor(machine: Machine, tape: Tape) {
    this.#machine = machine;
    this.#tape = tape;
    this.#devices = [...machine.endpoints].map(([name, endpoint]) => {
      if (!(endpoint.model instanceof RandomDevice)) throw new RangeError(`${name} is another`);
      return { name, endpoint, model: endpoint.model, id: machine.pci.node(name).bdf };
    });
    this.#ram = machine.mm.allocate(SLOTS * SLOT_BYTES);
  }

  /** Lets endpoints be masters, and turns decoding or mastering off in a few functions anywhere. */
  *upset(): Process<void> {
    const { root, pci } = this.#machine;
    const tape = this.#tape;
    for (const { id, endpoint } of this.#devices) {
      yield* wait(root.configWrite(bdfFromId(id), COMMAND, 2, 6));
      const at = endpoint.config.capability(0x10) + 0x28;
      if (!tape.rarely(4)) {
        const old = yield* wait(root.configRead(bdfFromId(id), at, 2));
        yield* wait(root.configWrite(bdfFromId(id), at, 2, old | 0x40));
      }
    }
    const nodes = pci.nodes.filter(({ parent, isBridge }) => parent !== null || isBridge);
    for (let i = tape.below(12); i > 0; i--) {
      const { bdf } = tape.pick(nodes);
      yield* wait(root.configWrite(bdf, COMMAND, 2, tape.pick([2, 4, 6, 0])));
    }
  }

  *readTree(): Process<void> {
    this.#oracle = yield* RouteOracle.read(this.#machine, (deviceId, index) => {
      const device = this.#devices[deviceId - FIRST_DEVICE_ID];
      return device?.model.shown.get(index)?.sizeBytes ?? 0;
    });
  }

  run(): TopologyRun {
    const machine = this.#machine;
    const requests = Array.from({ length: SLOTS }, (_, slot) => this.#request(slot)).filter(
      (request) => request !== null,
    );
    this.#fill();
    const sources = new Set(this.#devices.map(({ endpoint }) => endpoint.port));
    const hosts = machine.map.hostBridges.map(({ rootBus }) => rootBus << 8);
    const watch = new DeliveryWatch(
      machine.fabric,
      (port, { requester }) =>
        sources.has(port) || (machine.root.ports.includes(port) && hosts.includes(requester)),
    );
    settle(machine);
    const before = credits(machine);
    const outcomes: Outcome[] = requests.map(() => ({ told: [], bytesAt: new Map() }));
    for (const [i, request] of requests.entries()) this.#start(request, i, outcomes[i]!);
    settle(machine);
    machine.fabric.probe = null;
    for (const delivery of watch.deliveries) {
      const { address, sizeBytes, path, kind } = delivery;
      const index = requests.findIndex((request) => covers(request, kind, address, sizeBytes));
      const outcome = outcomes[index];
      if (outcome === undefined) watch.faults.push(`${path} got what nobody sent: ${address}`);
      else outcome.bytesAt.set(path, (outcome.bytesAt.get(path) ?? 0) + sizeBytes);
    }
    const after = credits(machine);
    const creditsMissing = [...before].flatMap(([path, was]) =>
      was === after.get(path) ? [] : [`${path}: ${after.get(path)} of ${was}`],
    );
    return {
      ...{ machine, requests, outcomes, watch, creditsMissing },
      ...this.#compare(requests),
    };
  }

  get #tree(): RouteOracle {
    if (this.#oracle === null) throw new RangeError('the tree has not been read');
    return this.#oracle;
  }

  /** A request that no other one of the run overlaps; null where that cannot be said. */
  #request(slot: number): Request | null {
    const what = this.#tape.below(12);
    const made = this.#requestOf(what, slot);
    // Behind the end of one BAR there may be another, whose bytes are for others.
    return (what === 8 || what === 9) && made?.expected.target !== null ? null : made;
  }

  #requestOf(what: number, slot: number): Request | null {
    const tape = this.#tape;
    if (what === 11) return this.#configRead();
    const from = this.#tape.pick(this.#devices);
    const op = tape.pick(['write', 'read', 'read', 'write', 'atomic'] as const);
    const { address, room } = this.#target(what, slot, tape.pick(this.#devices));
    if (what === 10) return this.#ofCpu(op === 'atomic' ? 'read' : op, address, room);
    const isEmpty = op !== 'atomic' && tape.rarely(8);
    const most = Math.min(room, MOST_BYTES);
    const offset = op === 'atomic' || room < 16 ? 0 : tape.below(Math.floor(room / 2));
    const sizeBytes = op === 'atomic' ? 4 : isEmpty ? 0 : 1 + tape.below(most - offset);
    return this.#ofDevice(from, op, address + offset, sizeBytes);
  }

  /** BARs of others mostly, host memory, behind the end of a BAR, and nowhere. */
  #target(what: number, slot: number, to: Device): { address: number; room: number } {
    const bar = this.#tape.pick([...this.#machine.pci.node(to.name).bars]);
    if (what === 6 || what === 7)
      return { address: this.#ram + slot * SLOT_BYTES, room: SLOT_BYTES };
    if (what === 8) return { address: bar.busAddress + bar.sizeBytes, room: 64 };
    if (what === 9)
      return { address: this.#tape.pick([2 ** 46, 2 ** 24, 0x7000_0000]) + 64 * slot, room: 64 };
    const room = bar.sizeBytes / SLOTS;
    return { address: bar.busAddress + slot * room, room };
  }

  #ofDevice(from: Device, op: Operation, address: number, sizeBytes: number): Request {
    const fn = this.#tree.functions.get(from.id);
    const expected = this.#tree.ofFunction(from.id, op, address, sizeBytes);
    const request = { from: from.name, op, address, sizeBytes };
    if (fn?.master !== true) return { ...request, ...NOT_SENT, status: DmaStatus.BusMasterOff };
    if (op === 'atomic' && !fn.atomicRequester) {
      return { ...request, ...NOT_SENT, status: DmaStatus.AtomicsOff };
    }
    return { ...request, expected, status: op === 'write' ? DmaStatus.Ok : statusOf(expected) };
  }

  #ofCpu(op: Operation, address: number, room: number): Request | null {
    if (room < 4) return null;
    const expected = this.#tree.ofCpu(op, address, 4);
    return { from: CPU, op, address, sizeBytes: 4, expected, status: null };
  }

  /** Of a function, or of a number that may be nobody's. */
  #configRead(): Request {
    const ids = [...this.#tree.functions.keys()];
    const id = this.#tape.pick(ids) + this.#tape.pick([0, 0, 0, 1, 8, 0x100]);
    const fn = this.#tree.functions.get(id);
    const expected: Ending =
      fn === undefined ? NOT_SENT.expected : { verdict: 'delivered', target: id, isAnswered: true };
    return {
      from: CPU,
      op: 'config',
      address: id,
      sizeBytes: 4,
      expected,
      status: fn?.ids ?? 0xffff_ffff,
    };
  }

  #start(request: Request, index: number, outcome: Outcome): void {
    const { from, op, address, sizeBytes } = request;
    const { root } = this.#machine;
    const told = (value: number): void => void outcome.told.push(value);
    if (op === 'config') return root.configRead(bdfFromId(address), 0, 4).onDone(told);
    if (from === CPU && op === 'read') return root.mmioRead(physAddr(address), 4).onDone(told);
    if (from === CPU) return root.mmioWrite(physAddr(address), 4, index);
    const device = this.#devices.find(({ name }) => name === from)!;
    const {
      endpoint,
      model: { local },
    } = device;
    const at = index * SLOT_BYTES;
    const client = { dmaDone: told };
    const to: DmaAddr = dmaAddr(address);
    if (op === 'read') endpoint.read(to, sizeBytes, local, at, Purpose.Data, client, index);
    else if (op === 'write') endpoint.write(to, sizeBytes, local, at, Purpose.Data, client, index);
    else endpoint.atomic(TlpKind.Swap, to, sizeBytes, local, at, client, index);
  }

  #fill(): void {
    for (const [i, { model }] of this.#devices.entries()) {
      model.local.write(0, filled(LOCAL_SEED + i, LOCAL_BYTES));
      for (const [bar, memory] of model.shown)
        memory.write(0, filled(10 * i + bar, memory.sizeBytes));
    }
    this.#machine.mm.memory.write(this.#ram, filled(RAM_SEED, SLOTS * SLOT_BYTES));
  }

  /** Compares every byte with what the oracle's endings make of it. */
  #compare(requests: readonly Request[]): { wrongBytes: string[]; digest: string } {
    const wrongBytes: string[] = [];
    const hash = createHash('sha256');
    const compare = (what: string, actual: Uint8Array, expected: Uint8Array): void => {
      hash.update(actual);
      if (Buffer.compare(actual, expected) === 0) return;
      const at = actual.findIndex((byte, i) => byte !== expected[i]);
      wrongBytes.push(`${what} from byte ${at} on`);
    };
    const places = this.#expectedPlaces(requests);
    for (const { what, actual, expected } of places) compare(what, actual, expected);
    return { wrongBytes, digest: hash.digest('hex') };
  }

  #expectedPlaces(requests: readonly Request[]): readonly Place[] {
    const places = new Map<string, Place>();
    const ram = new Uint8Array(SLOTS * SLOT_BYTES);
    this.#machine.mm.memory.read(physAddr(this.#ram), ram);
    const memory = {
      what: 'memory',
      base: this.#ram,
      actual: ram,
      expected: filled(RAM_SEED, ram.length),
    };
    places.set('memory', memory);
    for (const [i, { name, model }] of this.#devices.entries()) {
      for (const bar of this.#machine.pci.node(name).bars) {
        const actual = new Uint8Array(bar.sizeBytes);
        model.shown.get(bar.index)?.read(0, actual);
        const expected = filled(10 * i + bar.index, bar.sizeBytes);
        const what = `${name} BAR${bar.index}`;
        places.set(what, { what, base: bar.busAddress, actual, expected });
      }
    }
    const locals = requests.map((request, i) => this.#played(request, i, [...places.values()]));
    return [...places.values(), ...locals.filter((local) => local !== null)];
  }

  /** Plays one request on what is expected; returns what its device should have in the end. */
  #played(request: Request, index: number, places: readonly Place[]): Place | null {
    const { from, op, address, sizeBytes, expected: ending } = request;
    if (op === 'config') return null;
    const device = this.#devices.findIndex(({ name }) => name === from);
    const isThere = ending.verdict === 'delivered';
    const place = places.find(
      ({ base, actual }) => address >= base && address + sizeBytes <= base + actual.length,
    );
    const at = address - (place?.base ?? 0);
    const was = place?.expected.slice(at, at + sizeBytes) ?? new Uint8Array(0);
    const own =
      from === CPU
        ? Uint8Array.of(index, 0, 0, 0)
        : filled(LOCAL_SEED + device, LOCAL_BYTES)
            .subarray(index * SLOT_BYTES)
            .subarray(0, sizeBytes);
    if (op !== 'read' && isThere) place?.expected.set(own, at);
    if (from === CPU || op === 'write' || !isThere || !ending.isAnswered) return null;
    const actual = new Uint8Array(sizeBytes);
    this.#devices[device]?.model.local.read(index * SLOT_BYTES, actual);
    return { what: `what ${from} got by request ${index}`, base: 0, actual, expected: was };
  }
}

interface Place {
  readonly what: string;
  readonly base: number;
  readonly actual: Uint8Array;
  readonly expected: Uint8Array;
}

const NOT_SENT = { expected: { verdict: 'UR', target: null, isAnswered: true } } as const;

function statusOf({ verdict, isAnswered }: Ending): number {
  if (!isAnswered) return DmaStatus.Timeout;
  if (verdict === 'UR') return DmaStatus.UnsupportedRequest;
  return verdict === 'CA' ? DmaStatus.CompleterAbort : DmaStatus.Ok;
}

const isConfigKind = (kind: number): boolean => kind >= TlpKind.CfgRd0 && kind <= TlpKind.CfgWr1;

/** Whether a TLP is part of a request. */
function covers(request: Request, kind: number, address: number, sizeBytes: number): boolean {
  if ((request.op === 'config') !== isConfigKind(kind)) return false;
  if (request.op === 'config') return request.address === address;
  if ((request.op === 'write') !== (kind === TlpKind.MWr)) return false;
  if (sizeBytes === 0) return request.sizeBytes === 0 && request.address === address;
  const end = request.address + request.sizeBytes;
  return address >= request.address && address + sizeBytes <= end;
}

/** Waits until nothing moves, and credits on their way are there. */
function settle({ kernel }: Machine): void {
  kernel.run();
  kernel.runUntil(kernel.now + CREDITS_PS);
}

/** Every port's credits, and whether it has them all. */
function credits(machine: Machine): Map<string, string> {
  const ports: Port[] = [...machine.root.ports];
  for (const { ports: own } of machine.switches.values()) ports.push(...own);
  for (const { port } of machine.endpoints.values()) ports.push(port);
  return new Map(
    ports.map((port) => {
      const classes = ([0, 1, 2] as const).map((flow) => Object.values(port.credits(flow)).join());
      return [port.path, `${classes.join(' ')} ${port.channels.waiting} ${port.creditsAtRest()}`];
    }),
  );
}
