/**
 * What a port lets leave: nothing while its link is down, and no AtomicOp or TLP prefix that software blocks there.
 * Pure but for the decision. [PCIE] 2.9.1, 6.15.2, 2.2.10.4
 * @module
 */
import { type Decision, Verdict } from '#emu/pcie/component.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { Dpc } from '#emu/pcie/errors/dpc.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import { isAtomic, type Tlp, TlpFlag, TlpKind } from '#emu/pcie/tlp/tlp.ts';

const { MWr } = TlpKind;
const { EP, Pasid } = TlpFlag;
/** Flags that a port may have something against. */
const CHECKED = EP | Pasid;

const containmentOf = (port: Port): Dpc | null =>
  port.fabric.errorSites.get(port.path)?.dpc ?? null;

/** Forwards a TLP by `port`, whose function is `bridge`, or refuses it. */
export function leave(port: Port, bridge: ConfigSpace, tlp: Tlp, out: Decision): void {
  if (port.peer === null) refuseDown(port, out);
  else if (tlp.kind <= MWr && (tlp.flags & CHECKED) === 0) out.forward(port);
  else leaveChecked(port, bridge, tlp, out);
}

function leaveChecked(port: Port, bridge: ConfigSpace, tlp: Tlp, out: Decision): void {
  if (bridge.atomicEgressBlocking && isAtomic(tlp)) {
    out.refuse(Verdict.Unsupported, 'atomic-egress-blocked', port);
  } else if (bridge.prefixBlocking && (tlp.flags & Pasid) !== 0) {
    out.refuse(Verdict.Unsupported, 'prefix-blocked', port);
  } else if ((tlp.flags & EP) !== 0 && containmentOf(port)?.blocksPoisoned) {
    out.refuse(Verdict.Unsupported, 'poisoned-egress-blocked', port);
  } else {
    out.forward(port);
  }
}

/** Containment answers as software has chosen, and reports nothing more. [PCIE] 2.9.1, 2.9.3 */
function refuseDown(port: Port, out: Decision): void {
  const dpc = containmentOf(port);
  if (!dpc?.contained) return out.refuse(Verdict.Unsupported, 'link-down', port);
  const isAbort = dpc.refusal === DmaStatus.CompleterAbort;
  out.refuse(isAbort ? Verdict.Violation : Verdict.Unsupported, 'contained', port);
}
