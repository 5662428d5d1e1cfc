/**
 * Finds every function through configuration requests: depth-first bus numbers, capabilities, BAR sizes.
 * Assigns no addresses. [PCIE] 7.3, 7.5.1.2.1
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { type Bdf, bdf, bdfBus, dmaAddr, physAddr } from '#emu/base/units.ts';
import {
  BAR_TYPE_64,
  Bar,
  CapabilityHead,
  CapabilityId,
  CONFIG_SIZE,
  ExtendedHead,
  FIRST_EXTENDED,
  Header,
  HeaderType,
  Pcie,
  PcieCaps,
  PortType,
  Status,
  Type1,
} from '#emu/pcie/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import type { HostBridgeMap } from './machine-spec.ts';
import { PciNode } from './pci-node.ts';
import type { Place } from './place.ts';

const NOTHING = 0xffff;
const DEVICES = 32;
const FUNCTIONS = 8;
const ALL_ONES = 0xffff_ffff;
/** A list longer than its space must loop. */
const MAX_CAPABILITIES = 48;
const MAX_EXTENDED = (CONFIG_SIZE - FIRST_EXTENDED) / 8;

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

function* scanBus(
  scan: Scan,
  bus: number,
  parent: PciNode | null,
  place: Place | null,
  devices: number,
): Process<PciNode[]> {
  const found: PciNode[] = [];
  for (let device = 0; device < devices; device++) {
    const here = place?.children.get(device) ?? null;
    const first = yield* scanFunction(scan, bdf(bus, device, 0), parent, here);
    if (!first) continue;
    found.push(first);
    if (!first.isMultiFunction) continue;
    for (let fn = 1; fn < FUNCTIONS; fn++) {
      const other = yield* scanFunction(scan, bdf(bus, device, fn), parent, null);
      if (other) found.push(other);
    }
  }
  return found;
}

function* scanFunction(
  scan: Scan,
  id: Bdf,
  parent: PciNode | null,
  place: Place | null,
): Process<PciNode | null> {
  const io = new ConfigIo(scan.port, id);
  const identity = yield* io.read(Header.VendorId, 4);
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
  yield* sizeBars(io, node);
  if (node.isBridge) yield* scanBehind(scan, io, node);
  return node;
}

/** Numbers the bus behind a bridge and everything below it. */
function* scanBehind(scan: Scan, io: ConfigIo, node: PciNode): Process<void> {
  if (scan.lastBus === scan.limit) {
    const most = scan.limit - scan.rootBus;
    throw usage(`${node.path}: expected at most ${most} buses below the root, got more`);
  }
  node.secondary = ++scan.lastBus;
  yield* io.write(Type1.PrimaryBus, 1, bdfBus(node.bdf));
  yield* io.write(Type1.SecondaryBus, 1, node.secondary);
  yield* io.write(Type1.SubordinateBus, 1, scan.limit);
  const devices = node.portType === PortType.SwitchUpstream ? DEVICES : 1;
  yield* scanBus(scan, node.secondary, node, node.place, devices);
  node.subordinate = scan.lastBus;
  yield* io.write(Type1.SubordinateBus, 1, node.subordinate);
}

function* findCapabilities(io: ConfigIo, node: PciNode): Process<void> {
  const status = yield* io.read(Header.Status, 2);
  if (Status.CapabilitiesList.get(status) === 0) return;
  let at = yield* io.read(Header.CapabilitiesPointer, 1);
  for (let i = 0; at !== 0 && i < MAX_CAPABILITIES; i++) {
    const head = yield* io.read(at, 2);
    node.capabilities.set(CapabilityHead.Id.get(head), at);
    at = CapabilityHead.Next.get(head);
  }
  const pcie = node.capabilities.get(CapabilityId.Pcie);
  if (pcie === undefined) return;
  node.portType = PcieCaps.PortType.get(yield* io.read(pcie + Pcie.Capabilities, 2));
  at = FIRST_EXTENDED;
  for (let i = 0; at !== 0 && i < MAX_EXTENDED; i++) {
    const head = yield* io.read(at, 4);
    if (head === 0 || head === ALL_ONES) break;
    node.extendedCapabilities.set(ExtendedHead.Id.get(head), at);
    at = ExtendedHead.Next.get(head);
  }
}

function* sizeBars(io: ConfigIo, node: PciNode): Process<void> {
  yield* io.write(Header.Command, 2, 0);
  const count = node.isBridge ? 2 : 6;
  for (let index = 0; index < count; ) {
    const low = yield* sizeRegister(io, index);
    const is64 = !Bar.IoSpace.get(low) && Bar.Type.get(low) === BAR_TYPE_64;
    const high = is64 ? yield* sizeRegister(io, index + 1) : 0;
    const sizeBytes = sizeFromMask(low & ~Bar.Flags.mask, high);
    if (sizeBytes > 0 && !Bar.IoSpace.get(low)) {
      const prefetchable = Bar.Prefetchable.get(low) === 1;
      const width = is64 ? 64 : 32;
      const unassigned = { address: physAddr(0), busAddress: dmaAddr(0) };
      node.bars.push({ index, sizeBytes, width, prefetchable, ...unassigned });
    }
    index += is64 ? 2 : 1;
  }
}

function* sizeRegister(io: ConfigIo, index: number): Process<number> {
  const at = Header.Bar0 + 4 * index;
  yield* io.write(at, 4, ALL_ONES);
  const mask = yield* io.read(at, 4);
  yield* io.write(at, 4, 0);
  return mask;
}

/** Size from the writable address bits: their lowest one; 0 when there is none. */
function sizeFromMask(low: number, high: number): number {
  if (low !== 0) return (low & -low) >>> 0;
  return ((high & -high) >>> 0) * 2 ** 32;
}
