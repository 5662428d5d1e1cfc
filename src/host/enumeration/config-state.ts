/**
 * What host software keeps of a function's configuration across a reset, and writes back after it, as Linux does:
 * its message-signalled interrupts too. [PCIE] 6.6
 * @module
 */

import type { MmioPort } from '#emu/host/cpu.ts';
import {
  Acs,
  AcsBit,
  CapabilityId,
  ExtendedId,
  Header,
  Msi,
  MsiX,
  MsiXControl,
  Pcie,
  PortType,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import {
  Ats,
  Pasid,
  Pri,
  ResizableBar,
  ResizableBarControl,
  SrIov,
} from '#emu/pcie/config/function-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import { type AccessSize, ConfigIo, type ConfigPort } from './config-io.ts';
import type { PciNode } from './pci-node.ts';
import { restoreVectors, saveVectors, type VectorTable } from './vector-table.ts';

interface Kept {
  readonly offset: number;
  readonly size: AccessSize;
}

/** The values of one function's registers, in the order in which they are written back. */
export interface ConfigState {
  readonly node: PciNode;
  readonly values: readonly (Kept & { readonly value: number })[];
  /** Null without MSI-X in use. */
  readonly vectors: VectorTable | null;
}

/** The root complex, by which software reaches configuration space and BARs. */
export type ResetPort = ConfigPort & MmioPort;

const BARS = 6;

/** Reads what {@link restoreState} writes. */
export function* saveState(port: ResetPort, node: PciNode): Process<ConfigState> {
  const io = new ConfigIo(port, node.bdf);
  const values: (Kept & { value: number })[] = [];
  for (const kept of yield* keptOf(io, node)) {
    values.push({ ...kept, value: yield* io.read(kept.offset, kept.size) });
  }
  return { node, values, vectors: yield* saveVectors(port, io, node) };
}

export function* restoreState(port: ResetPort, state: ConfigState): Process<void> {
  const { node, values, vectors } = state;
  const io = new ConfigIo(port, node.bdf);
  for (const { offset, size, value } of values) yield* io.write(offset, size, value);
  if (vectors === null) return;
  restoreVectors(port, vectors);
  // A configuration write cannot overtake the table writes before it. [PCIE] 2.4.1
  const at = node.capabilities.get(CapabilityId.MsiX) ?? 0;
  yield* io.update16(at + MsiX.Control, [MsiXControl.Enable, 1]);
}

function* keptOf(io: ConfigIo, node: PciNode): Process<Kept[]> {
  return [
    ...(yield* resizableOf(io, node)),
    ...(node.isBridge ? BRIDGE : dwords(Header.Bar0, BARS)),
    { offset: Header.InterruptLine, size: 1 },
    ...expressOf(node),
    ...(yield* acsOf(io, node)),
    ...translationOf(node),
    ...messagesOf(node),
    ...sriovOf(node),
    { offset: Header.Command, size: 2 },
  ];
}

const dwords = (from: number, count: number): Kept[] =>
  Array.from({ length: count }, (_, i) => ({ offset: from + 4 * i, size: 4 }));

const BRIDGE: readonly Kept[] = [
  { offset: Type1.PrimaryBus, size: 1 },
  { offset: Type1.SecondaryBus, size: 1 },
  { offset: Type1.SubordinateBus, size: 1 },
  { offset: Type1.IoBase, size: 2 },
  ...dwords(Type1.MemoryBase, 5),
  { offset: Type1.BridgeControl, size: 2 },
];

function* resizableOf(io: ConfigIo, node: PciNode): Process<Kept[]> {
  const at = node.extendedCapabilities.get(ExtendedId.ResizableBar);
  if (at === undefined) return [];
  const control = at + ResizableBar.Control;
  const count = ResizableBarControl.Count.get(yield* io.read(control, 4));
  return Array.from({ length: count }, (_, i) => ({
    offset: control + i * ResizableBar.ENTRY_SIZE,
    size: 4,
  }));
}

function expressOf({ capabilities, portType }: PciNode): Kept[] {
  const at = capabilities.get(CapabilityId.Pcie);
  if (at === undefined) return [];
  const registers: number[] = [Pcie.DevCtl, Pcie.LinkCtl, Pcie.DevCtl2];
  if (portType === PortType.SwitchDownstream) registers.push(Pcie.SlotCtl);
  return registers.map((offset) => ({ offset: at + offset, size: 2 }));
}

function* acsOf(io: ConfigIo, node: PciNode): Process<Kept[]> {
  const at = node.extendedCapabilities.get(ExtendedId.Acs);
  if (at === undefined) return [];
  const vector = (yield* io.read(at + Acs.Capability, 2)) & AcsBit.EC;
  const control: Kept = { offset: at + Acs.Control, size: 2 };
  return vector ? [{ offset: at + Acs.EgressVector, size: 4 }, control] : [control];
}

/** Enables of PASID, PRI and ATS; PASID must not change under ATS. [PCIE] 10.5 */
function translationOf({ extendedCapabilities: caps }: PciNode): Kept[] {
  const of = (id: ExtendedId, offset: number, size: AccessSize): Kept[] => {
    const at = caps.get(id);
    return at === undefined ? [] : [{ offset: at + offset, size }];
  };
  return [
    ...of(ExtendedId.Pasid, Pasid.Control, 2),
    ...of(ExtendedId.Pri, Pri.Allocation, 4),
    ...of(ExtendedId.Pri, Pri.Control, 2),
    ...of(ExtendedId.Ats, Ats.Control, 2),
  ];
}

/** MSI, enabled last. */
function messagesOf({ capabilities }: PciNode): Kept[] {
  const at = capabilities.get(CapabilityId.Msi);
  if (at === undefined) return [];
  return [
    { offset: at + Msi.AddressLow, size: 4 },
    { offset: at + Msi.AddressHigh, size: 4 },
    { offset: at + Msi.Data, size: 2 },
    { offset: at + Msi.Mask, size: 4 },
    { offset: at + Msi.Control, size: 2 },
  ];
}

/** VF Enable comes last: virtual functions appear at the addresses written before. [PCIE] 9.3.3.3 */
function sriovOf({ sriov }: PciNode): Kept[] {
  if (sriov === null) return [];
  return [
    ...dwords(sriov.at + SrIov.VfBar0, BARS),
    { offset: sriov.at + SrIov.NumVfs, size: 2 },
    { offset: sriov.at + SrIov.Control, size: 2 },
  ];
}
