/**
 * Brings the PCI Express tree up as firmware and an operating system do, by configuration requests only: bus
 * numbers, BARs and windows, command registers, payload sizes, access control. [PCIE] 7.3, 7.5
 * @module
 */
import type { Process } from '#emu/sim/process.ts';
import { scanBuses } from './bus-scan.ts';
import type { ConfigPort } from './config-io.ts';
import { applyAcs, applyLinkSettings, type LinkSettings } from './link-settings.ts';
import type { PhysicalMap } from './machine-spec.ts';
import type { PciNode } from './pci-node.ts';
import type { Place } from './place.ts';
import { assignWindows } from './window-plan.ts';
import { programTree } from './window-program.ts';

/** Functions on bus 0, with everything below them. @throws USAGE when BARs or buses do not fit */
export function* enumerate(
  port: ConfigPort,
  board: Place,
  map: Pick<PhysicalMap, 'low' | 'high'>,
  settings: LinkSettings,
): Process<PciNode[]> {
  const roots = yield* scanBuses(port, board);
  assignWindows(roots, 'low', map.low);
  assignWindows(roots, 'high', map.high);
  for (const root of roots) yield* programTree(port, root);
  const nodes = roots.flatMap((root) => [...root.subtree()]);
  yield* applyLinkSettings(port, nodes, settings);
  yield* applyAcs(port, nodes);
  return roots;
}
