/**
 * A PCI Express switch: one upstream port, downstream ports, and the routing between them with bridge windows
 * and access control services. Routes; never touches payload. [PCIE] 2.2.4, 6.12, 7.3
 * @module
 */
import { type Bdf, bdfFromId } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { type Component, Decision, Verdict } from '#emu/pcie/component.ts';
import { setLinkDown, setLinkUp } from '#emu/pcie/config/capabilities.ts';
import {
  accessConfig,
  answerConfig,
  answerError,
  configValue,
} from '#emu/pcie/config/config-access.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { type IntxWires, switchIntx } from '#emu/pcie/config/intx-wires.ts';
import { addSwitchErrors } from '#emu/pcie/errors/error-registers.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import { FULL_CREDITS } from '#emu/pcie/link/link.ts';
import { PayloadLimit } from '#emu/pcie/link/payload-limit.ts';
import { Port } from '#emu/pcie/link/port.ts';
import { DmaStatus } from '#emu/pcie/tlp/dma-status.ts';
import {
  FlowClass,
  isCompletion,
  isConfig,
  isMessage,
  isRelaxed,
  isType1Config,
  type Tlp,
  TlpFlag,
  TlpKind,
  toType0,
} from '#emu/pcie/tlp/tlp.ts';
import {
  forwardsUp,
  isViolation,
  PeerPath,
  peerPath,
  redirectsCompletions,
  redirectsUnclaimed,
} from './access-control.ts';
import { BridgeTable, inAperture } from './bridge-table.ts';
import { leave } from './egress-rules.ts';
import { HotReset, passReset } from './hot-reset.ts';
import { SwitchMessages } from './switch-messages.ts';

export const DEFAULT_SWITCH_LATENCY_PS = 105_000;
const UPSTREAM = 0;
const { IOWr } = TlpKind;
const { EP } = TlpFlag;

export interface SwitchOptions {
  /** From the first byte at a port to the decision, ps. Default 105 ns. */
  readonly latencyPs?: number;
  /** Forward before the tail has arrived. Default true. */
  readonly cutThrough?: boolean;
  /** Type 1 functions: the upstream port's first, then each downstream port's. */
  readonly bridges: readonly ConfigSpace[];
  /** Paths of the ports, in the same order. */
  readonly portPaths: readonly string[];
}

export class Switch implements Component {
  readonly path: string;
  readonly index: number;
  /** Upstream port first. */
  readonly ports: readonly Port[];
  readonly bridges: readonly ConfigSpace[];
  /** Messages that end here go to its `inbox`. */
  readonly messages: SwitchMessages;
  readonly #fabric: Fabric;
  readonly #downstream: BridgeTable;
  readonly #intx: IntxWires;
  readonly #decision = new Decision();

  constructor(fabric: Fabric, path: string, options: SwitchOptions) {
    this.path = path;
    this.bridges = options.bridges;
    this.#fabric = fabric;
    this.index = fabric.nextIndex();
    const portOptions = {
      credits: FULL_CREDITS,
      ingressLatencyPs: options.latencyPs ?? DEFAULT_SWITCH_LATENCY_PS,
      cutThrough: options.cutThrough ?? true,
    };
    this.ports = options.bridges.map(
      (_, i) => new Port(fabric, this, i, options.portPaths[i] ?? `${path}.${i}`, portOptions),
    );
    this.messages = new SwitchMessages(this);
    addSwitchErrors(fabric, this);
    const id = (): Bdf => bdfFromId(this.#idOf(this.upstream));
    this.#intx = switchIntx(this.ports, this.messages.inbox, id);
    for (const port of this.ports.slice(1)) new HotReset(port, this.#bridge(port.index));
    for (const port of this.ports) new PayloadLimit(port, [this.#bridge(port.index)]);
    this.#downstream = new BridgeTable(options.bridges.slice(1));
    const refresh = (): void => this.#downstream.refresh();
    for (const bridge of options.bridges.slice(1)) bridge.onWrite = refresh;
  }

  get upstream(): Port {
    return this.#port(UPSTREAM);
  }

  decide(ingress: Port, tlp: Tlp, out: Decision): void {
    out.address = tlp.address;
    out.latencyPs = 0;
    if (tlp.kind <= IOWr) {
      if (ingress.index === UPSTREAM) this.#fromAbove(tlp, out);
      else this.#fromBelow(ingress, tlp, out);
    } else if (isCompletion(tlp)) {
      this.#completion(ingress, tlp, out);
    } else if (isMessage(tlp)) {
      this.#message(ingress, tlp, out);
    } else {
      this.#config(ingress, tlp, out);
    }
    if ((tlp.flags & EP) !== 0 && out.verdict === Verdict.Forward) {
      this.#fabric.forwardsPoison(ingress.path, tlp);
    }
  }

  receive(ingress: Port, tlp: Tlp): void {
    const decision = this.#decision;
    this.decide(ingress, tlp, decision);
    if (decision.verdict === Verdict.Forward && decision.port !== null) {
      decision.port.send(tlp);
    } else {
      this.#finish(ingress, tlp, decision);
    }
  }

  sent(): void {
    // A switch queues whatever it is given: its queues are bounded by the credits it advertises.
  }

  configure(_ingress: Port, tlp: Tlp, value: number): number {
    const bridge = this.#localBridge(tlp);
    return bridge === null ? 0 : accessConfig(bridge, tlp, value);
  }

  message(ingress: Port, tlp: Tlp): void {
    this.#fabric.arrived(this.path, this.index, tlp);
    if (this.messages.accept(ingress, tlp)) return;
    this.#fabric.refuse(ingress.path, 'unsupported-request', tlp);
  }

  linkChanged(port: Port, isUp: boolean): void {
    const bridge = this.#bridge(port.index);
    if (isUp && port.link !== null) setLinkUp(bridge, port.link);
    else setLinkDown(bridge);
    port.slot?.linkChanged();
    if (port.index !== UPSTREAM) {
      if (!isUp) this.#intx.release(port.index);
      return;
    }
    if (!isUp) this.reset();
    passReset(this.ports.slice(1), isUp);
  }

  /** Puts every port back as a conventional reset does. */
  reset(): void {
    for (const bridge of this.bridges) bridge.reset();
    this.#intx.reset();
    this.#downstream.refresh();
  }

  store(tlp: Tlp): number {
    return tlp.sizeBytes;
  }

  load(tlp: Tlp, _decision: Decision, into: SparseMemory, at: number): number {
    into.fill(at, tlp.sizeBytes, 0xff);
    return tlp.sizeBytes;
  }

  #fromAbove(tlp: Tlp, out: Decision): void {
    const down = inAperture(this.#bridge(UPSTREAM), tlp) ? this.#downstream.find(tlp) : -1;
    if (down < 0) out.refuse(Verdict.Unsupported, 'unsupported-request');
    else this.#down(down + 1, tlp, out);
  }

  #fromBelow(ingress: Port, tlp: Tlp, out: Decision): void {
    const bridge = this.#bridge(ingress.index);
    if (!bridge.busMaster) return out.refuse(Verdict.Unsupported, 'unsupported-request');
    if (isViolation(bridge, tlp)) return out.refuse(Verdict.Violation, 'acs-violation');
    const target = this.#downstream.find(tlp) + 1;
    if (target === 0) return this.#unclaimed(bridge, tlp, out);
    if (target === ingress.index) {
      // The target is below this very port: only a redirect further down explains it.
      if (forwardsUp(bridge)) return this.#up(tlp, out);
      return out.refuse(Verdict.Unsupported, 'unsupported-request');
    }
    const path = peerPath(bridge, target, tlp);
    if (path === PeerPath.Direct) this.#down(target, tlp, out);
    else if (path === PeerPath.Redirect) this.#up(tlp, out);
    else out.refuse(Verdict.Violation, 'acs-violation');
  }

  /** No port claims it: what lies in the switch's own window would only come back. [PCIE] 6.12.1.1 */
  #unclaimed(ingress: ConfigSpace, tlp: Tlp, out: Decision): void {
    if (!inAperture(this.#bridge(UPSTREAM), tlp) || redirectsUnclaimed(ingress)) this.#up(tlp, out);
    else out.refuse(Verdict.Unsupported, 'unsupported-request');
  }

  #message(ingress: Port, tlp: Tlp, out: Decision): void {
    const isBad = ingress.index !== UPSTREAM && isViolation(this.#bridge(ingress.index), tlp);
    if (isBad) out.refuse(Verdict.Violation, 'acs-violation');
    else this.messages.decide(ingress, tlp, out);
  }

  #completion(ingress: Port, tlp: Tlp, out: Decision): void {
    const target = this.#downstream.findBus(tlp.targetId >>> 8) + 1;
    if (ingress.index === UPSTREAM) {
      if (target === 0) out.refuse(Verdict.Drop, 'unexpected-completion');
      else this.#down(target, tlp, out);
      return;
    }
    const bridge = this.#bridge(ingress.index);
    const isPeer = target !== 0 && target !== ingress.index;
    if (target === ingress.index) {
      if (forwardsUp(bridge)) out.forward(this.upstream);
      else out.refuse(Verdict.Drop, 'unexpected-completion');
    } else if (isPeer && !(redirectsCompletions(bridge) && !isRelaxed(tlp))) {
      this.#down(target, tlp, out);
    } else {
      out.forward(this.upstream);
    }
  }

  #config(ingress: Port, tlp: Tlp, out: Decision): void {
    if (ingress.index !== UPSTREAM) {
      return out.refuse(Verdict.Unsupported, 'unsupported-request');
    }
    if (this.#localBridge(tlp) !== null) return out.local();
    const bus = tlp.targetId >>> 8;
    const down = isType1Config(tlp) ? this.#downstream.findBus(bus) : -1;
    if (down < 0) return out.refuse(Verdict.Unsupported, 'unsupported-request');
    const bridge = this.#bridge(down + 1);
    const isLast = bus === bridge.secondary;
    // Only device 0 can stand below a downstream port, unless its number is part of the function's. [PCIE] 7.3.1, 6.13
    if (isLast && !bridge.ariForwarding && ((tlp.targetId >>> 3) & 31) !== 0) {
      return out.refuse(Verdict.Unsupported, 'unsupported-request');
    }
    if (isLast) toType0(tlp);
    this.#down(down + 1, tlp, out);
  }

  /** The own function that a configuration request addresses, or null. */
  #localBridge(tlp: Tlp): ConfigSpace | null {
    if (!isConfig(tlp)) return null;
    if (!isType1Config(tlp)) return (tlp.targetId & 0xff) === 0 ? this.#bridge(UPSTREAM) : null;
    if (tlp.targetId >>> 8 !== this.#bridge(UPSTREAM).secondary) return null;
    const device = (tlp.targetId >>> 3) & 31;
    const isDownstream = device + 1 < this.bridges.length && (tlp.targetId & 7) === 0;
    return isDownstream ? this.#bridge(device + 1) : null;
  }

  #up(tlp: Tlp, out: Decision): void {
    const bridge = this.#bridge(UPSTREAM);
    if (!bridge.busMaster) out.refuse(Verdict.Unsupported, 'unsupported-request');
    else leave(this.upstream, bridge, tlp, out);
  }

  #down(index: number, tlp: Tlp, out: Decision): void {
    leave(this.#port(index), this.#bridge(index), tlp, out);
  }

  /** Ends a TLP here: answers what wants an answer and gives the record and its buffer back. */
  #finish(ingress: Port, tlp: Tlp, decision: Decision): void {
    const { tlps } = this.#fabric;
    const completer = this.#idOf(ingress);
    if (decision.verdict === Verdict.Local && isMessage(tlp)) {
      this.message(ingress, tlp);
    } else if (decision.verdict === Verdict.Local) {
      this.#fabric.arrived(this.path, this.index, tlp);
      const value = this.configure(ingress, tlp, configValue(tlp));
      ingress.send(answerConfig(tlps, tlp, tlp.targetId, value));
    } else if (decision.verdict !== Verdict.Swallow) {
      this.#fabric.refuse((decision.site ?? ingress).path, decision.error, tlp);
      if (tlp.flowClass === FlowClass.NonPosted) {
        const status =
          decision.verdict === Verdict.Violation
            ? DmaStatus.CompleterAbort
            : DmaStatus.UnsupportedRequest;
        ingress.send(answerError(tlps, tlp, completer, status));
      }
    }
    ingress.release(tlp);
    tlps.give(tlp);
  }

  /** Requester ID of the function behind a port, from the bus numbers that software wrote. */
  #idOf(port: Port): number {
    const upstream = this.#bridge(UPSTREAM);
    if (port.index === UPSTREAM) return upstream.primary << 8;
    return (upstream.secondary << 8) | ((port.index - 1) << 3);
  }

  #port(index: number): Port {
    const port = this.ports[index];
    if (!port) throw new RangeError(`${this.path} has no port ${index}`);
    return port;
  }

  #bridge(index: number): ConfigSpace {
    const bridge = this.bridges[index];
    if (!bridge) throw new RangeError(`${this.path} has no bridge ${index}`);
    return bridge;
  }
}
