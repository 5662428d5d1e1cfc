/**
 * Brings up what has come to stand below a port while the machine runs, within the bus numbers and windows that the
 * port keeps: nothing that was there before changes. [PCIE] 6.7, 7.3
 * @module
 */
import { physAddr } from '#emu/base/units.ts';
import { CapabilityId, DevCtl, Pcie, sizeFromCode } from '#emu/pcie/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';
import { type EnumerationSettings, resizeBars } from './bar-resize.ts';
import { scanBelow } from './bus-scan.ts';
import { ConfigIo, type ConfigPort } from './config-io.ts';
import { applyAcs, applyLinkSettings } from './link-settings.ts';
import type { BusSpan, HostBridgeMap } from './machine-spec.ts';
import type { BridgeWindow, PciNode } from './pci-node.ts';
import { assignWindows } from './window-plan.ts';
import { programTree } from './window-program.ts';

/**
 * Functions found below `bridge`, parents first, ready for drivers; none when nothing answers. Payload is what the
 * port has in force, since nobody changes it under running traffic.
 * @param map of the host bridge above
 * @throws USAGE when buses or BARs do not fit; nothing is known of them then
 */
export function* enumerateBelow(
  port: ConfigPort,
  bridge: PciNode,
  map: HostBridgeMap,
  settings: EnumerationSettings,
): Process<readonly PciNode[]> {
  let found: readonly PciNode[];
  try {
    found = yield* scanBelow(port, bridge);
    yield* resizeBars(
      port,
      found.flatMap((root) => [...root.subtree()]),
      settings.barSizes ?? {},
    );
    for (const pool of ['low', 'high'] as const) {
      assignWindows(
        found,
        pool,
        spanOf(bridge[pool], map[pool]),
        `make more room at ${bridge.path}`,
      );
    }
  } catch (error) {
    bridge.children.length = 0;
    throw error;
  }
  for (const root of found) yield* programTree(port, root);
  const nodes = found.flatMap((root) => [...root.subtree()]);
  const maxPayloadBytes = yield* payloadOf(port, bridge);
  yield* applyLinkSettings(port, nodes, { ...settings, maxPayloadBytes });
  yield* applyAcs(port, nodes);
  return nodes;
}

/** A bridge's window as the CPU and the bus have it. */
const spanOf = ({ base, limit }: BridgeWindow, { base: cpu, busBase }: BusSpan): BusSpan => ({
  base: physAddr(base - (busBase - cpu)),
  busBase: base,
  sizeBytes: limit - base,
});

function* payloadOf(port: ConfigPort, bridge: PciNode): Process<number> {
  const at = bridge.capabilities.get(CapabilityId.Pcie) ?? 0;
  const control = yield* new ConfigIo(port, bridge.bdf).read(at + Pcie.DevCtl, 2);
  return sizeFromCode(DevCtl.MaxPayload.get(control));
}
