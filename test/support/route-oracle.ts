/**
 * Says where a request ends, from nothing but what configuration reads give: bus numbers, windows, BARs, commands
 * and ACS. Shares no code with the routers. [PCIE] 2.2.4, 6.12, 7.3, 7.5
 * @module
 */
import { bdfFromId } from '#emu/base/units.ts';
import type { Machine } from '#emu/host/machine.ts';
import { type Process, wait } from '#emu/sim/process.ts';

export type Operation = 'read' | 'write' | 'atomic';

/** Where a request ends. */
export interface Ending {
  readonly verdict: 'delivered' | 'UR' | 'CA';
  /** Routing ID of the function that takes it, 'memory', or null. */
  readonly target: number | 'memory' | null;
  /** Whether the answer finds its way back. */
  readonly isAnswered: boolean;
}

/** Any function, as read. */
interface Fn {
  readonly id: number;
  readonly ids: number;
  readonly isBridge: boolean;
  readonly isMulti: boolean;
  readonly memory: boolean;
  readonly master: boolean;
  /** Open address ranges: BARs, or windows; limits exclusive. */
  readonly spans: readonly (readonly [base: number, limit: number])[];
  readonly secondary: number;
  readonly subordinate: number;
  readonly acs: number;
  readonly egress: number;
  readonly portType: number;
  /** Bits 7 to 9 of Device Capabilities 2: AtomicOps of 4, 8 and 16 bytes. */
  readonly atomics: number;
  readonly atomicRequester: boolean;
}

/** A root port, or a switch's port downwards. */
interface Gate {
  readonly fn: Fn;
  readonly siblings: Gate[];
  /** Position of its bit in Egress Control Vectors. */
  readonly number: number;
  /** Upstream port of the switch it is part of, and the gate above that; null for a root port. */
  readonly upstream: { readonly fn: Fn; readonly above: Gate } | null;
  /** Below it: a switch, by its upstream port and gates, or a device. */
  below: { readonly fn: Fn; readonly gates: Gate[] } | readonly Fn[];
}

const VENDOR = 0x00;
const COMMAND = 0x04;
const HEADER = 0x0c;
const [SV, RR, CR, UF, EC, URR] = [0x01, 0x04, 0x08, 0x10, 0x20, 0x1000];
const EMPTY = 0xffff_ffff;
const MiB = 2 ** 20;

const isIn = (fn: Fn, address: number, sizeBytes = 1): boolean =>
  fn.memory && fn.spans.some(([base, limit]) => address >= base && address + sizeBytes <= limit);
const hasBus = ({ secondary, subordinate }: Fn, bus: number): boolean =>
  secondary !== 0 && bus >= secondary && bus <= subordinate;

export class RouteOracle {
  readonly #dram: readonly [base: number, limit: number];
  /** Of each host bridge. */
  readonly #roots: Gate[][] = [];
  /** Every function by routing ID. */
  readonly functions = new Map<number, Fn>();
  readonly #parents = new Map<number, Gate>();

  private constructor(machine: Machine) {
    const { base, sizeBytes } = machine.map.dram;
    this.#dram = [base, base + sizeBytes];
  }

  /** Reads the whole tree. @param barBytes size of a BAR by device ID and BAR index */
  static *read(
    machine: Machine,
    barBytes: (deviceId: number, index: number) => number,
  ): Process<RouteOracle> {
    const oracle = new RouteOracle(machine);
    for (const { rootBus } of machine.map.hostBridges) {
      const found = yield* bus(machine, rootBus, 32, barBytes);
      const gates: Gate[] = [];
      for (const fn of found) oracle.functions.set(fn.id, fn);
      for (const fn of found.filter(({ isBridge }) => isBridge)) {
        gates.push({ fn, siblings: gates, number: gates.length, upstream: null, below: [] });
      }
      for (const gate of gates) yield* oracle.#below(machine, gate, barBytes);
      oracle.#roots.push(gates);
    }
    return oracle;
  }

  /** Of a request of function `id` that is not stopped by its own Bus Master Enable. */
  ofFunction(id: number, op: Operation, address: number, sizeBytes: number): Ending {
    const gate = this.#parents.get(id);
    if (gate === undefined) throw new RangeError(`nobody has ID ${id}`);
    return this.#fromBelow(gate, { id, op, address, sizeBytes });
  }

  /** Of a load or store of the CPU. */
  ofCpu(op: Operation, address: number, sizeBytes: number): Ending {
    const gate = this.#roots.flat().find(({ fn }) => isIn(fn, address));
    if (gate === undefined) return refused('UR', true);
    return this.#fromAbove(gate, { id: 0, op, address, sizeBytes });
  }

  *#below(
    machine: Machine,
    gate: Gate,
    barBytes: (deviceId: number, index: number) => number,
  ): Process<void> {
    const found = yield* bus(machine, gate.fn.secondary, 1, barBytes);
    for (const fn of found) {
      this.functions.set(fn.id, fn);
      this.#parents.set(fn.id, gate);
    }
    const [first] = found;
    if (first === undefined || !first.isBridge) {
      gate.below = found;
      return;
    }
    const gates: Gate[] = [];
    for (const fn of yield* bus(machine, first.secondary, 32, barBytes)) {
      this.functions.set(fn.id, fn);
      const upstream = { fn: first, above: gate };
      gates.push({ fn, siblings: gates, number: gates.length + 1, upstream, below: [] });
    }
    gate.below = { fn: first, gates };
    for (const one of gates) yield* this.#below(machine, one, barBytes);
  }

  #fromBelow(gate: Gate, request: Request): Ending {
    const { fn, siblings, upstream } = gate;
    const { address } = request;
    if (!fn.master) return refused('UR', true);
    if (fn.acs & SV && !hasBus(fn, request.id >>> 8)) return refused('CA', true);
    const target = siblings.find((sibling) => isIn(sibling.fn, address));
    if (target === undefined) {
      const comesBack = upstream !== null && isIn(upstream.fn, address);
      if (comesBack && !(fn.acs & URR)) return refused('UR', true);
      return this.#up(gate, request, null);
    }
    if (target === gate) return fn.acs & UF ? this.#up(gate, request, target) : refused('UR', true);
    const isBlocked = ((fn.egress >>> target.number) & 1) === 1;
    const isDetour = fn.acs & EC ? isBlocked : (fn.acs & RR) !== 0;
    if (!isDetour) return this.#fromAbove(target, request);
    return fn.acs & RR ? this.#up(gate, request, target) : refused('CA', true);
  }

  /** Above a gate: the next one, or the root complex, which sends what has a target among its own there. */
  #up({ fn, upstream }: Gate, request: Request, target: Gate | null): Ending {
    if (upstream !== null) {
      return upstream.fn.master ? this.#fromBelow(upstream.above, request) : refused('UR', true);
    }
    if (target !== null) return this.#fromAbove(target, request);
    const { address, sizeBytes, op } = request;
    const [base, limit] = this.#dram;
    if (address >= base && address + sizeBytes <= limit) {
      if (op === 'atomic' && !takes(fn, sizeBytes)) return refused('UR', true);
      return { verdict: 'delivered', target: 'memory', isAnswered: true };
    }
    const far = this.#roots.flat().find((root) => isIn(root.fn, address));
    return far === undefined ? refused('UR', true) : this.#fromAbove(far, request);
  }

  #fromAbove(gate: Gate, request: Request): Ending {
    const { below } = gate;
    const { address, sizeBytes, op } = request;
    const isAnswered = this.#answers(gate, request.id >>> 8);
    if (isSwitch(below)) {
      const next = below.gates.find(({ fn }) => isIn(fn, address));
      if (!isIn(below.fn, address) || next === undefined) return refused('UR', isAnswered);
      return this.#fromAbove(next, request);
    }
    const found = below.find((fn) => isIn(fn, address, sizeBytes || 1));
    if (found === undefined) return refused('UR', isAnswered);
    if (op === 'atomic' && !takes(found, sizeBytes)) return refused('UR', isAnswered);
    return { verdict: 'delivered', target: found.id, isAnswered };
  }

  /** Whether a completion that comes up by a gate reaches `home`, the requester's bus. */
  #answers({ fn, siblings, upstream }: Gate, home: number): boolean {
    if (upstream === null) return true;
    const target = siblings.find((sibling) => hasBus(sibling.fn, home));
    if (target?.fn === fn) return (fn.acs & UF) !== 0 && this.#answers(upstream.above, home);
    if (target !== undefined && !(fn.acs & CR)) return true;
    return this.#answers(upstream.above, home);
  }
}

interface Request {
  readonly id: number;
  readonly op: Operation;
  readonly address: number;
  readonly sizeBytes: number;
}

const refused = (verdict: 'UR' | 'CA', isAnswered: boolean): Ending => ({
  ...{ verdict, isAnswered },
  target: null,
});
const takes = ({ atomics }: Fn, sizeBytes: number): boolean =>
  ((atomics >>> (7 + Math.log2(sizeBytes / 4))) & 1) === 1;
const isSwitch = (below: Gate['below']): below is { readonly fn: Fn; readonly gates: Gate[] } =>
  'gates' in below;

/** All functions of one bus. */
function* bus(
  machine: Machine,
  number: number,
  devices: number,
  barBytes: (deviceId: number, index: number) => number,
): Process<Fn[]> {
  const found: Fn[] = [];
  for (let device = 0; device < devices; device++) {
    for (let i = 0; i < 8; i++) {
      const fn = yield* readFunction(machine, (number << 8) | (device << 3) | i, barBytes);
      if (fn !== null) found.push(fn);
      if (i === 0 && fn?.isMulti !== true) break;
    }
  }
  return found;
}

function* readFunction(
  machine: Machine,
  id: number,
  barBytes: (deviceId: number, index: number) => number,
): Process<Fn | null> {
  const get = (offset: number) => wait(machine.root.configRead(bdfFromId(id), offset, 4));
  const ids = yield* get(VENDOR);
  if (ids === EMPTY) return null;
  const command = yield* get(COMMAND);
  const header = (yield* get(HEADER)) >>> 16;
  const isBridge = (header & 0x7f) === 1;
  const buses = isBridge ? yield* get(0x18) : 0;
  const pcie = yield* capability(get, 0x10);
  const acsAt = yield* extended(get, 0x000d);
  const acs = acsAt === 0 ? 0 : yield* get(acsAt + 4);
  const hasVector = acs & EC;
  const sizeOf = (index: number): number => barBytes(ids >>> 16, index);
  return {
    ...{ id, ids, isBridge },
    isMulti: (header & 0x80) !== 0,
    memory: (command & 2) !== 0,
    master: (command & 4) !== 0,
    spans: isBridge ? yield* windows(get) : yield* bars(get, sizeOf),
    secondary: (buses >>> 8) & 0xff,
    subordinate: (buses >>> 16) & 0xff,
    acs: acs >>> 16,
    egress: hasVector ? yield* get(acsAt + 8) : 0,
    portType: pcie === 0 ? -1 : ((yield* get(pcie)) >>> 20) & 0xf,
    atomics: pcie === 0 ? 0 : yield* get(pcie + 0x24),
    atomicRequester: pcie !== 0 && (((yield* get(pcie + 0x28)) >>> 6) & 1) === 1,
  };
}

type Get = (offset: number) => Process<number>;

function* capability(get: Get, wanted: number): Process<number> {
  let at = (yield* get(0x34)) & 0xfc;
  while (at !== 0) {
    const head = yield* get(at);
    if ((head & 0xff) === wanted) return at;
    at = (head >>> 8) & 0xfc;
  }
  return 0;
}

function* extended(get: Get, wanted: number): Process<number> {
  for (let at = 0x100; at !== 0; ) {
    const head = yield* get(at);
    if (head === 0 || head === EMPTY) return 0;
    if ((head & 0xffff) === wanted) return at;
    at = head >>> 20;
  }
  return 0;
}

/** Non-prefetchable and prefetchable window of a bridge. */
function* windows(get: Get): Process<(readonly [number, number])[]> {
  const low = yield* get(0x20);
  const high = yield* get(0x24);
  const upperBase = yield* get(0x28);
  const upperLimit = yield* get(0x2c);
  const mib = (register: number): number => (register >>> 4) & 0xfff;
  const is64 = (high & 0xf) === 1 ? 2 ** 32 : 0;
  return [
    [mib(low) * MiB, (mib(low >>> 16) + 1) * MiB],
    [mib(high) * MiB + upperBase * is64, (mib(high >>> 16) + 1) * MiB + upperLimit * is64],
  ];
}

function* bars(
  get: Get,
  sizeOf: (index: number) => number,
): Process<(readonly [number, number])[]> {
  const spans: (readonly [number, number])[] = [];
  for (let i = 0; i < 6; i++) {
    const low = yield* get(0x10 + 4 * i);
    const is64 = (low & 6) === 4;
    const base = (low & ~0xf) >>> 0;
    const at = is64 ? base + (yield* get(0x14 + 4 * i)) * 2 ** 32 : base;
    if (at !== 0) spans.push([at, at + sizeOf(i)]);
    if (is64) i++;
  }
  return spans;
}
