/**
 * The way of peer requests port by port as software believes it, with what its choice of a map type rests on. Pure,
 * on the topology as last read; what the hardware does is another matter. [P2PDMA], [PCIE] 6.12
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import { MapType } from '#emu/dma/mapping.ts';
import {
  type CpuIdentity,
  type HostBridgeRule,
  type HostBridgeVerdict,
  hostBridgeVerdict,
} from './host-bridge-list.ts';
import { mapType, type P2pRoute, pathUp, redirects } from './p2p.ts';
import type { HostBridgeView, PciFunctionView, PciView } from './pci-view.ts';

/** What a function on the way does for requests of the client. */
export const HopRole = {
  Requester: 'requester',
  /** Takes them towards the root. */
  Up: 'up',
  /** The bridge above both, in which they turn. */
  Turn: 'turn',
  /** Turns them where no common bridge does. */
  HostBridge: 'host bridge',
  /** Takes them away from the root. */
  Down: 'down',
  Provider: 'provider',
} as const;
export type HopRole = (typeof HopRole)[keyof typeof HopRole];

export interface P2pHop {
  readonly bdf: Bdf;
  readonly role: HopRole;
  /** ACS Control, null without the capability. */
  readonly acs: number | null;
  /** Software counts its redirect against the direct way, and the function has one. */
  readonly isRedirect: boolean;
  /** On the way to the common bridge or from it, it included. */
  readonly isBelowCommon: boolean;
}

export interface P2pExplanation {
  readonly route: P2pRoute;
  /** Nearest bridge above both, or null. */
  readonly common: Bdf | null;
  /** From the client to the provider; across the common bridge only where the map type says so. */
  readonly hops: readonly P2pHop[];
  /** The client's host bridge, and the provider's where that is another. */
  readonly hostBridges: readonly HostBridgeView[];
  /** Whether software trusts them to forward peers. */
  readonly listed: HostBridgeVerdict;
}

/** Explains how software reaches the memory of `provider` from `client`; both are in the view. */
export function explainP2p(
  view: PciView,
  provider: Bdf,
  client: Bdf,
  list?: readonly HostBridgeRule[],
  cpu?: CpuIdentity,
): P2pExplanation {
  const listed = hostBridgeVerdict(view, provider, client, list, cpu);
  const route = mapType(view, provider, client, listed.allowed);
  const up = pathUp(view, client);
  const down = pathUp(view, provider);
  const common = up.find((fn) => down.includes(fn)) ?? null;
  const hostBridges = [...new Set([up[0], down[0]].flatMap((fn) => bridgeAbove(view, fn)))];
  const ways = { up, down, common, hostBridges };
  const isDirect = common !== null && route.type === MapType.BusAddress;
  const hops = isDirect ? across(ways, common) : throughRoot(ways);
  return { route, common: common?.bdf ?? null, hops, hostBridges, listed };
}

interface Ways {
  /** Each function with the bridges above it. */
  readonly up: readonly PciFunctionView[];
  readonly down: readonly PciFunctionView[];
  readonly common: PciFunctionView | null;
  readonly hostBridges: readonly HostBridgeView[];
}

function across({ up, down }: Ways, common: PciFunctionView): P2pHop[] {
  const below = (path: readonly PciFunctionView[]) => path.slice(0, path.indexOf(common));
  return [
    ...below(up).map((fn, i) => hop(fn, i === 0 ? HopRole.Requester : HopRole.Up, true)),
    hop(common, HopRole.Turn, true),
    ...below(down)
      .map((fn, i) => hop(fn, i === 0 ? HopRole.Provider : HopRole.Down, true))
      .reverse(),
  ];
}

function throughRoot({ up, down, common, hostBridges }: Ways): P2pHop[] {
  const leg = (path: readonly PciFunctionView[], end: HopRole, role: HopRole): P2pHop[] => {
    const turn = common === null ? -1 : path.indexOf(common);
    return path.map((fn, i) => hop(fn, i === 0 ? end : role, i <= turn));
  };
  const hosts = hostBridges.map(({ bdf }) => ({
    bdf,
    role: HopRole.HostBridge,
    acs: null,
    isRedirect: false,
    isBelowCommon: false,
  }));
  const back = leg(down, HopRole.Provider, HopRole.Down).reverse();
  return [...leg(up, HopRole.Requester, HopRole.Up), ...hosts, ...back];
}

const hop = (fn: PciFunctionView, role: HopRole, isBelowCommon: boolean): P2pHop => ({
  bdf: fn.bdf,
  role,
  acs: fn.acs,
  isRedirect: isBelowCommon && redirects(fn),
  isBelowCommon,
});

function bridgeAbove(view: PciView, fn: PciFunctionView | undefined): readonly HostBridgeView[] {
  const bridge = fn && view.hostBridges[fn.hostBridge];
  return bridge ? [bridge] : [];
}
