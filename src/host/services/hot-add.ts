/**
 * Brings up what has come to stand below a port while the machine runs, within the bus numbers and windows that the
 * port keeps: nothing that was there before changes. [PCIE] 6.7, 7.3
 * @module
 */
import { physAddr } from '#emu/base/units.ts';
import { type EnumerationSettings, resizeBars } from '#emu/host/enumeration/bar-resize.ts';
import { scanBelow } from '#emu/host/enumeration/bus-scan.ts';
import { ConfigIo, type ConfigPort } from '#emu/host/enumeration/config-io.ts';
import { applyAcs, applyLinkSettings } from '#emu/host/enumeration/link-settings.ts';
import type { BridgeWindow, PciNode } from '#emu/host/enumeration/pci-node.ts';
import { assignWindows } from '#emu/host/enumeration/window-plan.ts';
import { programTree } from '#emu/host/enumeration/window-program.ts';
import type { BusSpan, HostBridgeMap } from '#emu/host/machine-spec.ts';
import { CapabilityId, DevCtl, Pcie, sizeFromCode } from '#emu/pcie/config/config-registers.ts';
import type { Process } from '#emu/sim/process.ts';

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
