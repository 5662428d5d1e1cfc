/**
 * A machine: hardware built from a specification, and the host software that runs on it.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { type DmaAddr, dmaAddr, type PhysAddr } from '#emu/base/units.ts';
import { type CheckerAction, DmaChecker } from '#emu/dma/checker/checker.ts';
import type { FaultLog } from '#emu/dma/iommu-driver/fault-log.ts';
import { hostBridgePolicy } from '#emu/dma/p2p/host-bridge-list.ts';
import { mapType } from '#emu/dma/p2p/p2p.ts';
import type { BouncePool } from '#emu/dma/providers/bounce-pool.ts';
import type { DmaProvider } from '#emu/dma/providers/dma-provider.ts';
import { errorSpecOf } from '#emu/host/checks/error-check.ts';
import { checkMachine } from '#emu/host/checks/topology-check.ts';
import type { EnumerationSettings } from '#emu/host/enumeration/bar-resize.ts';
import { enumerate } from '#emu/host/enumeration/enumeration.ts';
import { type ResetWay, resetFunction } from '#emu/host/enumeration/function-reset.ts';
import type { PciNode } from '#emu/host/enumeration/pci-node.ts';
import { PciTree } from '#emu/host/enumeration/pci-tree.ts';
import { setVfs } from '#emu/host/enumeration/virtual-functions.ts';
import { HostMemory } from '#emu/host/memory/mm.ts';
import { PinLedger } from '#emu/host/memory/pin-ledger.ts';
import { PeerMemory, type PeerRoute } from '#emu/host/peer/peer-memory.ts';
import { ErrorService } from '#emu/host/services/error-service.ts';
import {
  HotPlug,
  type HotPlugHost,
  type InsertOptions,
  type RemoveOptions,
} from '#emu/host/services/hot-plug.ts';
import { Interrupts } from '#emu/host/services/interrupts.ts';
import { LegacyInterrupts } from '#emu/host/services/legacy-interrupts.ts';
import { PortInterrupts } from '#emu/host/services/port-interrupts.ts';
import type { Iommu } from '#emu/iommu/iommu.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { PortType } from '#emu/pcie/config/config-registers.ts';
import type { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import { Fabric, type Fidelity } from '#emu/pcie/fabric.ts';
import type { RootComplex } from '#emu/pcie/root/root-complex.ts';
import type { Switch } from '#emu/pcie/switch/switch.ts';
import { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import { buildHardware, DEFAULT_MAX_PAYLOAD_BYTES, type Hardware } from './builder.ts';
import { CallSite } from './call-site.ts';
import { Cpu } from './cpu.ts';
import { type DmaSoftware, dmaSoftware, dmaTraits } from './dma-software.ts';
import type { LinkReport } from './link-report.ts';
import type { MachineSpec, PhysicalMap, Plug } from './machine-spec.ts';
import { PciFunction } from './pci-function.ts';
import { physicalMap } from './physical-map.ts';

export interface BuildOptions {
  readonly seed?: number;
  readonly fidelity?: Fidelity;
  /** Default: the name in the specification, else `machine`. */
  readonly name?: string;
  /** Whether machines that say nothing are checked; default false. */
  readonly checker?: boolean;
}

/** A checked specification, from which machines are built. */
export class MachinePlan {
  readonly spec: MachineSpec;

  /** @throws USAGE for a machine that cannot be */
  constructor(spec: MachineSpec) {
    checkMachine(spec);
    this.spec = spec;
  }

  build(options: BuildOptions = {}): Machine {
    return new Machine(this.spec, options);
  }
}

/** Describes a machine; nothing is built before {@link MachinePlan.build}. @throws USAGE */
export const machine = (spec: MachineSpec): MachinePlan => new MachinePlan(spec);

const DEFAULT_MAX_READ_REQUEST_BYTES = 512;

export class Machine {
  readonly name: string;
  readonly spec: MachineSpec;
  readonly kernel: Kernel;
  readonly fabric: Fabric;
  readonly map: PhysicalMap;
  readonly cpu: Cpu;
  readonly mm: HostMemory;
  readonly interrupts: Interrupts;
  /** Interrupt lines, for functions whose driver uses neither MSI nor MSI-X. */
  readonly legacyInterrupts: LegacyInterrupts;
  readonly pci: PciTree;
  /** Interrupts of root ports and downstream ports. */
  readonly portInterrupts: PortInterrupts;
  /** Errors that functions have reported, as software has read them, or null without that service. */
  readonly errors: ErrorService | null;
  /** Devices that come and go while the machine runs. */
  readonly hotplug: HotPlug;
  /** Who looks for wrong use of mappings, or null. */
  readonly checker: DmaChecker | null;
  /** User memory that is pinned; address spaces of this machine share it. */
  readonly pins: PinLedger;
  /** Memory that devices offer to their peers. */
  readonly peerMemory: PeerMemory;
  readonly #hardware: Hardware;
  readonly #memory: SparseMemory;
  readonly #dma: DmaSoftware;
  readonly #functions = new Map<string, PciFunction>();

  constructor(spec: MachineSpec, options: BuildOptions) {
    this.spec = spec;
    this.name = options.name ?? spec.name ?? 'machine';
    this.kernel = new Kernel({ seed: options.seed ?? 0 });
    const maxPayloadBytes = spec.maxPayloadBytes ?? DEFAULT_MAX_PAYLOAD_BYTES;
    this.fabric = new Fabric(this.kernel, options.fidelity ?? 'timed', maxPayloadBytes);
    this.fabric.errorOptions = errorSpecOf(spec.errors);
    this.map = physicalMap(spec);
    const { dram, doorbell } = this.map;
    this.#memory = new SparseMemory(dram.base + dram.sizeBytes, `${this.name} host memory`);
    this.#hardware = buildHardware(this.fabric, spec, this.map, this.#memory);
    this.cpu = new Cpu(this.root);
    this.mm = new HostMemory(this.#memory, dram);
    this.interrupts = new Interrupts(this.kernel, doorbell.base, spec.interruptLatencyPs);
    this.root.onInterrupt = (data) => this.interrupts.raise(data);
    this.legacyInterrupts = new LegacyInterrupts(this.kernel, this.root, spec.interruptLatencyPs);
    this.pci = new PciTree(this.root, this.map);
    this.#dma = dmaSoftware(this, spec);
    this.portInterrupts = new PortInterrupts({
      root: this.root,
      interrupts: this.interrupts,
      mapDoorbell: (node, address) => this.#mapDoorbell(node, address),
    });
    this.errors = errorSpecOf(spec.errors).service === false ? null : new ErrorService(this);
    this.hotplug = this.#addHotPlug();
    this.checker = this.#addChecker(spec.checker ?? options.checker ?? false);
    const callSites = this.checker !== null;
    this.pins = new PinLedger({ callSites });
    this.peerMemory = new PeerMemory({
      kernel: this.kernel,
      view: this.pci,
      route: this.#peerRoute(),
      random: this.kernel.random(`${this.name} peer memory`),
      callSites,
    });
  }

  get root(): RootComplex {
    return this.#hardware.root;
  }
  /** How drivers' memory is made accessible to devices. */
  get dma(): DmaProvider {
    return this.#dma.provider;
  }
  /** Translation hardware, or null. */
  get iommu(): Iommu | null {
    return this.#dma.iommu;
  }
  /** Memory for copies of what devices do not reach, or null. */
  get bounce(): BouncePool | null {
    return this.#dma.bounce;
  }
  /** What the IOMMU's driver has read of its faults, or null. */
  get faults(): FaultLog | null {
    return this.#dma.faults;
  }

  /**
   * Where a port's interrupt message goes. A root port's stays inside the root complex, which does not translate it.
   */
  #mapDoorbell({ portType, path }: PciNode, address: PhysAddr): DmaAddr {
    if (portType === PortType.RootPort) return dmaAddr(address);
    return this.function(path).dma.mapDoorbell(address);
  }

  /** How software believes that a client reaches a provider. */
  #peerRoute(): PeerRoute {
    const { pci, spec } = this;
    const allowed = hostBridgePolicy(pci, spec.hostBridgeAllowList, spec.cpu);
    return (provider, client) => mapType(pci, provider, client, allowed(provider, client));
  }

  get #linkSettings(): EnumerationSettings {
    const { barSizes } = this.spec;
    return {
      ...(barSizes === undefined ? {} : { barSizes }),
      maxPayloadBytes: this.spec.maxPayloadBytes ?? DEFAULT_MAX_PAYLOAD_BYTES,
      maxReadRequestBytes: this.spec.maxReadRequestBytes ?? DEFAULT_MAX_READ_REQUEST_BYTES,
    };
  }

  /** Enumerates the tree by configuration requests and brings translation up; then drivers may be opened. */
  boot(): Pending<void> {
    return this.kernel.spawn(`${this.name} boot`, this.#boot());
  }

  *#boot(): Process<void> {
    const buses = this.#hardware.boards.map((board, i) => ({
      board,
      map: this.map.hostBridges[i]!,
    }));
    const roots = yield* enumerate(this.root, buses, this.#linkSettings);
    this.pci.adopt(roots);
    yield* this.dma.start();
    yield* this.#reportErrors(this.pci.nodes);
    yield* this.hotplug.start(this.pci.nodes);
  }

  *#reportErrors(nodes: readonly PciNode[]): Process<void> {
    if (this.errors === null) return;
    yield* this.errors.start(nodes, errorSpecOf(this.spec.errors).containment);
  }

  /** Nobody uses a function any more: its handle is void, and who asks for it gets a new one. */
  *#release(node: PciNode, isSurprise: boolean): Process<void> {
    for (const [name, fn] of this.#functions) {
      if (fn.bdf !== node.bdf) continue;
      yield* fn.remove(isSurprise);
      this.#functions.delete(name);
    }
    const released = this.peerMemory.remove(node.bdf);
    if (!isSurprise) yield* wait(released);
  }

  /** As {@link HotPlug.remove}. */
  remove(name: string, options: RemoveOptions = {}): Pending<void> {
    return this.hotplug.remove(name, options);
  }

  /** As {@link HotPlug.insert}. */
  insert(path: string, plug: Plug, options: InsertOptions = {}): Pending<readonly string[]> {
    return this.hotplug.insert(path, plug, options);
  }

  /**
   * A driver's handle on a device by name, or on a port by path, the same for every call.
   * @throws USAGE before boot or for no device
   */
  function(name: string): PciFunction {
    const known = this.#functions.get(name);
    if (known) return known;
    if (this.pci.roots.length === 0) {
      throw usage(`${this.name}: expected boot() before function('${name}')`);
    }
    const node = this.pci.node(name);
    const made = new PciFunction(this, node, (limits) => {
      const device = this.dma.device(node.bdf, limits, dmaTraits(this.spec, name));
      device.pages = this.mm;
      this.checker?.attach(device, node.path, limits);
      return device;
    });
    this.#functions.set(name, made);
    return made;
  }

  #addHotPlug(): HotPlug {
    const { kernel, root, map, pci, portInterrupts } = this;
    const host: HotPlugHost = {
      ...{ kernel, root, map, pci, portInterrupts, settings: this.#linkSettings },
      added: (nodes) => this.#reportErrors(nodes),
      release: (node, isSurprise) => this.#release(node, isSurprise),
    };
    return new HotPlug(host, this.#hardware);
  }

  #addChecker(wanted: boolean | { readonly onError?: CheckerAction }): DmaChecker | null {
    if (wanted === false) return null;
    const here = (): CallSite => new CallSite(true);
    const { onError = 'throw' } = wanted === true ? {} : wanted;
    const checker = new DmaChecker({ kernel: this.kernel, here, onError, memory: this.map.dram });
    this.fabric.dmaWatch = checker;
    return checker;
  }

  /**
   * Turns on the first `count` virtual functions of a function, which are then called `<name>.vf0` and on, or with 0
   * turns them off. @throws USAGE for more than there are, and for another number while some are on
   */
  setVfs(name: string, count: number): Pending<void> {
    return this.kernel.spawn(`${name} virtual functions`, this.#setVfs(name, count));
  }

  /**
   * Resets a function: `flr` it alone, `bus` everything below the port above it. Registers are as before afterwards,
   * interrupts too; what the device did is lost.
   * @returns whether all of it came back in time. @throws USAGE
   */
  reset(name: string, way: ResetWay): Pending<boolean> {
    const steps = resetFunction(this.root, this.pci.node(name), way);
    return this.kernel.spawn(`${name} reset`, steps);
  }

  *#setVfs(name: string, count: number): Process<void> {
    const node = this.pci.node(name);
    for (const vf of node.sriov?.vfs ?? []) this.#functions.delete(vf.name);
    yield* setVfs(this.root, node, count);
    this.pci.adopt(this.pci.roots);
  }

  /** The hardware of a device by name, for tests and observers. @throws USAGE that lists what there is */
  endpoint(name: string): Endpoint {
    const found = this.#hardware.endpoints.get(name);
    if (found) return found;
    const known = [...this.#hardware.endpoints.keys()].join(', ') || 'none';
    throw usage(`device: expected one of ${known}, got '${name}'`);
  }

  get endpoints(): ReadonlyMap<string, Endpoint> {
    return this.#hardware.endpoints;
  }
  get switches(): ReadonlyMap<string, Switch> {
    return this.#hardware.switches;
  }
  /** Every link with what has crossed it. */
  links(): readonly LinkReport[] {
    return this.#hardware.links;
  }

  /** Frees every memory; the machine cannot be used any more. */
  dispose(): void {
    for (const endpoint of this.endpoints.values()) endpoint.dispose();
    for (const endpoint of this.#hardware.retired) endpoint.dispose();
    this.root.dispose();
    this.fabric.dispose();
    this.#memory.dispose();
  }
}
