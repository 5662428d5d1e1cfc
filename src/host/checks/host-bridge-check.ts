/**
 * Refuses host bridges that cannot be: how many, their names and identities, and bus addresses that would hide
 * memory, the doorbell or one another.
 * @module
 */

import { type EmuError, usage } from '#emu/base/errors.ts';
import { checkKeys } from '#emu/base/known-keys.ts';
import { ADDR_LIMIT, hex } from '#emu/base/units.ts';
import type { CpuIdentity, HostBridgeRule } from '#emu/dma/p2p/host-bridge-list.ts';
import {
  type BusOffset,
  type HostBridgeMap,
  type HostBridgeSpec,
  hostBridgeName,
  type MachineSpec,
  type PhysicalMap,
  type Span,
} from '#emu/host/machine-spec.ts';
import { MAX_HOST_BRIDGES, physicalMap } from '#emu/host/physical-map.ts';
import { checkCount, checkName, expected } from './spec-fields.ts';
import { HOST_BRIDGE_KEYS } from './spec-keys.ts';

const MiB = 2 ** 20;
const FOUR_GIB = 2 ** 32;
/** Device 0 of a root bus is the host bridge. */
const MAX_ROOT_PORTS = 31;
/** All ones mean that nobody answers. */
const NOBODY = 0xffff;

/** @throws USAGE */
export function checkHostBridges(spec: MachineSpec): void {
  const { hostBridges, rootPorts } = spec;
  if (hostBridges === undefined) {
    checkRootPorts('rootPorts', rootPorts);
  } else {
    if (rootPorts !== undefined) {
      throw expected('hostBridges', 'either rootPorts or hostBridges', 'both');
    }
    if (!Array.isArray(hostBridges) || hostBridges.length === 0) {
      throw expected('hostBridges', `1 to ${MAX_HOST_BRIDGES} host bridges`, hostBridges);
    }
    checkCount('hostBridges', hostBridges.length, MAX_HOST_BRIDGES, 'host bridges');
    const names = new Set<string>();
    for (const [i, bridge] of hostBridges.entries()) checkBridge(bridge, i, names);
    checkAddresses(spec, hostBridges);
  }
  checkBelief(spec);
}

function checkRootPorts(key: string, ports: unknown): void {
  if (!Array.isArray(ports) || ports.length === 0) {
    throw expected(key, `1 to ${MAX_ROOT_PORTS} root ports`, ports ?? []);
  }
  checkCount(key, ports.length, MAX_ROOT_PORTS, 'root ports');
}

function checkBridge(bridge: HostBridgeSpec, index: number, names: Set<string>): void {
  const at = `hostBridges[${index}]`;
  if (bridge === null || typeof bridge !== 'object') throw expected(at, 'a host bridge', bridge);
  checkKeys(at, bridge, HOST_BRIDGE_KEYS);
  checkName(`${at}.name`, bridge.name);
  const name = hostBridgeName(bridge, index);
  if (names.has(name)) throw expected(`${at}.name`, 'a name no other host bridge has', name);
  names.add(name);
  checkRootPorts(`${at}.rootPorts`, bridge.rootPorts);
  const { identity, busOffset = 0 } = bridge;
  if (identity !== undefined) checkIdentity(`${at}.identity`, identity);
  if (!isOffset(busOffset)) {
    throw expected(`${at}.busOffset`, 'multiples of 1 MiB, one or { low, high }', busOffset);
  }
}

function isOffset(offset: BusOffset): boolean {
  if (typeof offset === 'number') return Number.isSafeInteger(offset) && offset % MiB === 0;
  if (offset === null || typeof offset !== 'object') return false;
  return isOffset(offset.low ?? 0) && isOffset(offset.high ?? 0);
}

function checkIdentity(key: string, identity: HostBridgeRule): void {
  if (identity === null || typeof identity !== 'object') {
    throw expected(key, '{ vendorId, deviceId }', identity);
  }
  for (const field of ['vendorId', 'deviceId'] as const) {
    const id = identity[field];
    if (id !== undefined && Number.isInteger(id) && id >= 0 && id < NOBODY) continue;
    throw expected(`${key}.${field}`, 'a number below 0xffff', id);
  }
}

/** What devices below a host bridge see must be apart: its windows, memory and the doorbell. */
function checkAddresses(spec: MachineSpec, bridges: readonly HostBridgeSpec[]): void {
  const map = physicalMap(spec);
  for (const i of bridges.keys())
    checkSpans(`hostBridges[${i}].busOffset`, map, map.hostBridges[i]!);
}

function checkSpans(key: string, map: PhysicalMap, { low, high }: HostBridgeMap): void {
  const windows = [
    { ...bus(low.busBase, low), name: 'the 32-bit window', limit: FOUR_GIB },
    { ...bus(high.busBase, high), name: 'the 64-bit window', limit: ADDR_LIMIT },
  ];
  const others = [
    { ...map.dram, name: 'DRAM' },
    { ...map.doorbell, name: 'the doorbell' },
  ];
  for (const [i, window] of windows.entries()) {
    const { base, sizeBytes, limit, name } = window;
    // A BAR at 0 is one without an address.
    if (base < MiB || base + sizeBytes > limit) {
      throw misplaced(key, `${name} on the bus from 1 MiB to ${hex(limit)}`, base);
    }
    const hidden = [...others, ...windows.slice(i + 1)].find((other) => overlap(window, other));
    if (hidden) throw misplaced(key, `${name} on the bus apart from ${hidden.name}`, base);
  }
}

const misplaced = (key: string, what: string, base: number): EmuError =>
  usage(`${key}: expected ${what}, got ${base < 0 ? `-${hex(-base)}` : hex(base)}`);

interface Extent {
  readonly base: number;
  readonly sizeBytes: number;
}

const bus = (base: number, { sizeBytes }: Span): Extent => ({ base, sizeBytes });
const overlap = (a: Extent, b: Extent): boolean =>
  a.base < b.base + b.sizeBytes && b.base < a.base + a.sizeBytes;

/** What software believes of host bridges. */
function checkBelief({ hostBridgeAllowList: list, cpu }: MachineSpec): void {
  if (cpu !== undefined) checkCpu(cpu);
  if (list === undefined) return;
  if (!Array.isArray(list)) throw expected('hostBridgeAllowList', 'a list of rules', list);
  for (const [i, rule] of list.entries()) {
    const at = `hostBridgeAllowList[${i}]`;
    if (rule === null || typeof rule !== 'object') throw expected(at, 'a rule', rule);
    checkIdentity(at, { ...rule, deviceId: rule.deviceId ?? 0 });
  }
}

function checkCpu(cpu: CpuIdentity): void {
  const isKnown = cpu !== null && typeof cpu === 'object' && typeof cpu.vendor === 'string';
  if (isKnown && Number.isInteger(cpu.family)) return;
  throw expected('cpu', '{ vendor, family }', cpu);
}
