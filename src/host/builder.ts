/**
 * Builds the hardware of a checked specification: root complex, switches, endpoints and the links between
 * them. It wires; whatever software would set up is left to enumeration.
 * @module
 */
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { setLinkUp } from '#emu/pcie/config/capabilities.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { DeviceSpec } from '#emu/pcie/endpoint/device-spec.ts';
import type { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { DEFAULT_LINK, type LinkSpec } from '#emu/pcie/link/link.ts';
import { Port } from '#emu/pcie/link/port.ts';
import { addVirtualChannels } from '#emu/pcie/link/vc-capability.ts';
import type { HostBridgeOptions } from '#emu/pcie/root/host-bridge.ts';
import { RootComplex } from '#emu/pcie/root/root-complex.ts';
import { HotPlugSlot } from '#emu/pcie/switch/hot-plug-slot.ts';
import { Switch } from '#emu/pcie/switch/switch.ts';
import { buildDevice, showLink } from './device-build.ts';
import { LinkReport } from './link-report.ts';
import {
  type AcsPolicy,
  asRules,
  type HostBridgeMap,
  type HostBridgeSpec,
  hostBridgeName,
  hostBridgesOf,
  hotPlugRoom,
  isSwitch,
  type MachineSpec,
  type MultiFunctionSpec,
  type PhysicalMap,
  type Plug,
  type PortSpec,
  plugOf,
  rootPortsOf,
  type SwitchSpec,
} from './machine-spec.ts';
import { nameAll, nameMore } from './names.ts';
import { Place } from './place.ts';
import { downstreamPort, hostBridge, rootPort, upstreamPort } from './port-functions.ts';

/** Max_Payload_Size that ports support when the machine says nothing. */
export const DEFAULT_MAX_PAYLOAD_BYTES = 512;
const ROOT = 'rc0';
/** Function numbers of a device. */
const DEVICE = 8;

/** A built tree. */
export interface Hardware {
  readonly root: RootComplex;
  /** Root bus of each host bridge: what stands where. */
  readonly boards: readonly Place[];
  /** By name. */
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly switches: ReadonlyMap<string, Switch>;
  readonly links: readonly LinkReport[];
  /** Ports for hot-plug, by path. */
  readonly slots: ReadonlyMap<string, SlotSite>;
  /** Devices taken out; their memories are still theirs. */
  readonly retired: readonly Endpoint[];
  /** Builds what is pushed into an empty slot; its link comes up later. @returns its names */
  insert(site: SlotSite, plug: Plug, link?: LinkSpec): readonly string[];
  /** Takes what is in a slot out, with everything below it. */
  remove(site: SlotSite): void;
}

/** A port for hot-plug. */
export interface SlotSite {
  readonly slot: HotPlugSlot;
  readonly port: Port;
  readonly place: Place;
  readonly link: LinkSpec;
}

export function buildHardware(
  fabric: Fabric,
  spec: MachineSpec,
  map: PhysicalMap,
  memory: SparseMemory,
): Hardware {
  return new HardwareBuilder(fabric, spec).build(map, memory);
}

/** The lower end of a link to be. */
interface Lower {
  readonly port: Port;
  readonly path: string;
}

class HardwareBuilder {
  readonly #fabric: Fabric;
  readonly #spec: MachineSpec;
  readonly #names: Map<Plug, string>;
  readonly #maxPayloadBytes: number;
  readonly #acs: AcsPolicy;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #switches = new Map<string, Switch>();
  readonly #links: LinkReport[] = [];
  readonly #slots = new Map<string, SlotSite>();
  readonly #retired: Endpoint[] = [];

  constructor(fabric: Fabric, spec: MachineSpec) {
    this.#fabric = fabric;
    this.#spec = spec;
    this.#names = nameAll(spec);
    this.#maxPayloadBytes = spec.maxPayloadBytes ?? DEFAULT_MAX_PAYLOAD_BYTES;
    this.#acs = spec.acs ?? (spec.iommu ? 'linux' : 'off');
  }

  build(map: PhysicalMap, memory: SparseMemory): Hardware {
    const boards = hostBridgesOf(this.#spec).map((bridge, i) => this.#board(bridge, i));
    // Device 0 of a root bus is the host bridge.
    const ports = boards.map(({ children }) => [...children.values()].slice(1));
    const root = this.#rootComplex(ports, map, memory);
    this.#forwardPeers(root);
    const places = ports.flat();
    for (const [i, port] of rootPortsOf(this.#spec).entries()) {
      this.#plug(port, root.ports[i]!, root.bridges[i]!, places[i]!);
    }
    return {
      root,
      boards,
      endpoints: this.#endpoints,
      switches: this.#switches,
      links: this.#links,
      slots: this.#slots,
      retired: this.#retired,
      insert: (site, plug, link) => this.#insert(site, plug, link),
      remove: (site) => this.#remove(site),
    };
  }

  /** The root bus of a host bridge. */
  #board(bridge: HostBridgeSpec, index: number): Place {
    const name = hostBridgeName(bridge, index);
    const board = new Place(name, name);
    board.children.set(0, new Place('host', `${name}.host`));
    this.#places(bridge.rootPorts, board, 'port', 1);
    return board;
  }

  /** Places of sibling ports, device numbers from `firstDevice` up. */
  #places(
    ports: readonly PortSpec[],
    parent: Place,
    prefix: string,
    firstDevice: number,
  ): readonly Place[] {
    return ports.map((port, i) => {
      const name = port.name ?? `${prefix}${i}`;
      const { acs = this.#acs, acsEgress = 0 } = port;
      const policy = { acs, acsEgress, room: hotPlugRoom(port) };
      const place = new Place(name, `${parent.path}.${name}`, policy);
      parent.children.set(DEVICE * (firstDevice + i), place);
      return place;
    });
  }

  #rootComplex(
    ports: readonly (readonly Place[])[],
    map: PhysicalMap,
    memory: SparseMemory,
  ): RootComplex {
    const { memory: timing = {}, rootLatencyPs, rootCompletionBytes, peerReads } = this.#spec;
    return new RootComplex(this.#fabric, ROOT, {
      memory,
      dram: map.dram,
      doorbell: map.doorbell,
      memoryTiming: timing,
      ...(rootLatencyPs === undefined ? {} : { latencyPs: rootLatencyPs }),
      ...(rootCompletionBytes === undefined ? {} : { completionBytes: rootCompletionBytes }),
      ...(peerReads === undefined ? {} : { peerReads }),
      hostBridges: hostBridgesOf(this.#spec).map((bridge, i) =>
        this.#hostBridge(bridge, ports[i]!, map.hostBridges[i]!),
      ),
    });
  }

  #hostBridge(
    { identity, rootPorts }: HostBridgeSpec,
    ports: readonly Place[],
    { rootBus, lastBus, low, high }: HostBridgeMap,
  ): HostBridgeOptions {
    const family = { maxPayloadBytes: this.#maxPayloadBytes, egressPorts: ports.length };
    return {
      config: hostBridge(identity),
      rootBus,
      lastBus,
      windows: [low, high].map(({ base, sizeBytes, busBase }) => ({
        base,
        sizeBytes,
        busOffset: busBase - base,
      })),
      bridges: rootPorts.map((spec, i) => rootPort(i, family, spec)),
      portPaths: ports.map(({ path }) => path),
    };
  }

  #forwardPeers(root: RootComplex): void {
    const { peerForwarding: rules = true } = this.#spec;
    const all = [...root.ports.keys()];
    if (typeof rules === 'boolean') root.setPeerForwarding(all, all, rules);
    else {
      for (const { from = all, to = all, ...policy } of asRules(rules)) {
        root.setPeerForwarding(from, to, policy);
      }
    }
  }

  /** Builds what stands in a port and the link to it. */
  #plug(spec: PortSpec, port: Port, config: ConfigSpace, place: Place): void {
    const plug = plugOf(spec);
    const link = spec.link ?? DEFAULT_LINK;
    addVirtualChannels(port, config, link);
    if (plug !== undefined) {
      const lower = this.#build(plug, port, place, link);
      Port.connect(port, lower, link);
      setLinkUp(config, link);
    }
    if (!spec.hotplug) return;
    const slot = new HotPlugSlot(port, config);
    this.#slots.set(place.path, { slot, port, place, link });
  }

  /** What is to stand in a port, as yet without the link to it. */
  #build(plug: Plug, port: Port, place: Place, link: LinkSpec): Port {
    const lower = isSwitch(plug)
      ? this.#switch(plug, place, link)
      : this.#device(plug, place, link);
    this.#links.push(new LinkReport(lower.path, link, port, lower.port));
    return lower.port;
  }

  #insert({ slot, port, place, link }: SlotSite, plug: Plug, rate = link): readonly string[] {
    const names = nameMore(plug, this.#names);
    const card = this.#build(plug, port, place, rate);
    Port.wire(port, card, rate);
    slot.inserted(card);
    return names;
  }

  #remove({ slot, place }: SlotSite): void {
    slot.removed();
    const isGone = (path: string): boolean => path.startsWith(`${place.path}.`);
    for (const [name, endpoint] of this.#endpoints) {
      if (!isGone(endpoint.path)) continue;
      this.#endpoints.delete(name);
      this.#retired.push(endpoint);
    }
    for (const [name, { path }] of this.#switches) if (isGone(path)) this.#switches.delete(name);
    for (const path of this.#slots.keys()) if (isGone(path)) this.#slots.delete(path);
    const left = this.#links.filter(({ path }) => !isGone(path));
    this.#links.splice(0, this.#links.length, ...left);
    const names = new Set([...place.below()].map(({ name }) => name));
    for (const [plug, name] of this.#names) if (names.has(name)) this.#names.delete(plug);
    place.children.clear();
  }

  #device(plug: DeviceSpec | MultiFunctionSpec, parent: Place, link: LinkSpec): Lower {
    const { port, path, functions } = buildDevice(this.#fabric, plug, this.#names, parent);
    for (const [name, endpoint] of functions) this.#endpoints.set(name, endpoint);
    showLink(functions.values(), link);
    const [first] = functions.values();
    if (first) addVirtualChannels(port, first.config, link);
    return { port, path };
  }

  #switch(spec: SwitchSpec, parent: Place, link: LinkSpec): Lower {
    const name = this.#names.get(spec) ?? spec.kind;
    const place = new Place(name, `${parent.path}.${name}`);
    parent.children.set(0, place);
    const places = this.#places(spec.ports, place, 'down', 0);
    const family = { maxPayloadBytes: this.#maxPayloadBytes, egressPorts: places.length + 1 };
    const upstream = upstreamPort(family);
    const bridges = [
      upstream,
      ...places.map((_, i) => downstreamPort(i + 1, family, spec.ports[i])),
    ];
    const built = new Switch(this.#fabric, place.path, {
      ...(spec.latencyPs === undefined ? {} : { latencyPs: spec.latencyPs }),
      ...(spec.cutThrough === undefined ? {} : { cutThrough: spec.cutThrough }),
      bridges,
      portPaths: [`${place.path}.up`, ...places.map(({ path }) => path)],
    });
    this.#switches.set(place.name, built);
    for (const [i, port] of spec.ports.entries()) {
      this.#plug(port, built.ports[i + 1]!, bridges[i + 1]!, places[i]!);
    }
    setLinkUp(upstream, link);
    addVirtualChannels(built.upstream, upstream, link);
    return { port: built.upstream, path: place.path };
  }
}
