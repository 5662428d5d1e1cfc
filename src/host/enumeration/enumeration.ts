/**
 * Brings the PCI Express tree up as firmware and an operating system do, by configuration requests only: bus
 * numbers, BARs and windows, command registers, payload sizes, access control. [PCIE] 7.3, 7.5
 * @module
 */

import type { HostBridgeMap } from '#emu/host/machine-spec.ts';
import type { Place } from '#emu/host/place.ts';
import type { Process } from '#emu/sim/process.ts';
import { type EnumerationSettings, resizeBars } from './bar-resize.ts';
import { scanBuses } from './bus-scan.ts';
import type { ConfigPort } from './config-io.ts';
import { applyAcs, applyLinkSettings } from './link-settings.ts';
import type { PciNode } from './pci-node.ts';
import { assignWindows } from './window-plan.ts';
import { programTree } from './window-program.ts';

/** The root bus of a host bridge, as firmware describes it. */
export interface RootBus {
  readonly board: Place;
  readonly map: HostBridgeMap;
}

/** Functions on the root buses, with everything below them. @throws USAGE when BARs or buses do not fit */
export function* enumerate(
  port: ConfigPort,
  buses: readonly RootBus[],
  settings: EnumerationSettings,
): Process<PciNode[]> {
  const roots: PciNode[] = [];
  for (const [i, { board, map }] of buses.entries()) {
    const found = yield* scanBuses(port, board, i, map);
    const below = found.flatMap((root) => [...root.subtree()]);
    yield* resizeBars(port, below, settings.barSizes ?? {});
    assignWindows(found, 'low', map.low);
    assignWindows(found, 'high', map.high);
    for (const root of found) yield* programTree(port, root);
    roots.push(...found);
  }
  const nodes = roots.flatMap((root) => [...root.subtree()]);
  yield* applyLinkSettings(port, nodes, settings);
  yield* applyAcs(port, nodes);
  return roots;
}
