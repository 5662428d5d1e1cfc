/**
 * The machine of a timing row: a preset, what the row changes of it, and exercisers at its ends.
 * @module
 */
import { ExerciserModel, exerciser } from '#devices/exerciser/index.ts';
import { nvme } from '#devices/nvme/index.ts';
import { invariant } from '#emu/base/errors.ts';
import { type DmaAddr, dmaAddr, offsetBy, PAGE_SIZE } from '#emu/base/units.ts';
import { PhyRangeList } from '#emu/dma/lists/phy-range-list.ts';
import { Direction, isRefusal } from '#emu/dma/mapping.ts';
import { type Machine, machine } from '#emu/host/machine.ts';
import { type MachineSpec, type PortSpec, pcieSwitch } from '#emu/host/machine-spec.ts';
import { PRESETS } from '#emu/host/presets.ts';
import { MemoryStore } from '#emu/memory/block-store.ts';
import { Command } from '#emu/pcie/config/config-registers.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import type { LinkSpec } from '#emu/pcie/link/link.ts';
import type { TimingMachine } from './timing-row.ts';
import { Traffic } from './traffic.ts';

const GiB = 2 ** 30;
const FOUR_GIB = 4 * GiB;
const DRAM_BYTES = 16 * GiB;
const DRIVE_BYTES = 2 ** 26;
/** As large as the largest window. */
const MEMORY_BYTES = 2 ** 30;
export const TARGET = 'target';
export const requesterName = (i: number): string => `requester${i}`;
export const DRIVE = 'drive';

const ps = (ns: number): number => Math.round(ns * 1000);

/** What stands at the requesters' end. */
export interface StandOptions {
  readonly requesters: number;
  readonly drive: boolean;
}

export class TimingStand {
  readonly machine: Machine;
  readonly config: TimingMachine;

  constructor(config: TimingMachine, options: StandOptions) {
    this.config = config;
    this.machine = machine(machineSpec(config, options)).build();
    const booted = this.machine.boot();
    this.machine.kernel.run();
    invariant(booted.done, 'the timing machine does not boot');
    for (const name of this.machine.endpoints.keys()) this.#enable(name);
  }

  /** Uses all memory below 4 GiB up: what is allocated from here on has addresses of 64 bits. */
  fillLowMemory(): void {
    this.machine.mm.allocate(FOUR_GIB - this.machine.map.dram.base);
  }

  requester(i: number): Traffic {
    const { model } = this.machine.endpoint(requesterName(i));
    invariant(model instanceof ExerciserModel, 'requesters are exercisers');
    return new Traffic(this.machine.kernel, model);
  }

  /** Where a requester finds `bytes` of the target: host memory, or the peer's BAR. */
  target(i: number, bytes: number): DmaAddr {
    if (this.isPeer) {
      const [bar] = this.machine.pci.node(TARGET).bars;
      invariant(bar !== undefined, 'the target has a BAR');
      return dmaAddr(bar.address);
    }
    if (this.machine.iommu === null) return dmaAddr(this.machine.mm.allocate(bytes));
    return this.#map(i, bytes, this.config.pageBytes ?? PAGE_SIZE);
  }

  get isPeer(): boolean {
    const { topology = 'root-port' } = this.config;
    return topology === 'switch-peers' || topology === 'root-peers';
  }

  dispose(): void {
    this.machine.dispose();
  }

  /** Pages with gaps between them, so that the IOMMU cannot use larger ones. */
  #map(i: number, bytes: number, pageBytes: number): DmaAddr {
    const list = new PhyRangeList();
    const base = this.machine.mm.allocate(2 * bytes, pageBytes);
    for (let at = 0; at < bytes; at += pageBytes) {
      list.append(offsetBy(base, 2 * at), pageBytes);
    }
    const { dma } = this.machine.function(requesterName(i));
    const mapping = dma.map(list, Direction.Bidirectional);
    invariant(!isRefusal(mapping), 'the window of a timing row is mapped');
    const [first] = mapping.ranges;
    invariant(first !== undefined, 'a mapping has a range');
    return first.address;
  }

  #enable(name: string): void {
    const { bdf } = this.machine.pci.node(name);
    this.machine.root.configWrite(bdf, 4, 2, Command.MSE.mask | Command.BME.mask);
    this.machine.kernel.run();
  }
}

function machineSpec(config: TimingMachine, options: StandOptions): MachineSpec {
  const preset = PRESETS[config.preset ?? 'ideal'];
  const { memoryLatencyNs, rootLatencyNs, rootCompletionBytes } = config;
  const fixed = preset.machine;
  const { latencyPs } = preset.machine.memory ?? {};
  return {
    ...fixed,
    memory: {
      ...fixed.memory,
      sizeBytes: DRAM_BYTES,
      ...given('latencyPs', memoryLatencyNs === undefined ? latencyPs : ps(memoryLatencyNs)),
    },
    ...given('rootLatencyPs', rootLatencyNs === undefined ? undefined : ps(rootLatencyNs)),
    ...given('rootCompletionBytes', rootCompletionBytes),
    acs: 'off',
    maxPayloadBytes: config.maxPayloadBytes ?? 256,
    maxReadRequestBytes: config.maxReadRequestBytes ?? 512,
    rootPorts: rootPorts(config, options),
  };
}

/** The devices at the ports that the topology says; a target only where it is a peer. */
function rootPorts(config: TimingMachine, { requesters, drive }: StandOptions): PortSpec[] {
  const sources = Array.from({ length: requesters }, (_, i) => device(requesterName(i), config));
  if (drive) {
    const store = (): MemoryStore => new MemoryStore({ blockCount: DRIVE_BYTES / 512 });
    sources.push(nvme({ name: DRIVE, store, timing: 'instant', prefetchable: true }));
  }
  const port = portOf(config);
  const { topology = 'root-port' } = config;
  if (topology === 'root-port') return sources.map(port);
  if (topology === 'root-peers') return [...sources, device(TARGET, config)].map(port);
  const isPeer = topology === 'switch-peers';
  const below = isPeer ? [...sources, device(TARGET, config)] : sources;
  const { switchLatencyNs, cutThrough } = config;
  const one = pcieSwitch({
    ports: below.map(port),
    ...given('latencyPs', switchLatencyNs === undefined ? undefined : ps(switchLatencyNs)),
    ...given('cutThrough', cutThrough),
  });
  return [port(one)];
}

const device = (name: string, config: TimingMachine): DeviceSpec => {
  const { completerLatencyNs, tags } = config;
  const latencyPs = completerLatencyNs === undefined ? undefined : ps(completerLatencyNs);
  return exerciser({
    name,
    memoryBytes: MEMORY_BYTES,
    ...given('completerLatencyPs', latencyPs),
    ...given('tags', tags),
  });
};

const portOf = (config: TimingMachine): ((device: NonNullable<PortSpec['device']>) => PortSpec) => {
  const { gen, width, propagationNs, overheads } = config.link;
  const link: LinkSpec = {
    ...PRESETS[config.preset ?? 'ideal'].link,
    gen,
    width,
    ...given('propagationPs', propagationNs === undefined ? undefined : ps(propagationNs)),
    ...given('overheads', overheads),
    ...given('upperCredits', config.rootCredits),
  };
  return (device) => ({ device, link });
};

/** A field that is there only where it has a value. */
const given = <K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } =>
  value === undefined ? {} : ({ [key]: value } as { [key in K]: V });
