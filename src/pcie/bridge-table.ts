/**
 * Which downstream port of a component claims an address or a bus: the decoded windows and bus ranges of
 * all its bridges in flat arrays. [PCIE] 7.5.1.3
 * @module
 */
import type { ConfigSpace } from './config-space.ts';

const CLOSED_BASE = Number.MAX_SAFE_INTEGER;
const BUSES = 256;

export class BridgeTable {
  readonly #bridges: readonly ConfigSpace[];
  /** Two windows a bridge: memory, then prefetchable; limits inclusive. */
  readonly #base: Float64Array;
  readonly #limit: Float64Array;
  readonly #busOwner = new Int16Array(BUSES);

  /** @param bridges type 1 functions, in port order */
  constructor(bridges: readonly ConfigSpace[]) {
    this.#bridges = bridges;
    this.#base = new Float64Array(2 * bridges.length);
    this.#limit = new Float64Array(2 * bridges.length);
    this.refresh();
  }

  /** Reads every bridge again; call after a configuration write to one of them. */
  refresh(): void {
    this.#busOwner.fill(-1);
    for (let i = this.#bridges.length - 1; i >= 0; i--) {
      const bridge = this.#bridges[i];
      if (!bridge) continue;
      this.#window(2 * i, bridge.memoryEnable, bridge.memBase, bridge.memLimit);
      this.#window(2 * i + 1, bridge.memoryEnable, bridge.prefBase, bridge.prefLimit);
      if (bridge.secondary === 0) continue;
      this.#busOwner.fill(i, bridge.secondary, bridge.subordinate + 1);
    }
  }

  /** Index of the bridge whose open window holds `address`, or -1. */
  findAddress(address: number): number {
    const base = this.#base;
    const limit = this.#limit;
    for (let i = 0; i < base.length; i++) {
      if (address >= (base[i] ?? 0) && address <= (limit[i] ?? 0)) return i >> 1;
    }
    return -1;
  }

  /** Index of the bridge whose secondary to subordinate range holds `bus`, or -1. */
  findBus(bus: number): number {
    return this.#busOwner[bus] ?? -1;
  }

  #window(slot: number, enabled: boolean, base: number, limit: number): void {
    const open = enabled && base <= limit;
    this.#base[slot] = open ? base : CLOSED_BASE;
    this.#limit[slot] = open ? limit : 0;
  }
}

/** Whether the requester's bus lies below this bridge: ACS Source Validation. [PCIE] 6.12.1.1 */
export const isBelow = (bridge: ConfigSpace, requester: number): boolean => {
  const bus = requester >>> 8;
  return bus >= bridge.secondary && bus <= bridge.subordinate;
};

/** Whether an address lies in one of a bridge's own windows. */
export const inWindow = (bridge: ConfigSpace, address: number): boolean =>
  bridge.memoryEnable &&
  ((address >= bridge.memBase && address <= bridge.memLimit) ||
    (address >= bridge.prefBase && address <= bridge.prefLimit));

/** What ACS does to a request from below that aims at a peer port. [PCIE] 6.12.3 */
export const PeerPath = { Direct: 0, Redirect: 1, Violation: 2 } as const;
export type PeerPath = (typeof PeerPath)[keyof typeof PeerPath];

/**
 * Egress Control turns a blocked target into a redirect when Request Redirect is on too, and into a
 * violation otherwise; Request Redirect alone sends every peer request upstream.
 */
export function peerPath(ingress: ConfigSpace, targetPort: number): PeerPath {
  if (ingress.acsEgressControl) {
    if (!ingress.acsEgressBlocked(targetPort)) return PeerPath.Direct;
    return ingress.acsRequestRedirect ? PeerPath.Redirect : PeerPath.Violation;
  }
  return ingress.acsRequestRedirect ? PeerPath.Redirect : PeerPath.Direct;
}
