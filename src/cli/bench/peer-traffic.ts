/**
 * Machines in which exercisers below common switches read and write one another's BARs.
 * @module
 */

import { ExerciserModel, exerciser } from '#devices/exerciser/index.ts';
import { EmuError, invariant } from '#emu/base/errors.ts';
import { type Bdf, type DmaAddr, dmaAddr } from '#emu/base/units.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { pcieSwitch } from '#emu/host/machine-spec.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { AcsBit, Command } from '#emu/pcie/config/config-registers.ts';
import type { DmaClient } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fidelity } from '#emu/pcie/fabric.ts';
import { DEFAULT_LINK } from '#emu/pcie/link/link.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { Random } from '#emu/sim/random.ts';

export interface TrafficOptions {
  readonly fidelity: Fidelity;
  readonly switches: number;
  readonly devicesPerSwitch: number;
  /** Bytes that each device moves over and over. */
  readonly bytesPerDevice: number;
  /** What the devices reach; default their peers. Host memory stands behind an IOMMU. */
  readonly target?: 'peer' | 'host';
  /** Default: ACS off, links without overheads. `all`: ACS but its redirects, and all that links cost. */
  readonly rules?: 'default' | 'all';
}

const MAX_PAYLOAD = 256;
const ALL_BUT_REDIRECTS = AcsBit.SV | AcsBit.TB | AcsBit.UF;
/** Transfers that a device has under way. */
const DEPTH = 2;

export class PeerTraffic {
  readonly machine: Machine;
  readonly #flows: Flow[] = [];

  constructor(options: TrafficOptions) {
    const { fidelity, switches, devicesPerSwitch, bytesPerDevice, target = 'peer' } = options;
    const hasAllRules = options.rules === 'all';
    const plan = machine({
      maxPayloadBytes: MAX_PAYLOAD,
      iommu: target === 'host',
      acs: hasAllRules ? ALL_BUT_REDIRECTS : 'off',
      rootPorts: Array.from({ length: switches }, (_, s) => ({
        device: pcieSwitch({
          ports: Array.from({ length: devicesPerSwitch }, (_, d) => ({
            device: exerciser({ name: deviceName(s, d), memoryBytes: bytesPerDevice }),
            link: hasAllRules ? { ...DEFAULT_LINK, overheads: true } : DEFAULT_LINK,
          })),
        }),
      })),
    });
    this.machine = plan.build({ fidelity });
    const booted = this.machine.boot();
    this.machine.kernel.run();
    invariant(booted.done, 'the benchmark machine does not boot');
    for (let s = 0; s < switches; s++) {
      for (let d = 0; d < devicesPerSwitch; d++) {
        if (target === 'host') this.#connectHost(s, d, bytesPerDevice);
        else this.#connect(s, d, (d + 1) % devicesPerSwitch);
      }
    }
  }

  /** Every device, or only the first `active`, moves `bytesPerFlow` in transfers of `transferBytes`. */
  run(
    isWrite: boolean,
    bytesPerFlow: number,
    transferBytes: number,
    active = Number.POSITIVE_INFINITY,
  ): void {
    for (const flow of this.#flows.slice(0, active)) {
      flow.start(isWrite, bytesPerFlow / transferBytes, transferBytes);
    }
    this.machine.kernel.run();
  }

  /** Gives every device something to read from its peer. */
  prepareReads(): void {
    for (const flow of this.#flows) flow.prepareRead();
  }

  /** Whether the first `active` devices and their peers hold the same bytes. */
  verify(active = Number.POSITIVE_INFINITY): boolean {
    return this.#flows.slice(0, active).every((flow) => flow.verify());
  }

  #connect(s: number, d: number, peer: number): void {
    const [from, to] = [this.#model(s, d), this.#model(s, peer)];
    this.#enable(this.machine.pci.node(deviceName(s, d)).bdf);
    const bar = this.machine.pci.node(deviceName(s, peer)).bars[0];
    invariant(bar !== undefined, 'an exerciser has a BAR');
    this.#flows.push(new Flow(from, to.shown, 0, dmaAddr(bar.address)));
  }

  /** Mapped host memory as the target. */
  #connectHost(s: number, d: number, sizeBytes: number): void {
    const name = deviceName(s, d);
    this.#enable(this.machine.pci.node(name).bdf);
    const { mm } = this.machine;
    const memory = mm.allocate(sizeBytes);
    const { dma } = this.machine.function(name);
    const mapping = dma.map(mm.pin(memory, sizeBytes), Direction.Bidirectional);
    invariant(!isRefusal(mapping), 'host memory is mapped');
    const [first] = mapping.ranges;
    invariant(first?.length === sizeBytes, 'host memory is one range of I/O virtual addresses');
    this.#flows.push(new Flow(this.#model(s, d), mm.memory, memory, first.address));
  }

  #enable(id: Bdf): void {
    const value = Command.MSE.mask | Command.BME.mask;
    this.machine.root.configWrite(id, 4, 2, value);
    this.machine.kernel.run();
  }

  #model(s: number, d: number): ExerciserModel {
    const { model } = this.machine.endpoint(deviceName(s, d));
    invariant(model instanceof ExerciserModel, 'the benchmark machine holds exercisers');
    return model;
  }
}

/** Random bytes, different for every seed and name. */
function fill(
  memory: SparseMemory,
  at: number,
  sizeBytes: number,
  seed: number,
  name: string,
): void {
  const bytes = new Uint8Array(sizeBytes);
  new Random(seed, name).fill(bytes);
  memory.write(at, bytes);
}

const deviceName = (s: number, d: number): string => `s${s}d${d}`;

/** One device that moves data to or from its peer, a transfer after the other. */
class Flow implements DmaClient {
  readonly #from: ExerciserModel;
  /** Where the target's bytes are. */
  readonly #to: SparseMemory;
  readonly #toBase: number;
  readonly #address: DmaAddr;
  #isWrite = true;
  #left = 0;
  #transferBytes = 0;
  #at = 0;

  constructor(from: ExerciserModel, to: SparseMemory, toBase: number, address: DmaAddr) {
    this.#from = from;
    this.#to = to;
    this.#toBase = toBase;
    this.#address = address;
    fill(from.local, 0, from.local.sizeBytes, 1, from.endpoint.path);
  }

  start(isWrite: boolean, transfers: number, transferBytes: number): void {
    this.#isWrite = isWrite;
    this.#left = transfers;
    this.#transferBytes = transferBytes;
    for (let i = 0; i < DEPTH; i++) this.#next();
  }

  /** Gives the target bytes which differ from this device's. */
  prepareRead(): void {
    const { local, endpoint } = this.#from;
    fill(this.#to, this.#toBase, local.sizeBytes, 2, endpoint.path);
  }

  dmaDone(status: DmaStatus): void {
    if (status !== DmaStatus.Ok) throw new EmuError('INVARIANT', `benchmark transfer: ${status}`);
    this.#next();
  }

  verify(): boolean {
    const size = this.#from.local.sizeBytes;
    const sent = new Uint8Array(size);
    const arrived = new Uint8Array(size);
    this.#from.local.read(0, sent);
    this.#to.read(this.#toBase, arrived);
    return sent.every((byte, i) => byte === arrived[i]);
  }

  #next(): void {
    if (this.#left === 0) return;
    this.#left--;
    const size = this.#transferBytes;
    const at = this.#at;
    const { endpoint, local } = this.#from;
    this.#at = at + size === local.sizeBytes ? 0 : at + size;
    const address = dmaAddr(this.#address + at);
    if (this.#isWrite) endpoint.write(address, size, local, at, Purpose.Data, this, 0);
    else endpoint.read(address, size, local, at, Purpose.Data, this, 0);
  }
}
