/**
 * The vectors of a function's MSI-X table, kept across a reset, which masks and clears them. [PCIE] 6.6, 7.7.2.5
 * @module
 */
import { offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { MmioPort } from '#emu/host/cpu.ts';
import {
  CapabilityId,
  MsiX,
  MsiXControl,
  MsiXEntry,
  MsiXLocation,
} from '#emu/pcie/config/config-registers.ts';
import { type Process, wait } from '#emu/sim/process.ts';
import type { ConfigIo } from './config-io.ts';
import type { PciNode } from './pci-node.ts';

/** What stands in a table: DWs in order from `address`. */
export interface VectorTable {
  readonly address: PhysAddr;
  readonly words: readonly number[];
}

/** Reads the table; null for a function that does not use MSI-X. */
export function* saveVectors(port: MmioPort, io: ConfigIo, node: PciNode) {
  const at = node.capabilities.get(CapabilityId.MsiX);
  if (at === undefined) return null;
  const control = yield* io.read(at + MsiX.Control, 2);
  const place = yield* io.read(at + MsiX.Table, 4);
  const bar = node.bars.find(({ index }) => index === MsiXLocation.Bir.get(place));
  if (MsiXControl.Enable.get(control) === 0 || bar === undefined) return null;
  const address = offsetBy(bar.address, MsiXLocation.Bir.put(place, 0));
  const count = ((MsiXControl.TableSize.get(control) + 1) * MsiXEntry.SIZE) / 4;
  const words: number[] = [];
  for (let i = 0; i < count; i++) words.push(yield* load(port, offsetBy(address, 4 * i)));
  return { address, words };
}

/** Writes it back; MSI-X must be off. */
export function restoreVectors(port: MmioPort, { address, words }: VectorTable): void {
  for (const [i, word] of words.entries()) port.mmioWrite(offsetBy(address, 4 * i), 4, word);
}

function* load(port: MmioPort, address: PhysAddr): Process<number> {
  return yield* wait(port.mmioRead(address, 4));
}
