/**
 * What host software knows of the PCI Express tree: every function found, by name, by number and by address,
 * with ACS Control as last read. [PCIE] 7.5, 7.7.11
 * @module
 */
import { invariant, usage } from '#emu/base/errors.ts';
import { type Bdf, bdfDevice, dmaAddr, type PhysAddr } from '#emu/base/units.ts';
import type { AddressWindow, PciFunctionView, PciView } from '#emu/dma/pci-view.ts';
import { AddressMap } from '#emu/memory/address-map.ts';
import { Acs, ExtendedId } from '#emu/pcie/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import type { PhysicalMap, Span } from './machine-spec.ts';
import type { PciNode } from './pci-node.ts';

export class PciTree implements PciView {
  /** Windows of the host bridge; bus addresses equal physical ones. */
  readonly windows: readonly AddressWindow[];
  readonly #port: ConfigPort;
  #roots: readonly PciNode[] = [];
  #nodes: readonly PciNode[] = [];
  #functions: PciFunctionView[] = [];
  #generation = 0;
  readonly #byName = new Map<string, PciNode>();
  /** Index of the function that decodes an address. */
  #byAddress = new AddressMap<number>();

  constructor(port: ConfigPort, map: Pick<PhysicalMap, 'low' | 'high'>) {
    this.#port = port;
    this.windows = [map.low, map.high].map(identityWindow);
  }

  /** Functions on bus 0; none before the machine has booted. */
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

  /** Takes over what enumeration found. */
  adopt(roots: readonly PciNode[]): void {
    this.#roots = roots;
    this.#nodes = roots.flatMap((root) => [...root.subtree()]);
    this.#functions = this.#nodes.map(viewOf);
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

  /** Index of the root port above a function. @throws INVARIANT when there is none */
  rootPortOf(bdf: Bdf): number {
    let node = this.#nodes.find((candidate) => candidate.bdf === bdf);
    while (node?.parent) node = node.parent;
    invariant(node?.isBridge === true, `function ${bdf} is not below a root port`);
    // Device 0 of bus 0 is the host bridge.
    return bdfDevice(node.bdf) - 1;
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

const identityWindow = ({ base, sizeBytes }: Span): AddressWindow => ({
  base,
  busBase: dmaAddr(base),
  sizeBytes,
});

const viewOf = (node: PciNode): PciFunctionView => ({
  bdf: node.bdf,
  parent: node.parent?.bdf ?? null,
  isBridge: node.isBridge,
  acs: node.acs,
  bars: node.bars.map(({ index, address, sizeBytes }) => ({
    index,
    ...identityWindow({ base: address, sizeBytes }),
  })),
});
