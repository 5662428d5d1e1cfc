/**
 * Settings that have to agree along the tree: payload size, read request size, extended tags, read completion
 * boundary, and access control. [PCIE] 7.5.3.4, 7.5.3.7, 7.7.11
 * @module
 */

import type { AcsPolicy } from '#emu/host/machine-spec.ts';
import {
  ACS_LINUX,
  Acs,
  AcsBit,
  acsControlBits,
  CapabilityId,
  DevCap,
  DevCtl,
  ExtendedId,
  LinkCtl,
  Pcie,
  PortType,
  sizeCode,
  sizeFromCode,
} from '#emu/pcie/config/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import type { PciNode } from './pci-node.ts';

export interface LinkSettings {
  /** Upper bound of Max_Payload_Size. */
  readonly maxPayloadBytes: number;
  readonly maxReadRequestBytes: number;
}

interface Express {
  readonly node: PciNode;
  readonly io: ConfigIo;
  readonly at: number;
  readonly devCap: number;
}

/**
 * Sets the least payload size that all functions support everywhere, since peers may write to each other
 * across root ports, and on endpoints the other fields.
 */
export function* applyLinkSettings(
  port: ConfigPort,
  nodes: readonly PciNode[],
  settings: LinkSettings,
): Process<void> {
  const express: Express[] = [];
  for (const node of nodes) {
    const at = node.capabilities.get(CapabilityId.Pcie);
    if (at === undefined) continue;
    const io = new ConfigIo(port, node.bdf);
    express.push({ node, io, at, devCap: yield* io.read(at + Pcie.DevCap, 4) });
  }
  const supported = express.map(({ devCap }) => sizeFromCode(DevCap.MaxPayload.get(devCap)));
  const payload = Math.min(settings.maxPayloadBytes, ...supported);
  for (const entry of express) yield* setDeviceControl(entry, payload, settings);
  for (const entry of express) {
    if (entry.node.portType === PortType.Endpoint) yield* setBoundary(port, entry);
  }
}

function* setDeviceControl(
  { node, io, at, devCap }: Express,
  payloadBytes: number,
  settings: LinkSettings,
): Process<void> {
  let value = yield* io.read(at + Pcie.DevCtl, 2);
  value = DevCtl.MaxPayload.put(value, sizeCode(payloadBytes));
  if (node.portType === PortType.Endpoint) {
    value = DevCtl.MaxReadRequest.put(value, sizeCode(settings.maxReadRequestBytes));
    value = DevCtl.ExtendedTag.put(value, DevCap.ExtendedTag.get(devCap));
  }
  yield* io.write(at + Pcie.DevCtl, 2, value);
}

/** An endpoint is told the read completion boundary of its root port. [PCIE] 7.5.3.7 */
function* setBoundary(port: ConfigPort, { node, io, at }: Express): Process<void> {
  let root: PciNode = node;
  while (root.parent) root = root.parent;
  const rootAt = root.capabilities.get(CapabilityId.Pcie);
  if (root === node || rootAt === undefined) return;
  const rootControl = yield* new ConfigIo(port, root.bdf).read(rootAt + Pcie.LinkCtl, 2);
  yield* io.update16(at + Pcie.LinkCtl, [LinkCtl.RCB, LinkCtl.RCB.get(rootControl)]);
}

const POLICY_BITS: Readonly<Record<Exclude<AcsPolicy, number>, number>> = {
  linux: ACS_LINUX,
  off: 0,
};

/** Writes ACS Control by the policy of each place and reads back what the port took. */
export function* applyAcs(port: ConfigPort, nodes: readonly PciNode[]): Process<void> {
  for (const node of nodes) {
    const at = node.extendedCapabilities.get(ExtendedId.Acs);
    if (at === undefined) continue;
    const io = new ConfigIo(port, node.bdf);
    const policy = node.place?.acs ?? 'off';
    const wanted = typeof policy === 'number' ? policy : POLICY_BITS[policy];
    const capable = yield* io.read(at + Acs.Capability, 2);
    if (capable & AcsBit.EC) {
      yield* io.write(at + Acs.EgressVector, 4, node.place?.acsEgress ?? 0);
    }
    yield* io.write(at + Acs.Control, 2, wanted & acsControlBits(capable));
    node.acs = yield* io.read(at + Acs.Control, 2);
  }
}
