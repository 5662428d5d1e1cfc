/**
 * Finds every function through configuration requests: depth-first bus numbers, capabilities, BAR sizes.
 * Assigns no addresses. [PCIE] 7.3, 7.5.1.2.1
 * @module
 */
import { type EmuError, usage } from '#emu/base/errors.ts';
import { type Bdf, bdf, bdfBus, bdfFromId } from '#emu/base/units.ts';
import type { HostBridgeMap } from '#emu/host/machine-spec.ts';
import type { Place } from '#emu/host/place.ts';
import {
  CapabilityId,
  DevCap2,
  DevCtl2,
  ExtendedId,
  Header,
  HeaderType,
  Pcie,
  PortType,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import { RETRY_VENDOR_ID } from '#emu/pcie/config/config-retry.ts';
import { Ari, AriCapability } from '#emu/pcie/config/function-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import { sizeBars } from './bar-size.ts';
import { findCapabilities } from './capability-list.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import { showRetries, waitReady } from './config-ready.ts';
import { PciNode } from './pci-node.ts';
import { readSriov } from './virtual-functions.ts';

const NOTHING = 0xffff;
const DEVICES = 32;
const FUNCTIONS = 8;

/** State of one depth-first walk. */
interface Scan {
  readonly port: ConfigPort;
  readonly hostBridge: number;
  readonly rootBus: number;
  /** The greatest bus number in use, and the greatest there may be. */
  lastBus: number;
  readonly limit: number;
}

/** Functions on the root bus of a host bridge with everything below them. @throws USAGE when bus numbers run out */
export function* scanBuses(
  port: ConfigPort,
  board: Place,
  hostBridge: number,
  { rootBus, lastBus: limit }: Pick<HostBridgeMap, 'rootBus' | 'lastBus'>,
): Process<PciNode[]> {
  const scan: Scan = { port, hostBridge, rootBus, lastBus: rootBus, limit };
  return yield* scanBus(scan, rootBus, null, board, DEVICES);
}

/** Functions that have come to stand below a port found before, within the bus numbers that it keeps. */
export function* scanBelow(port: ConfigPort, bridge: PciNode): Process<PciNode[]> {
  const { hostBridge, secondary, subordinate: limit, place } = bridge;
  const scan: Scan = { port, hostBridge, rootBus: secondary, lastBus: secondary, limit };
  return yield* scanBus(scan, secondary, bridge, place, 1);
}

function* scanBus(
  scan: Scan,
  bus: number,
  parent: PciNode | null,
  place: Place | null,
  devices: number,
): Process<PciNode[]> {
  const found: PciNode[] = [];
  for (let device = 0; device < devices; device++) {
    const first = yield* scanFunction(scan, bdf(bus, device, 0), parent, place);
    if (first) found.push(first, ...(yield* scanOthers(scan, first, place)));
  }
  return found;
}

/** The other functions of a device, and what its virtual functions need. */
function* scanOthers(scan: Scan, first: PciNode, place: Place | null): Process<PciNode[]> {
  const found: PciNode[] = [];
  const ari = yield* usesAri(scan.port, first);
  for (let fn = yield* after(scan.port, first, ari); fn !== 0; ) {
    const id = bdfFromId(first.bdf + fn);
    const other = yield* scanFunction(scan, id, first.parent, place);
    if (other) found.push(other);
    if (ari) fn = other ? yield* after(scan.port, other, ari) : 0;
    else fn = (fn + 1) % FUNCTIONS;
  }
  for (const node of [first, ...found]) yield* scanSriov(scan, node, ari);
  return found;
}

/** Turns ARI forwarding on where port and device know it; function numbers have 8 bits then. [PCIE] 6.13 */
function* usesAri(port: ConfigPort, { parent, extendedCapabilities }: PciNode): Process<boolean> {
  const at = parent?.capabilities.get(CapabilityId.Pcie);
  if (parent === null || at === undefined || !extendedCapabilities.has(ExtendedId.Ari))
    return false;
  const io = new ConfigIo(port, parent.bdf);
  if (DevCap2.AriForwarding.get(yield* io.read(at + Pcie.DevCap2, 4)) === 0) return false;
  yield* io.update16(at + Pcie.DevCtl2, [DevCtl2.AriForwarding, 1]);
  return true;
}

/** Number of the function to look at after `node`, 0 when it is the last. */
function* after(port: ConfigPort, node: PciNode, ari: boolean): Process<number> {
  const at = node.extendedCapabilities.get(ExtendedId.Ari);
  if (!ari || at === undefined) return +node.isMultiFunction;
  const capability = yield* new ConfigIo(port, node.bdf).read(at + Ari.Capability, 2);
  const next = AriCapability.NextFunction.get(capability);
  return next > (node.bdf & 0xff) ? next : 0;
}

/** Sizes VF BARs and keeps bus numbers for the requester IDs of virtual functions. [PCIE] 9.2.1.2 */
function* scanSriov(scan: Scan, node: PciNode, ari: boolean): Process<void> {
  node.sriov = yield* readSriov(new ConfigIo(scan.port, node.bdf), node, ari);
  if (node.sriov === null) return;
  const { totalVfs, firstOffset, stride } = node.sriov;
  const last = (node.bdf + firstOffset + (totalVfs - 1) * stride) >>> 8;
  if (last > scan.limit) throw tooManyBuses(scan, node);
  scan.lastBus = Math.max(scan.lastBus, last);
}

function* scanFunction(
  scan: Scan,
  id: Bdf,
  parent: PciNode | null,
  board: Place | null,
): Process<PciNode | null> {
  const place = board?.children.get(id & 0xff) ?? null;
  const io = new ConfigIo(scan.port, id);
  const identity = yield* identify(io);
  if ((identity & 0xffff) === NOTHING) return null;
  const node = new PciNode(id, parent, place, scan.hostBridge);
  node.vendorId = identity & 0xffff;
  node.deviceId = identity >>> 16;
  const classAndRevision = yield* io.read(Header.RevisionId, 4);
  node.classCode = classAndRevision >>> 8;
  node.revisionId = classAndRevision & 0xff;
  const headerType = yield* io.read(Header.HeaderType, 1);
  node.isBridge = HeaderType.Layout.get(headerType) === 1;
  node.isMultiFunction = HeaderType.MultiFunction.get(headerType) === 1;
  yield* findCapabilities(io, node);
  yield* io.write(Header.Command, 2, 0);
  node.bars.push(...(yield* sizeBars(io, Header.Bar0, node.isBridge ? 2 : 6)));
  if (node.isBridge) yield* scanBehind(scan, io, node);
  return node;
}

/** Vendor and device ID; all ones when nothing is there, or not ready in time. */
function* identify(io: ConfigIo): Process<number> {
  const identity = yield* io.read(Header.VendorId, 4);
  if ((identity & 0xffff) !== RETRY_VENDOR_ID) return identity;
  return (yield* waitReady(io, false)) ? yield* io.read(Header.VendorId, 4) : NOTHING;
}

function tooManyBuses({ limit, rootBus }: Scan, node: PciNode): EmuError {
  const most = limit - rootBus;
  return usage(`${node.path}: expected at most ${most} buses below the root, got more`);
}

/** Numbers the bus behind a bridge and everything below it. */
function* scanBehind(scan: Scan, io: ConfigIo, node: PciNode): Process<void> {
  if (scan.lastBus === scan.limit) throw tooManyBuses(scan, node);
  node.secondary = ++scan.lastBus;
  yield* io.write(Type1.PrimaryBus, 1, bdfBus(node.bdf));
  yield* io.write(Type1.SecondaryBus, 1, node.secondary);
  yield* io.write(Type1.SubordinateBus, 1, scan.limit);
  if (node.portType === PortType.RootPort) yield* showRetries(io, node);
  const devices = node.portType === PortType.SwitchUpstream ? DEVICES : 1;
  yield* scanBus(scan, node.secondary, node, node.place, devices);
  const room = node.place?.room?.buses ?? 0;
  scan.lastBus = Math.max(scan.lastBus, Math.min(scan.limit, node.secondary + room - 1));
  node.subordinate = scan.lastBus;
  yield* io.write(Type1.SubordinateBus, 1, node.subordinate);
}
