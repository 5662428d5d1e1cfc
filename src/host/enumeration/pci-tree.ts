/**
 * What host software knows of the PCI Express tree: every function found, by name, by number and by address,
 * with ACS Control as last read. [PCIE] 7.5, 7.7.11
 * @module
 */
import { invariant, usage } from '#emu/base/errors.ts';
import { type Bdf, bdf, formatBdf, type PhysAddr } from '#emu/base/units.ts';
import type {
  AddressWindow,
  HostBridgeView,
  PciFunctionView,
  PciView,
} from '#emu/dma/p2p/pci-view.ts';
import type { HostBridgeMap, PhysicalMap } from '#emu/host/machine-spec.ts';
import { AddressMap } from '#emu/memory/address-map.ts';
import { Acs, ExtendedId, PortType } from '#emu/pcie/config/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import type { PciNode } from './pci-node.ts';

export class PciTree implements PciView {
  /** Windows of the host bridges, each one's 32-bit window before its other. */
  readonly windows: readonly AddressWindow[];
  readonly #port: ConfigPort;
  readonly #bridges: readonly HostBridgeMap[];
  #roots: readonly PciNode[] = [];
  #nodes: readonly PciNode[] = [];
  #functions: PciFunctionView[] = [];
  #hostBridges: readonly HostBridgeView[] = [];
  #generation = 0;
  readonly #byName = new Map<string, PciNode>();
  /** Index of the function that decodes an address. */
  #byAddress = new AddressMap<number>();

  constructor(port: ConfigPort, map: Pick<PhysicalMap, 'hostBridges'>) {
    this.#port = port;
    this.#bridges = map.hostBridges;
    this.windows = map.hostBridges.flatMap(({ low, high }) => [low, high]);
  }

  /** Functions on the root buses; none before the machine has booted. */
  get roots(): readonly PciNode[] {
    return this.#roots;
  }
  /** Every function, parents first. */
  get nodes(): readonly PciNode[] {
    return this.#nodes;
  }
  get generation(): number {
    return this.#generation;
  }
  get functions(): readonly PciFunctionView[] {
    return this.#functions;
  }
  get hostBridges(): readonly HostBridgeView[] {
    return this.#hostBridges;
  }

  /** Takes over what enumeration found. */
  adopt(roots: readonly PciNode[]): void {
    this.#roots = roots;
    this.#nodes = roots.flatMap((root) => [...root.subtree()]);
    this.#functions = this.#nodes.map(viewOf);
    this.#hostBridges = this.#bridges.map(({ rootBus }, i) =>
      hostBridgeView(
        i,
        rootBus,
        roots.find(({ hostBridge }) => hostBridge === i),
      ),
    );
    this.#generation++;
    this.#byName.clear();
    this.#byAddress = new AddressMap<number>();
    for (const [i, node] of this.#nodes.entries()) {
      // Ports of different switches may have the same name.
      this.#byName.set(node.place?.isPort ? node.path : node.name, node);
      for (const bar of node.bars) this.#byAddress.add(bar.address, bar.sizeBytes, i);
    }
  }

  /** The function of a device or switch by name, of a port by path. @throws USAGE that lists the devices */
  node(name: string): PciNode {
    const found = this.#byName.get(name);
    if (found) return found;
    const known = this.#nodes.filter((node) => !node.isBridge && node.parent);
    const names = known.map((node) => node.name).join(', ') || 'none';
    throw usage(`device: expected one of ${names}, got '${name}'`);
  }

  functionAt(address: PhysAddr): PciFunctionView | null {
    const index = this.#byAddress.find(address);
    return index === undefined ? null : (this.#functions[index] ?? null);
  }

  /** Index of the root port above a function, among those of all host bridges. @throws INVARIANT for none */
  rootPortOf(id: Bdf): number {
    let node = this.#nodes.find((candidate) => candidate.bdf === id);
    while (node?.parent) node = node.parent;
    const ports = this.#roots.filter(({ portType }) => portType === PortType.RootPort);
    const index = node ? ports.indexOf(node) : -1;
    invariant(index >= 0, `function ${formatBdf(id)} is not below a root port`);
    return index;
  }

  /** Reads ACS Control of every port again: software may have changed it. */
  *refresh(): Process<void> {
    for (const [i, node] of this.#nodes.entries()) {
      const at = node.extendedCapabilities.get(ExtendedId.Acs);
      if (at === undefined) continue;
      const acs = yield* new ConfigIo(this.#port, node.bdf).read(at + Acs.Control, 2);
      if (acs === node.acs) continue;
      node.acs = acs;
      this.#functions[i] = viewOf(node);
      this.#generation++;
    }
  }
}

/** No function answers with this, so nothing lists it. */
const NOBODY = 0xffff;

/** A host bridge is known by the first function on its root bus: function 0 of device 0, or a root port. [P2PDMA] */
function hostBridgeView(
  index: number,
  rootBus: number,
  first: PciNode | undefined,
): HostBridgeView {
  const isKnown =
    first !== undefined && ((first.bdf & 0xff) === 0 || first.portType === PortType.RootPort);
  return {
    index,
    bdf: isKnown ? first.bdf : bdf(rootBus, 0, 0),
    vendorId: isKnown ? first.vendorId : NOBODY,
    deviceId: isKnown ? first.deviceId : NOBODY,
  };
}

const viewOf = (node: PciNode): PciFunctionView => ({
  bdf: node.bdf,
  parent: node.parent?.bdf ?? null,
  hostBridge: node.hostBridge,
  isBridge: node.isBridge,
  acs: node.acs,
  bars: node.bars.map(({ index, address, busAddress, sizeBytes }) => ({
    index,
    base: address,
    busBase: busAddress,
    sizeBytes,
  })),
});
