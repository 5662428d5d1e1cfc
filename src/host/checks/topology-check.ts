/**
 * Refuses machines that cannot be built, naming the key, what was expected and what was got.
 * BARs are checked when windows are assigned, since only devices know them.
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { checkKeys } from '#emu/base/known-keys.ts';
import { hex } from '#emu/base/units.ts';
import { FlushPolicy } from '#emu/dma/providers/flush-queue.ts';
import {
  type AcsPolicy,
  asRules,
  hostBridgesOf,
  isMultiFunction,
  isPlugList,
  isSwitch,
  type MachineSpec,
  type MultiFunctionSpec,
  type PeerRule,
  type Plug,
  type PortSpec,
  plugOf,
  rootPortsOf,
  type SwitchSpec,
} from '#emu/host/machine-spec.ts';
import { MAX_DRAM_BYTES, MAX_MMIO_WINDOW_BYTES } from '#emu/host/physical-map.ts';
import { ACS_ENHANCED } from '#emu/pcie/config/config-registers.ts';
import { checkLink, type LinkSpec } from '#emu/pcie/link/link.ts';
import { checkPeerPolicy } from '#emu/pcie/root/peer-policy.ts';
import { checkPeerReadTable } from '#emu/pcie/root/peer-reads.ts';
import { checkDma } from './dma-check.ts';
import { checkErrors } from './error-check.ts';
import { checkHostBridges } from './host-bridge-check.ts';
import {
  checkCount,
  checkName,
  checkSize,
  checkTime,
  expected,
  formatSize,
  isPowerOfTwo,
} from './spec-fields.ts';

import {
  CHANNELS_KEYS,
  CREDITS_KEYS,
  FUNCTIONS_KEYS,
  HOTPLUG_KEYS,
  IOMMU_KEYS,
  LINK_KEYS,
  MACHINE_KEYS,
  MEMORY_KEYS,
  PEER_RULE_KEYS,
  PORT_KEYS,
  SWITCH_KEYS,
} from './spec-keys.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
/** With the upstream port, as many as an egress vector of 32 bits names. [PCIE] 7.7.11.4 */
const MAX_SWITCH_PORTS = 31;
/** Functions of a device, without and with ARI. [PCIE] 6.13 */
const MAX_FUNCTIONS = 8;
const MAX_ARI_FUNCTIONS = 256;
const MAX_BUSES = 255;
const ACS_BITS = 0x7f | ACS_ENHANCED;

/** @throws USAGE for a machine that cannot be. */
export function checkMachine(spec: MachineSpec): void {
  if (spec === null || typeof spec !== 'object') {
    throw expected('machine', 'a specification object', spec);
  }
  checkKeys('machine', spec, MACHINE_KEYS);
  checkName('name', spec.name);
  checkMemory(spec);
  checkSizes(spec);
  checkBarSizes(spec);
  checkFlush(spec);
  checkDma(spec);
  checkAcs('acs', spec.acs);
  checkErrors(spec.errors);
  checkHostBridges(spec);
  checkPeers(spec);
  const tree = new TreeCheck();
  for (const [i, { rootPorts }] of hostBridgesOf(spec).entries()) {
    const where = spec.hostBridges ? `hostBridges[${i}].rootPorts` : 'rootPorts';
    tree.ports(rootPorts, where);
  }
}

function checkMemory({ memory = {} }: MachineSpec): void {
  checkKeys('memory', memory, MEMORY_KEYS);
  const { sizeBytes, latencyPs, bytesPerSecond } = memory;
  checkSize('memory.sizeBytes', sizeBytes, MiB, MAX_DRAM_BYTES, 'a multiple of 1 MiB');
  checkTime('memory.latencyPs', latencyPs);
  if (bytesPerSecond !== undefined && !(bytesPerSecond > 0 && bytesPerSecond <= 1e15)) {
    throw expected('memory.bytesPerSecond', 'a rate above 0, up to 1e15', bytesPerSecond);
  }
}

function checkFlush({ iommu }: MachineSpec): void {
  if (iommu === undefined || typeof iommu === 'boolean') return;
  if (iommu === null || typeof iommu !== 'object') {
    throw expected('iommu', 'true, false or an options object', iommu);
  }
  checkKeys('iommu', iommu, IOMMU_KEYS);
  const { reserveWindows, flush } = iommu;
  if (reserveWindows !== undefined && typeof reserveWindows !== 'boolean') {
    throw expected('iommu.reserveWindows', 'true or false', reserveWindows);
  }
  const policies: readonly unknown[] = Object.values(FlushPolicy);
  if (flush === undefined || policies.includes(flush)) return;
  throw expected('iommu.flush', policies.join(' or '), flush);
}

function checkSizes(spec: MachineSpec): void {
  const { mmioWindowBytes: window } = spec;
  if (
    window !== undefined &&
    !(isPowerOfTwo(window) && window >= GiB && window <= MAX_MMIO_WINDOW_BYTES)
  ) {
    const range = `a power of two from 1 GiB to ${formatSize(MAX_MMIO_WINDOW_BYTES)}`;
    throw expected('mmioWindowBytes', range, window);
  }
  for (const key of ['maxPayloadBytes', 'maxReadRequestBytes'] as const) {
    const value = spec[key];
    if (value !== undefined && !(isPowerOfTwo(value) && value >= 128 && value <= 4096)) {
      throw expected(key, 'one of 128, 256, 512, 1024, 2048, 4096', value);
    }
  }
  checkTime('rootLatencyPs', spec.rootLatencyPs);
  checkTime('interruptLatencyPs', spec.interruptLatencyPs);
}

function checkBarSizes({ barSizes }: MachineSpec): void {
  if (barSizes === undefined || barSizes === 'largest') return;
  if (barSizes === null || typeof barSizes !== 'object') {
    throw expected('barSizes', `'largest' or sizes by name`, barSizes);
  }
  for (const [name, size] of Object.entries(barSizes)) {
    if (isPowerOfTwo(size) && size >= MiB) continue;
    throw expected(`barSizes.${name}`, 'a power of two from 1 MiB', size);
  }
}

function checkPeers(spec: MachineSpec): void {
  const { peerForwarding: rules, peerReads } = spec;
  if (peerReads !== undefined) checkPeerReadTable(peerReads, 'peerReads');
  if (rules === undefined || typeof rules === 'boolean') return;
  if (rules === null || typeof rules !== 'object') {
    throw expected('peerForwarding', 'true, false, a policy or rules', rules);
  }
  const count = rootPortsOf(spec).length;
  for (const [i, rule] of asRules(rules).entries()) {
    const where = Array.isArray(rules) ? `peerForwarding[${i}]` : 'peerForwarding';
    if (rule === null || typeof rule !== 'object') throw expected(where, 'a rule', rule);
    checkKeys(where, rule, PEER_RULE_KEYS);
    for (const key of ['from', 'to'] as const) checkPorts(`${where}.${key}`, rule[key], count);
    checkPeerPolicy(rule, where);
  }
}

function checkPorts(key: string, ports: PeerRule['from'], count: number): void {
  if (ports === undefined) return;
  for (const port of [ports].flat()) {
    if (Number.isInteger(port) && port >= 0 && port < count) continue;
    throw expected(key, `the index of a root port, 0 to ${count - 1}`, port);
  }
}

/** Checks what is to come into a machine that runs. @throws USAGE for what cannot be built, naming `where` */
export const checkPlug = (plug: Plug, where: string): void => new TreeCheck().plug(plug, where);

/** Walks the tree, remembering what must be unique. */
class TreeCheck {
  readonly #names = new Map<string, string>();
  readonly #plugs = new Map<Plug, string>();

  ports(ports: readonly PortSpec[], where: string): void {
    const siblings = new Set<string>();
    for (const [i, port] of ports.entries()) {
      const at = `${where}[${i}]`;
      if (port === null || typeof port !== 'object') throw expected(at, 'a port', port);
      checkKeys(at, port, PORT_KEYS);
      checkName(`${at}.name`, port.name);
      if (port.name !== undefined && siblings.has(port.name)) {
        throw expected(`${at}.name`, 'a name no other port beside it has', port.name);
      }
      siblings.add(port.name ?? '');
      if (port.link !== undefined) checkPortLink(port.link, `${at}.link`);
      checkAcs(`${at}.acs`, port.acs);
      checkAcs(`${at}.acsCapable`, port.acsCapable);
      checkHotPlug(`${at}.hotplug`, port.hotplug);
      this.#port(port, `${at}.device`);
    }
  }

  #port(port: PortSpec, at: string): void {
    const { device } = port;
    if (isPlugList(device) && device.length > 1) {
      const got = `${device.length} (${device.map(labelOf).join(', ')})`;
      throw usage(`${at}: expected one device on a port, got ${got}; use pcieSwitch() for more`);
    }
    const plug = plugOf(port);
    if (plug === undefined) return;
    this.plug(plug, at);
  }

  plug(plug: Plug, at: string): void {
    if (plug === null || typeof plug !== 'object' || !isPlug(plug)) {
      throw expected(at, 'a device or pcieSwitch(...)', plug);
    }
    if (isMultiFunction(plug)) return this.#functions(plug, at);
    const elsewhere = this.#plugs.get(plug);
    if (elsewhere !== undefined) {
      throw usage(`${at}: expected a device of its own, got the one that is in ${elsewhere}`);
    }
    this.#plugs.set(plug, at);
    checkName(`${at}.name`, plug.name);
    if (plug.name !== undefined) this.#name(plug.name, at);
    if (isSwitch(plug)) this.#switch(plug, at);
  }

  #functions(spec: MultiFunctionSpec, at: string): void {
    checkKeys(at, spec, FUNCTIONS_KEYS);
    const { functions, ari } = spec;
    if (!Array.isArray(functions) || functions.length === 0) {
      throw expected(`${at}.functions`, 'an array of at least one device', functions);
    }
    const most = ari === false ? MAX_FUNCTIONS : MAX_ARI_FUNCTIONS;
    checkCount(`${at}.functions`, functions.length, most, 'functions');
    for (const [i, one] of functions.entries()) {
      const where = `${at}.functions[${i}]`;
      if (one === null || typeof one !== 'object' || !isDevice(one)) {
        throw expected(where, 'a device', one);
      }
      this.plug(one, where);
    }
  }

  #name(name: string, at: string): void {
    const elsewhere = this.#names.get(name);
    if (elsewhere !== undefined) {
      throw usage(`${at}.name: expected a name used once, got '${name}', also in ${elsewhere}`);
    }
    this.#names.set(name, at);
  }

  #switch(spec: SwitchSpec, at: string): void {
    checkKeys(at, spec, SWITCH_KEYS);
    if (!Array.isArray(spec.ports) || spec.ports.length === 0) {
      throw expected(`${at}.ports`, `1 to ${MAX_SWITCH_PORTS} downstream ports`, spec.ports);
    }
    checkCount(`${at}.ports`, spec.ports.length, MAX_SWITCH_PORTS, 'downstream ports');
    checkTime(`${at}.latencyPs`, spec.latencyPs);
    this.ports(spec.ports, `${at}.ports`);
  }
}

const isPlug = (plug: Plug): boolean => isSwitch(plug) || isMultiFunction(plug) || isDevice(plug);
const isDevice = (plug: Plug): boolean => 'build' in plug && typeof plug.build === 'function';
const labelOf = (plug: Plug): string => plug?.name ?? plug?.kind ?? String(plug);

function checkPortLink(link: LinkSpec, at: string): void {
  checkKeys(at, link, LINK_KEYS);
  const { virtualChannels, upperCredits, lowerCredits } = link;
  if (virtualChannels !== undefined)
    checkKeys(`${at}.virtualChannels`, virtualChannels, CHANNELS_KEYS);
  if (upperCredits !== undefined) checkKeys(`${at}.upperCredits`, upperCredits, CREDITS_KEYS);
  if (lowerCredits !== undefined) checkKeys(`${at}.lowerCredits`, lowerCredits, CREDITS_KEYS);
  checkLink(link, at);
}

function checkAcs(key: string, policy: AcsPolicy | undefined): void {
  if (policy === undefined || policy === 'linux' || policy === 'off') return;
  if (Number.isInteger(policy) && (policy & ~ACS_BITS) === 0) return;
  throw expected(key, `'linux', 'off' or ACS Control bits of ${hex(ACS_BITS)}`, policy);
}

function checkHotPlug(key: string, hotplug: PortSpec['hotplug']): void {
  if (hotplug === undefined || typeof hotplug === 'boolean') return;
  if (hotplug === null || typeof hotplug !== 'object') {
    throw expected(key, 'true, false or the room for devices', hotplug);
  }
  checkKeys(key, hotplug, HOTPLUG_KEYS);
  const { buses, lowBytes, highBytes } = hotplug;
  if (buses !== undefined && !(Number.isInteger(buses) && buses >= 1 && buses <= MAX_BUSES)) {
    throw expected(`${key}.buses`, `1 to ${MAX_BUSES} bus numbers`, buses);
  }
  for (const [name, value, most] of [
    ['lowBytes', lowBytes, GiB],
    ['highBytes', highBytes, MAX_MMIO_WINDOW_BYTES],
  ] as const) {
    if (value === undefined) continue;
    if (isPowerOfTwo(value) && value >= MiB && value <= most) continue;
    const range = `a power of two from 1 MiB to ${formatSize(most)}`;
    throw expected(`${key}.${name}`, range, value);
  }
}
