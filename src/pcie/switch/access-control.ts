/**
 * Access control services of a port: which requests from below violate them, and whether one that aims at a peer
 * goes straight there or up to the root. Pure; the routers apply it. Model: functions of one device reach one another
 * over their link alone, so that only ports have services; ports serve no BARs of their own. [PCIE] 6.12.1.1, 7.7.11
 * @module
 */
import { AcsBit } from '#emu/pcie/config/config-registers.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { addressType, isIo, isMemory, type Tlp } from '#emu/pcie/tlp/tlp.ts';
import { AddressType } from '#emu/pcie/tlp/tlp-description.ts';

const { SV, TB, RR, CR, EC, DT, IB } = AcsBit;
/** Bits that can make a request a violation wherever it goes. */
const CHECKS = SV | TB | IB;
/** Bits that keep a request from its peer. */
const DETOURS = RR | EC;

/** Whether the requester's bus lies below this bridge: ACS Source Validation. [PCIE] 6.12.1.1 */
export const isBelow = (bridge: ConfigSpace, requester: number): boolean => {
  const bus = requester >>> 8;
  return bus >= bridge.secondary && bus <= bridge.subordinate;
};

/** Whether a port must not let a request from below in at all. [PCIE] 6.12.1.1 */
export function isViolation(bridge: ConfigSpace, tlp: Tlp): boolean {
  const checks = bridge.acs & CHECKS;
  if (checks === 0) return false;
  if ((checks & SV) !== 0 && !isBelow(bridge, tlp.requester)) return true;
  if ((checks & TB) !== 0 && isMemory(tlp) && addressType(tlp) !== AddressType.Untranslated) {
    return true;
  }
  return (checks & IB) !== 0 && isIo(tlp);
}

/** What ACS does to a request from below that aims at a peer port. [PCIE] 6.12.3 */
export const PeerPath = { Direct: 0, Redirect: 1, Violation: 2 } as const;
export type PeerPath = (typeof PeerPath)[keyof typeof PeerPath];

/**
 * Egress Control turns a blocked target into a redirect when Request Redirect is on too, and into a violation
 * otherwise; Request Redirect alone sends every peer request upstream. What an address translation cache has
 * translated already needs neither where Direct Translated is on.
 */
export function peerPath(ingress: ConfigSpace, targetPort: number, tlp: Tlp): PeerPath {
  const { acs } = ingress;
  if ((acs & DETOURS) === 0) return PeerPath.Direct;
  // Translation Blocking has refused it by now where that is on.
  if ((acs & DT) !== 0 && addressType(tlp) === AddressType.Translated) {
    return PeerPath.Direct;
  }
  if ((acs & EC) === 0) return PeerPath.Redirect;
  if (!ingress.acsEgressBlocked(targetPort)) return PeerPath.Direct;
  return (acs & RR) !== 0 ? PeerPath.Redirect : PeerPath.Violation;
}

/** Whether a port takes what comes up by it for a target below itself, and passes it on up. [PCIE] 6.12.1.1 */
export const forwardsUp = (bridge: ConfigSpace): boolean => (bridge.acs & AcsBit.UF) !== 0;

/** Whether a port sends a completion for a peer up, so that it cannot pass redirected writes. [PCIE] 6.12.1.1 */
export const redirectsCompletions = (bridge: ConfigSpace): boolean => (bridge.acs & CR) !== 0;

/** Whether a request for the switch's own window that no port claims goes up all the same. [PCIE] 6.12.1.1 */
export const redirectsUnclaimed = (bridge: ConfigSpace): boolean => (bridge.acs & AcsBit.URR) !== 0;
