/**
 * Where a request or completion that reaches a root port goes: host memory, the doorbell, a root port of any
 * host bridge, or nowhere. Decides, in both fidelities alike; moves nothing. [PCIE] 1.3.1, 2.2.4, 6.12
 * @module
 */
import { bdfFromId, dmaAddr, type PhysAddr } from '#emu/base/units.ts';
import { type Decision, Verdict } from '#emu/pcie/component.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { forwardsUp, isViolation, PeerPath, peerPath } from '#emu/pcie/switch/access-control.ts';
import { inWindow } from '#emu/pcie/switch/bridge-table.ts';
import { leave } from '#emu/pcie/switch/egress-rules.ts';
import { completesAtomic } from '#emu/pcie/tlp/atomic-operation.ts';
import { DAMAGED, refuseDamaged } from '#emu/pcie/tlp/damage.ts';
import {
  addressType,
  FlowClass,
  isCompletion,
  isMemory,
  isMessage,
  type Tlp,
  TlpKind,
} from '#emu/pcie/tlp/tlp.ts';
import { AddressType } from '#emu/pcie/tlp/tlp-description.ts';
import { MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';
import { newTranslation, type Translator } from '#emu/pcie/translator.ts';
import { ROOT_BUS } from './host-bridge.ts';
import { PeerTreatment } from './peer-policy.ts';
import type { RootComplex } from './root-complex.ts';

export interface AddressSpan {
  readonly base: PhysAddr;
  readonly sizeBytes: number;
}

/** What serves a read that ends in the root complex. */
export const Service = { Memory: 0, Ones: 1, PeerReads: 2 } as const;
export type Service = (typeof Service)[keyof typeof Service];

const { Refuse, RefuseReads, OnesForReads, OwnReads } = PeerTreatment;

export class RootRouter {
  /** Beside the latest decision: what serves it, and the port that the peer stands behind. */
  service: Service = Service.Memory;
  peerPort: Port | null = null;
  readonly #root: RootComplex;
  readonly #dramBase: number;
  readonly #dramLimit: number;
  readonly #doorbellBase: number;
  readonly #doorbellLimit: number;
  readonly #translation = newTranslation();

  constructor(root: RootComplex, dram: AddressSpan, doorbell: AddressSpan) {
    this.#root = root;
    this.#dramBase = dram.base;
    this.#dramLimit = dram.base + dram.sizeBytes;
    this.#doorbellBase = doorbell.base;
    this.#doorbellLimit = doorbell.base + doorbell.sizeBytes;
  }

  decide(ingress: Port, tlp: Tlp, out: Decision): void {
    out.address = tlp.address;
    out.latencyPs = 0;
    this.service = Service.Memory;
    if (isMemory(tlp)) this.#memory(ingress, tlp, out);
    else if (isCompletion(tlp)) this.#completion(tlp, out);
    else if (isViolation(this.#root.bridges[ingress.index]!, tlp)) {
      out.refuse(Verdict.Violation, 'acs-violation');
    } else if (isMessage(tlp)) this.#message(ingress, tlp, out);
    else out.refuse(Verdict.Unsupported, 'unsupported-request');
    if ((tlp.flags & DAMAGED) !== 0 && !isCompletion(tlp)) {
      refuseDamaged(this.#root.fabric, ingress.path, tlp, out);
    }
  }

  isDoorbell(address: number): boolean {
    return address >= this.#doorbellBase && address < this.#doorbellLimit;
  }

  #memory(ingress: Port, tlp: Tlp, out: Decision): void {
    const bridge = this.#root.bridges[ingress.index]!;
    if (!bridge.busMaster) return out.refuse(Verdict.Unsupported, 'unsupported-request');
    if (isViolation(bridge, tlp)) return out.refuse(Verdict.Violation, 'acs-violation');
    if (!inWindow(bridge, tlp.address)) return this.#fromBelow(ingress.index, bridge, tlp, out);
    // Sent up although its target is below: a redirect, which only Upstream Forwarding lets pass.
    if (!forwardsUp(bridge)) out.refuse(Verdict.Unsupported, 'unsupported-request');
    else this.#redirected(ingress.index, ingress.index, tlp, out);
  }

  /**
   * The address is first one on the bus of the own host bridge, where it may be a peer's; any other is
   * translated, or the CPU's. Model: inbound windows cover everything that is no outbound window.
   */
  #fromBelow(from: number, bridge: ConfigSpace, tlp: Tlp, out: Decision): void {
    const { table, firstPort } = this.#root.hosts.ofPort(from);
    const local = table.find(tlp);
    if (local < 0) return this.#redirected(from, -1, tlp, out);
    const path = peerPath(bridge, local, tlp);
    if (path === PeerPath.Direct) this.#toPeer(from, firstPort + local, tlp, out);
    else if (path === PeerPath.Redirect) this.#redirected(from, firstPort + local, tlp, out);
    else out.refuse(Verdict.Violation, 'acs-violation');
  }

  /** Up to the translator; without one, a port that decodes the address on the own bus is the target. */
  #redirected(from: number, peer: number, tlp: Tlp, out: Decision): void {
    const { translator } = this.#root;
    // Model: the root complex serves no ATS, so it has neither answered nor will take a translated address.
    if (addressType(tlp) !== AddressType.Untranslated) {
      out.refuse(Verdict.Unsupported, 'unsupported-request');
    } else if (translator !== null) {
      if (this.#translate(translator, tlp, out)) this.#resolve(from, tlp, out);
    } else if (peer >= 0) this.#toPeer(from, peer, tlp, out);
    else this.#resolve(from, tlp, out);
  }

  #translate(translator: Translator, tlp: Tlp, out: Decision): boolean {
    const answer = this.#translation;
    const isWrite = tlp.kind !== TlpKind.MRd;
    translator.translate(bdfFromId(tlp.requester), dmaAddr(tlp.address), isWrite, answer);
    out.latencyPs = answer.latencyPs;
    if (!answer.fault) out.address = answer.address;
    if (answer.fault) out.refuse(Verdict.Unsupported, 'translation-fault');
    return !answer.fault;
  }

  /** What decodes a physical address: DRAM, the doorbell, or a root port of any host bridge. */
  #resolve(from: number, tlp: Tlp, out: Decision): void {
    const { address } = out;
    if (address >= this.#dramBase && address + tlp.sizeBytes <= this.#dramLimit) {
      if (tlp.kind <= TlpKind.MWr || this.#completes(from, tlp)) return out.local();
    }
    if (this.isDoorbell(address)) {
      const isWord = tlp.kind === TlpKind.MWr && tlp.sizeBytes === 4 && (address & 3) === 0;
      if (isWord) return out.local();
    }
    const peer = this.#root.hosts.resolve(out);
    if (peer < 0) out.refuse(Verdict.Unsupported, 'unsupported-request');
    else this.#toPeer(from, peer, tlp, out);
  }

  /** Whether a root port completes an AtomicOp at host memory. [PCIE] 6.15.3 */
  #completes(from: number, tlp: Tlp): boolean {
    const bridge = this.#root.bridges[from];
    return bridge !== undefined && completesAtomic(bridge, tlp);
  }

  #toPeer(from: number, to: number, tlp: Tlp, out: Decision): void {
    const port = this.#root.ports[to];
    const bridge = this.#root.bridges[to];
    if (!port || !bridge) return out.refuse(Verdict.Unsupported, 'unsupported-request');
    leave(port, bridge, tlp, out);
    if (out.verdict !== Verdict.Forward) return;
    const treatment = this.#root.peers.treatment(from, to);
    if (treatment !== PeerTreatment.Forward) this.#treat(treatment, port, tlp, out);
  }

  /** A pair with a policy of its own. */
  #treat(treatment: number, port: Port, tlp: Tlp, out: Decision): void {
    const isPosted = tlp.flowClass === FlowClass.Posted;
    const isRead = tlp.kind === TlpKind.MRd;
    if (treatment === Refuse || (treatment === RefuseReads && !isPosted)) {
      out.refuse(Verdict.Unsupported, 'peer-refused');
    } else if (isRead && (treatment === OnesForReads || treatment === OwnReads)) {
      this.service = treatment === OwnReads ? Service.PeerReads : Service.Ones;
      this.peerPort = port;
      out.local();
    } else {
      out.forward(port);
    }
  }

  /** By ID between root ports like a completion; everything else from below ends here. [PCIE] 2.2.8 */
  #message(ingress: Port, tlp: Tlp, out: Decision): void {
    const { ById, ToRoot, Local, Gather } = MessageRouting;
    if (tlp.routing === ToRoot || tlp.routing === Local || tlp.routing === Gather)
      return out.local();
    const found = tlp.routing === ById ? this.#root.hosts.findBus(tlp.targetId >>> 8) : -1;
    if (found === ROOT_BUS) return out.local();
    const port = this.#root.ports[found];
    if (port?.peer && port !== ingress) out.forward(port);
    else out.refuse(Verdict.Unsupported, 'unsupported-request');
  }

  #completion(tlp: Tlp, out: Decision): void {
    const { hosts, ports } = this.#root;
    const found = hosts.findBus(tlp.targetId >>> 8);
    if (found === ROOT_BUS) return out.local();
    const port = ports[found];
    if (port?.peer) out.forward(port);
    else out.refuse(Verdict.Drop, 'unexpected-completion');
  }
}
