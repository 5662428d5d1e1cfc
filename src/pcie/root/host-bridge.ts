/**
 * The host bridges of a root complex: which CPU addresses and bus numbers each forwards, what those addresses
 * are on its bus, and which root port takes them. Decodes; forwards nothing itself. [PCIE] 1.3.1, 7.5.1
 * @module
 */
import { type Bdf, bdf, type PhysAddr } from '#emu/base/units.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { BridgeTable } from '#emu/pcie/switch/bridge-table.ts';

/** CPU addresses that a host bridge forwards to its bus. */
export interface HostWindow {
  readonly base: PhysAddr;
  readonly sizeBytes: number;
  /** Bus address minus CPU address; default 0. */
  readonly busOffset?: number;
}

export interface HostBridgeOptions {
  /** Device 0 of its root bus. */
  readonly config: ConfigSpace;
  /** Bus numbers that it forwards, both inclusive. Default 0 to 255. */
  readonly rootBus?: number;
  readonly lastBus?: number;
  /** Default: every address, unchanged. */
  readonly windows?: readonly HostWindow[];
  /** Type 1 functions of its root ports: devices 1, 2 and on of its root bus. */
  readonly bridges: readonly ConfigSpace[];
  readonly portPaths?: readonly string[];
}

/** Something with an address that resolving may change; records, since an argument would be boxed. */
export interface Addressed {
  address: number;
}

const BUSES = 256;
const LAST_BUS = BUSES - 1;
/** Answers of {@link HostBridges.findBus} that are no root port. */
export const NO_PORT = -1;
export const ROOT_BUS = -2;
const EVERYWHERE = { base: 0, sizeBytes: Number.MAX_SAFE_INTEGER, busOffset: 0 } as const;

export class HostBridge {
  readonly index: number;
  readonly config: ConfigSpace;
  readonly rootBus: number;
  readonly lastBus: number;
  /** Number of its first root port among those of all host bridges. */
  readonly firstPort: number;
  readonly bridges: readonly ConfigSpace[];
  /** Windows and buses of its root ports, in bus addresses, by position below it. */
  readonly table: BridgeTable;

  constructor(index: number, firstPort: number, options: HostBridgeOptions) {
    this.index = index;
    this.firstPort = firstPort;
    this.config = options.config;
    this.rootBus = options.rootBus ?? 0;
    this.lastBus = options.lastBus ?? LAST_BUS;
    this.bridges = options.bridges;
    this.table = new BridgeTable(options.bridges);
  }

  /** Function 0 of device 0 of the root bus: the requester of what the CPU asks for. */
  get id(): Bdf {
    return bdf(this.rootBus, 0, 0);
  }

  /** Function on the root bus, or null: the host bridge itself or a root port. */
  function(target: number): ConfigSpace | null {
    const device = (target >>> 3) & 31;
    if ((target & 7) !== 0) return null;
    return device === 0 ? this.config : (this.bridges[device - 1] ?? null);
  }
}

export class HostBridges {
  readonly all: readonly HostBridge[];
  /** Type 1 functions of every root port. */
  readonly bridges: readonly ConfigSpace[];
  readonly #byPort: readonly HostBridge[];
  readonly #byBus: readonly (HostBridge | null)[];
  /** Root port by bus number, {@link ROOT_BUS} or {@link NO_PORT}. */
  readonly #portOfBus = new Int16Array(BUSES);
  /** Windows of all of them; limits exclusive. */
  readonly #base: Float64Array;
  readonly #limit: Float64Array;
  readonly #offset: Float64Array;
  readonly #byWindow: readonly HostBridge[];

  constructor(options: readonly HostBridgeOptions[]) {
    let ports = 0;
    this.all = options.map((one, i) => {
      const made = new HostBridge(i, ports, one);
      ports += one.bridges.length;
      return made;
    });
    this.bridges = this.all.flatMap(({ bridges }) => bridges);
    this.#portOfBus.fill(NO_PORT);
    this.#byPort = this.all.flatMap((one) => one.bridges.map(() => one));
    this.#byBus = Array.from(
      { length: BUSES },
      (_, bus) => this.all.find(({ rootBus, lastBus }) => bus >= rootBus && bus <= lastBus) ?? null,
    );
    const windows = options.map((one) => one.windows ?? [EVERYWHERE]);
    const flat = windows.flat();
    this.#base = Float64Array.from(flat, ({ base }) => base);
    this.#limit = Float64Array.from(flat, ({ base, sizeBytes }) => base + sizeBytes);
    this.#offset = Float64Array.from(flat, ({ busOffset = 0 }) => busOffset);
    this.#byWindow = windows.flatMap((list, i) => list.map(() => this.all[i]!));
    for (const host of this.all) this.#refresh(host);
    for (const [i, bridge] of this.bridges.entries()) {
      bridge.onWrite = () => this.#refresh(this.ofPort(i));
    }
  }

  /** The host bridge above a root port. */
  ofPort(port: number): HostBridge {
    const found = this.#byPort[port];
    if (!found) throw new RangeError(`there is no root port ${port}`);
    return found;
  }

  /** Requester ID of a root port: the root complex's own name on that link. */
  portId({ index }: { readonly index: number }): Bdf {
    const host = this.ofPort(index);
    return bdf(host.rootBus, index - host.firstPort + 1, 0);
  }

  /** The host bridge that forwards a bus number, or null. */
  ofBus(bus: number): HostBridge | null {
    return this.#byBus[bus] ?? null;
  }

  /**
   * The root port, of all, whose secondary to subordinate range holds `bus`; {@link ROOT_BUS} for a root bus,
   * {@link NO_PORT} for none.
   */
  findBus(bus: number): number {
    return this.#portOfBus[bus] ?? NO_PORT;
  }

  /**
   * The root port that decodes the CPU address in `at`, or -1. Where one is found the address becomes what it
   * is on that port's bus.
   */
  resolve(at: Addressed): number {
    const { address } = at;
    for (let i = 0; i < this.#base.length; i++) {
      if (address < this.#base[i]! || address >= this.#limit[i]!) continue;
      const host = this.#byWindow[i]!;
      const bus = address + this.#offset[i]!;
      const local = host.table.findAddress(bus);
      if (local < 0) return -1;
      at.address = bus;
      return host.firstPort + local;
    }
    return -1;
  }

  /** Reads the bridges of a host bridge again, which forwards no buses but its own whatever they say. */
  #refresh({ table, rootBus, lastBus, firstPort }: HostBridge): void {
    table.refresh();
    for (let bus = rootBus; bus <= lastBus; bus++) {
      const local = table.findBus(bus);
      this.#portOfBus[bus] = local < 0 ? NO_PORT : firstPort + local;
    }
    this.#portOfBus[rootBus] = ROOT_BUS;
  }
}
