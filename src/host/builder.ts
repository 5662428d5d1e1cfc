/**
 * Builds the hardware of a checked specification: root complex, switches, endpoints and the links between
 * them. It wires; whatever software would set up is left to enumeration.
 * @module
 */
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { setLinkUp } from '#emu/pcie/capabilities.ts';
import type { ConfigSpace } from '#emu/pcie/config-space.ts';
import type { DeviceSpec } from '#emu/pcie/device-spec.ts';
import type { Endpoint } from '#emu/pcie/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import type { HostBridgeOptions } from '#emu/pcie/host-bridge.ts';
import { DEFAULT_LINK } from '#emu/pcie/link.ts';
import { Port } from '#emu/pcie/port.ts';
import { RootComplex } from '#emu/pcie/root-complex.ts';
import { Switch } from '#emu/pcie/switch.ts';
import { LinkReport } from './link-report.ts';
import {
  type AcsPolicy,
  asRules,
  type HostBridgeMap,
  type HostBridgeSpec,
  hostBridgeName,
  hostBridgesOf,
  isSwitch,
  type MachineSpec,
  type PhysicalMap,
  type Plug,
  type PortSpec,
  plugOf,
  rootPortsOf,
  type SwitchSpec,
} from './machine-spec.ts';
import { nameAll } from './names.ts';
import { Place } from './place.ts';
import { downstreamPort, hostBridge, rootPort, upstreamPort } from './port-functions.ts';

/** Max_Payload_Size that ports support when the machine says nothing. */
export const DEFAULT_MAX_PAYLOAD_BYTES = 512;
const ROOT = 'rc0';

/** A built tree. */
export interface Hardware {
  readonly root: RootComplex;
  /** Root bus of each host bridge: what stands where. */
  readonly boards: readonly Place[];
  /** By name. */
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly switches: ReadonlyMap<string, Switch>;
  readonly links: readonly LinkReport[];
}

export function buildHardware(
  fabric: Fabric,
  spec: MachineSpec,
  map: PhysicalMap,
  memory: SparseMemory,
): Hardware {
  return new HardwareBuilder(fabric, spec).build(map, memory);
}

class HardwareBuilder {
  readonly #fabric: Fabric;
  readonly #spec: MachineSpec;
  readonly #names: ReadonlyMap<Plug, string>;
  readonly #maxPayloadBytes: number;
  readonly #acs: AcsPolicy;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #switches = new Map<string, Switch>();
  readonly #links: LinkReport[] = [];

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
      const policy = { acs: port.acs ?? this.#acs, acsEgress: port.acsEgress ?? 0 };
      const place = new Place(name, `${parent.path}.${name}`, policy);
      parent.children.set(firstDevice + i, place);
      return place;
    });
  }

  #rootComplex(
    ports: readonly (readonly Place[])[],
    map: PhysicalMap,
    memory: SparseMemory,
  ): RootComplex {
    const { memory: timing = {}, rootLatencyPs, peerReads } = this.#spec;
    return new RootComplex(this.#fabric, ROOT, {
      memory,
      dram: map.dram,
      doorbell: map.doorbell,
      memoryTiming: timing,
      ...(rootLatencyPs === undefined ? {} : { latencyPs: rootLatencyPs }),
      ...(peerReads === undefined ? {} : { peerReads }),
      hostBridges: hostBridgesOf(this.#spec).map((bridge, i) =>
        this.#hostBridge(bridge, ports[i]!, map.hostBridges[i]!),
      ),
    });
  }

  #hostBridge(
    { identity }: HostBridgeSpec,
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
      bridges: ports.map((_, i) => rootPort(i, family)),
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
    if (plug === undefined) return;
    const name = this.#names.get(plug) ?? plug.kind;
    const below = new Place(name, `${place.path}.${name}`);
    place.children.set(0, below);
    const link = spec.link ?? DEFAULT_LINK;
    const peer = isSwitch(plug) ? this.#switch(plug, below) : this.#device(plug, below);
    Port.connect(port, peer.port, link);
    setLinkUp(config, link);
    setLinkUp(peer.config, link);
    this.#links.push(new LinkReport(below.path, link, port, peer.port));
  }

  #device(spec: DeviceSpec, place: Place): Endpoint {
    const endpoint = spec.build(this.#fabric, place.path);
    this.#endpoints.set(place.name, endpoint);
    return endpoint;
  }

  #switch(spec: SwitchSpec, place: Place): { port: Port; config: ConfigSpace } {
    const places = this.#places(spec.ports, place, 'down', 0);
    const family = { maxPayloadBytes: this.#maxPayloadBytes, egressPorts: places.length + 1 };
    const upstream = upstreamPort(family);
    const bridges = [upstream, ...places.map((_, i) => downstreamPort(i + 1, family))];
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
    return { port: built.upstream, config: upstream };
  }
}
