/**
 * Walks the two capability lists of a function. [PCIE] 7.5.1.1.11, 7.6.3
 * @module
 */
import {
  CapabilityHead,
  CapabilityId,
  CONFIG_SIZE,
  ExtendedHead,
  FIRST_EXTENDED,
  Header,
  Pcie,
  PcieCaps,
  Status,
} from '#emu/pcie/config/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import type { ConfigIo } from './config-io.ts';
import type { PciNode } from './pci-node.ts';

const ALL_ONES = 0xffff_ffff;
/** A list longer than its space must loop. */
const MAX_CAPABILITIES = 48;
const MAX_EXTENDED = (CONFIG_SIZE - FIRST_EXTENDED) / 8;

/** Notes where each capability of the function stands, and its port type. */
export function* findCapabilities(io: ConfigIo, node: PciNode): Process<void> {
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
