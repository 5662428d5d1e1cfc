/**
 * Messages at a switch: routed to the root, by ID, to everybody below, to this port only, or gathered.
 * [PCIE] 2.2.8
 * @module
 */
import { bdfFromId } from '#emu/base/units.ts';
import { type Decision, Verdict } from '#emu/pcie/component.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { MessageInbox, passMessageOn } from '#emu/pcie/tlp/message.ts';
import type { Tlp } from '#emu/pcie/tlp/tlp.ts';
import { MessageCode, MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
import { isBelow, PeerPath, peerPath } from './access-control.ts';

const { ToRoot, ById, Broadcast, Local, Gather } = MessageRouting;
const { ERR_COR, ERR_NONFATAL, ERR_FATAL } = MessageCode;

/** The parts of a switch that its messages need; the upstream port comes first in both. */
interface SwitchParts {
  readonly ports: readonly Port[];
  readonly bridges: readonly ConfigSpace[];
}

export class SwitchMessages {
  /** Messages that end here; local ones of a downstream port among them, such as INTx. */
  readonly inbox = new MessageInbox();
  readonly #switch: SwitchParts;
  /** Bit i is set when port i has given the message that is being gathered. */
  #gathered = 0;

  constructor(parts: SwitchParts) {
    this.#switch = parts;
  }

  decide(ingress: Port, tlp: Tlp, out: Decision): void {
    const { routing } = tlp;
    const isFromAbove = ingress.index === 0;
    if (routing === ById) return this.#byId(ingress, tlp, out);
    if (routing === Local) return out.local();
    if (routing === Broadcast && isFromAbove) return out.local();
    if (routing === Gather && !isFromAbove) return out.local();
    if (routing === ToRoot && !isFromAbove) return this.#toRoot(ingress, tlp, out);
    out.refuse(Verdict.Unsupported, 'unsupported-request');
  }

  /** Takes a message that ends here; false when it is an Unsupported Request. */
  accept(ingress: Port, tlp: Tlp): boolean {
    if (tlp.routing === Gather) this.#gather(ingress, tlp);
    if (tlp.routing === Broadcast) this.#broadcast(tlp);
    return this.inbox.deliver(ingress, tlp);
  }

  /** Error messages pass two bridges, each of which software may have told to keep them. */
  #toRoot(ingress: Port, tlp: Tlp, out: Decision): void {
    const code = tlp.messageCode;
    if (code === ERR_COR || code === ERR_NONFATAL || code === ERR_FATAL) {
      const { errorSites } = ingress.fabric;
      const source = bdfFromId(tlp.requester);
      const passes = [ingress, ...this.#switch.ports.slice(0, 1)].every(
        ({ path }) => errorSites.get(path)?.passes(code, source) ?? true,
      );
      if (!passes) {
        out.verdict = Verdict.Swallow;
        return;
      }
    }
    this.#leaveBy(0, out);
  }

  #byId(ingress: Port, tlp: Tlp, out: Decision): void {
    const { bridges } = this.#switch;
    const id = tlp.targetId;
    if (this.#isOwn(id)) return out.local();
    const below = bridges.findIndex((bridge, i) => i > 0 && isBelow(bridge, id));
    const target = below < 0 ? 0 : below;
    if (target === ingress.index) return out.refuse(Verdict.Unsupported, 'unsupported-request');
    if (target === 0 || ingress.index === 0) return this.#leaveBy(target, out);
    const path = peerPath(bridges[ingress.index]!, target, tlp);
    if (path === PeerPath.Violation) return out.refuse(Verdict.Violation, 'acs-violation');
    this.#leaveBy(path === PeerPath.Direct ? target : 0, out);
  }

  #isOwn(id: number): boolean {
    const [upstream] = this.#switch.bridges;
    if (!upstream) return false;
    if (id === upstream.primary << 8) return true;
    const device = (id >>> 3) & 31;
    const isInternal = id >>> 8 === upstream.secondary && (id & 7) === 0;
    return isInternal && device + 1 < this.#switch.bridges.length;
  }

  #leaveBy(index: number, out: Decision): void {
    const port = this.#switch.ports[index];
    if (port?.peer) out.forward(port);
    else out.refuse(Verdict.Unsupported, 'unsupported-request');
  }

  #broadcast(tlp: Tlp): void {
    for (const port of this.#switch.ports) {
      if (port.index > 0 && port.peer) passMessageOn(port, tlp);
    }
  }

  /** One message goes up when every port with something below has given one. [PCIE] 5.3.3.2.1 */
  #gather(ingress: Port, tlp: Tlp): void {
    const [upstream, ...downstream] = this.#switch.ports;
    this.#gathered |= 1 << ingress.index;
    const isMissing = downstream.some(
      ({ index, peer }) => peer !== null && (this.#gathered & (1 << index)) === 0,
    );
    if (isMissing || !upstream) return;
    this.#gathered = 0;
    passMessageOn(upstream, tlp);
  }
}
