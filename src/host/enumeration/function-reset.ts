/**
 * Resets a function alone, or everything below the port above it, waits as long as the specification demands, and
 * brings the configuration back. [PCIE] 6.6.1, 6.6.2
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import {
  BridgeControl,
  CapabilityId,
  DevCap,
  DevCtl,
  Pcie,
  Type1,
} from '#emu/pcie/config/config-registers.ts';
import { delay, type Process } from '#emu/sim/process.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import { waitReady } from './config-ready.ts';
import { type ResetPort, restoreState, saveState } from './config-state.ts';
import type { PciNode } from './pci-node.ts';

/** `flr` resets one function, `bus` all functions on its bus and below. */
export const RESETS = ['flr', 'bus'] as const;
export type ResetWay = (typeof RESETS)[number];

/** Time that software leaves a function to reset itself, or a link to train, before it asks. [PCIE] 6.6.1, 6.6.2 */
const SETTLE_PS = 100e9;
/** How long Secondary Bus Reset is held; at least 1 ms. [PCIE] 7.5.1.3.13 */
const HOLD_PS = 2e9;

/** Whether everything has come back within the time allowed. @throws USAGE for a function without that reset */
export function* resetFunction(port: ResetPort, node: PciNode, way: ResetWay): Process<boolean> {
  if (!RESETS.includes(way)) throw usage(`reset: expected one of ${RESETS.join(', ')}, got ${way}`);
  const nodes = way === 'flr' ? [node, ...(node.sriov?.vfs ?? [])] : below(node);
  const states = [];
  for (const one of nodes) states.push(yield* saveState(port, one));
  if (way === 'flr') yield* functionLevelReset(port, node);
  else yield* busReset(port, node);
  for (const state of states) {
    const { bdf, physical } = state.node;
    const isReady = yield* waitReady(new ConfigIo(port, bdf), physical !== null);
    if (!isReady) return false;
    yield* restoreState(port, state);
  }
  return true;
}

/** Everything that a reset of the bus reaches: what stands beside the function too. */
function below({ parent, path }: PciNode): PciNode[] {
  if (parent === null) throw usage(`reset: expected a function below a port, got ${path}`);
  return parent.children.flatMap((child) => [...child.subtree()]);
}

function* functionLevelReset(port: ConfigPort, node: PciNode): Process<void> {
  const io = new ConfigIo(port, node.bdf);
  const at = node.capabilities.get(CapabilityId.Pcie);
  const capable = at === undefined ? 0 : DevCap.Flr.get(yield* io.read(at + Pcie.DevCap, 4));
  if (at === undefined || capable === 0) {
    throw usage(`reset: expected a function with function-level reset, got ${node.path}`);
  }
  yield* io.update16(at + Pcie.DevCtl, [DevCtl.InitiateFlr, 1]);
  yield* delay(SETTLE_PS);
}

function* busReset(port: ConfigPort, { parent }: PciNode): Process<void> {
  if (parent === null) return;
  const io = new ConfigIo(port, parent.bdf);
  yield* io.update16(Type1.BridgeControl, [BridgeControl.SecondaryBusReset, 1]);
  yield* delay(HOLD_PS);
  yield* io.update16(Type1.BridgeControl, [BridgeControl.SecondaryBusReset, 0]);
  yield* delay(SETTLE_PS);
}
