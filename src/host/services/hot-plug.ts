/**
 * Devices that come and go while the machine runs: the hands that press buttons, pull and push, and the software
 * that serves the slots. [PCIE] 6.7
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import type { Hardware, SlotSite } from '#emu/host/builder.ts';
import { checkPlug } from '#emu/host/checks/topology-check.ts';
import type { EnumerationSettings } from '#emu/host/enumeration/bar-resize.ts';
import { ConfigIo, type ConfigPort } from '#emu/host/enumeration/config-io.ts';
import type { PciNode } from '#emu/host/enumeration/pci-node.ts';
import type { PciTree } from '#emu/host/enumeration/pci-tree.ts';
import type { PhysicalMap, Plug } from '#emu/host/machine-spec.ts';
import { CapabilityId, Pcie } from '#emu/pcie/config/config-registers.ts';
import { SlotCap } from '#emu/pcie/config/slot-registers.ts';
import { checkLink, type LinkSpec } from '#emu/pcie/link/link.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import { enumerateBelow } from './hot-add.ts';
import type { PortInterrupts } from './port-interrupts.ts';
import { SlotDriver, type SlotSoftware } from './slot-driver.ts';

/** What of the machine hot-plug works with. */
export interface HotPlugHost {
  readonly kernel: Kernel;
  readonly root: ConfigPort;
  readonly map: PhysicalMap;
  readonly pci: PciTree;
  readonly portInterrupts: PortInterrupts;
  readonly settings: EnumerationSettings;
  /** Functions that were not there before are known now. */
  added(nodes: readonly PciNode[]): Process<void>;
  /** Has the driver and the users of a function let go of it. */
  release(node: PciNode, isSurprise: boolean): Process<void>;
}

export interface RemoveOptions {
  /** Pull it at once, instead of asking by the attention button and waiting for the power to go. */
  readonly surprise?: boolean;
}

export interface InsertOptions {
  /** Speed and width that the link trains to; default the port's. */
  readonly link?: LinkSpec;
}

export class HotPlug implements SlotSoftware {
  readonly kernel: Kernel;
  readonly root: ConfigPort;
  readonly portInterrupts: PortInterrupts;
  readonly #host: HotPlugHost;
  readonly #hardware: Hardware;
  /** By path of the port. */
  readonly #drivers = new Map<string, SlotDriver>();

  constructor(host: HotPlugHost, hardware: Hardware) {
    this.#host = host;
    this.#hardware = hardware;
    this.kernel = host.kernel;
    this.root = host.root;
    this.portInterrupts = host.portInterrupts;
  }

  /** Paths of the ports that devices may be inserted in and removed from. */
  get ports(): readonly string[] {
    return [...this.#hardware.slots.keys()];
  }

  /** Takes over every port of `nodes` that is capable of hot-plug. */
  *start(nodes: readonly PciNode[]): Process<void> {
    for (const node of nodes) {
      if (!(yield* this.#isCapable(node))) continue;
      const driver = new SlotDriver(this, node);
      this.#drivers.set(node.path, driver);
      yield* driver.start();
    }
  }

  /**
   * Takes out what stands in a port: a device or switch by name, with everything below it. Completes when software has
   * let go of it and the slot is empty. @throws USAGE for what is in no slot
   */
  remove(name: string, { surprise = false }: RemoveOptions = {}): Pending<void> {
    const site = this.#siteOf(name);
    const driver = this.#driverOf(site);
    return this.kernel.spawn(`remove ${name}`, this.#remove(site, driver, surprise));
  }

  /**
   * Pushes a device or switch into the port at `path`. Completes with its names and those of what is below it once
   * drivers may be opened. @throws USAGE for no such port, one that is taken, and what cannot be built
   */
  insert(path: string, plug: Plug, { link }: InsertOptions = {}): Pending<readonly string[]> {
    const site = this.#hardware.slots.get(path);
    if (!site) throw this.#unknown('port', path);
    if (site.slot.isOccupied) throw usage(`insert: expected an empty port, got ${path}`);
    checkPlug(plug, 'insert');
    if (link !== undefined) checkLink(link, 'insert.link');
    const driver = this.#driverOf(site);
    const names = this.#hardware.insert(site, plug, link);
    return this.kernel.spawn(`insert into ${path}`, this.#insert(driver, names));
  }

  /** Presses the attention button of a port, as {@link remove} does first; again within 5 s takes it back. */
  pressAttention(path: string): void {
    const site = this.#hardware.slots.get(path);
    if (!site) throw this.#unknown('port', path);
    site.slot.pressAttention();
  }

  *arrived(port: PciNode): Process<void> {
    const map = this.#host.map.hostBridges[port.hostBridge]!;
    const nodes = yield* enumerateBelow(this.root, port, map, this.#host.settings);
    this.#host.pci.adopt(this.#host.pci.roots);
    yield* this.#host.added(nodes);
    yield* this.start(nodes);
  }

  *leaves(port: PciNode, isSurprise: boolean): Process<void> {
    const nodes = port.children.flatMap((child) => [...child.subtree()]);
    for (const node of nodes.reverse()) {
      this.#drivers.delete(node.path);
      yield* this.#host.release(node, isSurprise);
    }
    port.children.length = 0;
    this.#host.pci.adopt(this.#host.pci.roots);
  }

  *#remove(site: SlotSite, driver: SlotDriver, isSurprise: boolean): Process<void> {
    if (!isSurprise && driver.isOn) site.slot.pressAttention();
    if (isSurprise) this.#hardware.remove(site);
    yield* wait(driver.until(false));
    if (!isSurprise) this.#hardware.remove(site);
  }

  *#insert(driver: SlotDriver, names: readonly string[]): Process<readonly string[]> {
    yield* wait(driver.until(true));
    return names;
  }

  *#isCapable(node: PciNode): Process<boolean> {
    const at = node.capabilities.get(CapabilityId.Pcie);
    if (at === undefined || !node.isBridge || !node.place?.isPort) return false;
    const capabilities = yield* new ConfigIo(this.root, node.bdf).read(at + Pcie.SlotCap, 4);
    return SlotCap.HotPlugCapable.get(capabilities) === 1;
  }

  #siteOf(name: string): SlotSite {
    for (const site of this.#hardware.slots.values()) {
      for (const { name: inside } of site.place.children.values()) if (inside === name) return site;
    }
    throw this.#unknown('device in a slot', name);
  }

  #driverOf({ place: { path } }: SlotSite): SlotDriver {
    const driver = this.#drivers.get(path);
    if (!driver) throw usage(`${path}: expected boot() before devices come and go`);
    return driver;
  }

  #unknown(what: string, got: string): Error {
    const sites = [...this.#hardware.slots.values()];
    const names =
      what === 'port'
        ? this.ports
        : sites.flatMap(({ place }) => [...place.children.values()].map(({ name }) => name));
    return usage(`${what}: expected one of ${names.join(', ') || 'none'}, got '${got}'`);
  }
}
