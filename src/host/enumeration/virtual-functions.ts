/**
 * What host software does with SR-IOV: sizes VF BARs, turns virtual functions on and off, and takes them into
 * the tree. [PCIE] 9.2, 9.3.3
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { bdfFromId, offsetBy } from '#emu/base/units.ts';
import { vfName } from '#emu/host/names.ts';
import { Place } from '#emu/host/place.ts';
import { ExtendedId, Header } from '#emu/pcie/config/config-registers.ts';
import { SrIovControl, SrIov as Sriov } from '#emu/pcie/config/function-registers.ts';
import { delay, type Process } from '#emu/sim/process.ts';
import { sizeBars } from './bar-size.ts';
import { findCapabilities } from './capability-list.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import { type NodeSriov, PciNode } from './pci-node.ts';

const BARS = 6;
/** From VF Enable to the first request to a virtual function. [PCIE] 9.3.3.3.1 */
const SETTLE_PS = 100e9;

/**
 * Reads the SR-IOV capability of a function and sizes its VF BARs; null without one. Offset and stride may depend
 * on whether function numbers have 8 bits and on NumVFs, so these come first. [PCIE] 9.3.3.9
 */
export function* readSriov(io: ConfigIo, node: PciNode, ari: boolean): Process<NodeSriov | null> {
  const at = node.extendedCapabilities.get(ExtendedId.SrIov);
  if (at === undefined) return null;
  yield* io.write(at + Sriov.Control, 2, SrIovControl.AriHierarchy.of(+ari));
  const totalVfs = yield* io.read(at + Sriov.TotalVfs, 2);
  yield* io.write(at + Sriov.NumVfs, 2, totalVfs);
  return {
    at,
    totalVfs,
    vfDeviceId: yield* io.read(at + Sriov.VfDeviceId, 2),
    firstOffset: yield* io.read(at + Sriov.FirstVfOffset, 2),
    stride: yield* io.read(at + Sriov.VfStride, 2),
    bars: yield* sizeBars(io, at + Sriov.VfBar0, BARS, totalVfs),
    vfs: [],
  };
}

/**
 * Turns on the first `count` virtual functions of a function, or with 0 turns all off, and changes the tree to
 * what answers then. @throws USAGE for more than there are, and for another number while some are on
 */
export function* setVfs(port: ConfigPort, node: PciNode, count: number): Process<void> {
  const { sriov } = node;
  if (sriov === null) throw usage(`${node.path}: expected a function with SR-IOV, got one without`);
  if (!Number.isInteger(count) || count < 0 || count > sriov.totalVfs) {
    throw usage(`vfs: expected an integer of 0 to ${sriov.totalVfs}, got ${count}`);
  }
  if (count > 0 && sriov.vfs.length > 0) {
    throw usage(`vfs: expected 0 while ${sriov.vfs.length} are on, got ${count}`);
  }
  const io = new ConfigIo(port, node.bdf);
  const at = sriov.at + Sriov.Control;
  const on = +(count > 0);
  if (on) yield* io.write(sriov.at + Sriov.NumVfs, 2, count);
  yield* io.update16(at, [SrIovControl.VfMse, on], [SrIovControl.VfEnable, on]);
  yield* delay(SETTLE_PS);
  if (on) yield* findVfs(port, node, sriov, count);
  else forgetVfs(node, sriov);
}

function* findVfs(
  port: ConfigPort,
  physical: PciNode,
  sriov: NodeSriov,
  count: number,
): Process<void> {
  for (let i = 0; i < count; i++) {
    const id = bdfFromId(physical.bdf + sriov.firstOffset + i * sriov.stride);
    const io = new ConfigIo(port, id);
    const place = new Place(vfName(physical.name, i), vfName(physical.path, i));
    const vf = new PciNode(id, physical.parent, place, physical.hostBridge);
    vf.physical = physical;
    // The IDs of a virtual function read as ones. [PCIE] 9.3.4.1.1
    vf.vendorId = physical.vendorId;
    vf.deviceId = sriov.vfDeviceId;
    const classAndRevision = yield* io.read(Header.RevisionId, 4);
    vf.classCode = classAndRevision >>> 8;
    vf.revisionId = classAndRevision & 0xff;
    yield* findCapabilities(io, vf);
    for (const bar of sriov.bars) {
      const from = i * bar.sizeBytes;
      const address = offsetBy(bar.address, from);
      const busAddress = offsetBy(bar.busAddress, from);
      vf.bars.push({ ...bar, copies: 1, address, busAddress });
    }
    sriov.vfs.push(vf);
  }
}

function forgetVfs({ parent }: PciNode, sriov: NodeSriov): void {
  const siblings = parent?.children ?? [];
  for (const vf of sriov.vfs) siblings.splice(siblings.indexOf(vf), 1);
  sriov.vfs = [];
}
