/**
 * How a device reaches a peer's memory, from the topology and its ACS bits as last read: map type and
 * distance. Pure functions. [P2PDMA], [PCIE] 6.12
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import { MapType } from '#emu/dma/mapping.ts';
import { ACS_REDIRECT } from '#emu/pcie/config/config-registers.ts';
import type { PciFunctionView, PciView } from './pci-view.ts';

export interface P2pRoute {
  readonly type: MapType;
  /** Hops between the two, or -1 when one of them is not in the view. */
  readonly distance: number;
  /** Functions on the path below the common bridge, it included, that redirect; empty without one. */
  readonly acsRedirect: readonly Bdf[];
}

/**
 * Route from `client`, who makes requests, to the memory of `provider`. A common bridge allows bus addresses unless a
 * function on the way redirects; then, and without one, it takes the host bridge. The common
 * bridge itself counts as on the way. [P2PDMA]
 */
export function mapType(
  view: PciView,
  provider: Bdf,
  client: Bdf,
  hostBridgeAllowed: boolean,
): P2pRoute {
  const up = pathUp(view, provider);
  const down = pathUp(view, client);
  const through = hostBridgeAllowed ? MapType.ThruHostBridge : MapType.NotSupported;
  if (up.length === 0 || down.length === 0) {
    return { type: MapType.NotSupported, distance: -1, acsRedirect: [] };
  }
  const common = up.findIndex((bridge) => down.includes(bridge));
  if (common < 0) return { type: through, distance: up.length + down.length, acsRedirect: [] };
  const below = down.slice(0, down.indexOf(up[common]!));
  const onPath = [...up.slice(0, common + 1), ...below];
  const acsRedirect = onPath.filter(redirects).map((bridge) => bridge.bdf);
  const type = acsRedirect.length === 0 ? MapType.BusAddress : through;
  return { type, distance: common + below.length, acsRedirect };
}

/** Whether a function's ACS control sends peer requests up. */
export const redirects = (fn: PciFunctionView): boolean =>
  fn.acs !== null && (fn.acs & ACS_REDIRECT) !== 0;

/** The function and the bridges above it, nearest first; empty when it is not in the view. */
export function pathUp(view: PciView, from: Bdf): readonly PciFunctionView[] {
  const path: PciFunctionView[] = [];
  for (let at: Bdf | null = from; at !== null; ) {
    const bdf: Bdf = at;
    const fn = view.functions.find((candidate) => candidate.bdf === bdf);
    if (!fn || path.includes(fn)) break;
    path.push(fn);
    at = fn.parent;
  }
  return path;
}
