/**
 * One end of a link: queues what leaves, spends the receiver's credits, serialises, and hands what
 * arrives to its owner. One class for every kind of port. [PCIE] 2.6, 4.2
 * @module
 */
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import type { Component } from './component.ts';
import { CreditReturns } from './credit-returns.ts';
import { DataLink } from './data-link.ts';
import { EgressQueue } from './egress-queue.ts';
import type { Fabric } from './fabric.ts';
import { type Credits, DEFAULT_PROPAGATION_PS, type LinkSpec, serialisationTable } from './link.ts';
import { type FlowClass, Tlp } from './tlp.ts';

const Op = { Arrive: 0, Pump: 1 } as const;

/** Slots of {@link Port.counters}: everything that left by this port. */
export const LinkCounter = {
  tlps: 0,
  wireBytes: 1,
  /** Payload of user data. */
  dataBytes: 2,
  /** Payload of queue entries, lists, doorbells, interrupts and configuration. */
  controlBytes: 3,
} as const;

/** Time from freeing a receive buffer to the sender's use of its credits, without the way back, ps. */
const UPDATE_FC_PS = 4_000;

export interface PortOptions {
  /** Credits that this port advertises for its receive buffers. */
  readonly credits: Credits;
  /** Time from arrival to the owner's decision, ps. */
  readonly ingressLatencyPs?: number;
  /** Decide once the header is there and forward before the tail is. */
  readonly cutThrough?: boolean;
}

export class Port implements Target {
  readonly path: string;
  readonly owner: Component;
  /** Position among the owner's ports. */
  readonly index: number;
  readonly fabric: Fabric;
  readonly options: PortOptions;
  readonly counters = new Float64Array(4);
  link: LinkSpec | null = null;
  #peer: Port | null = null;
  readonly #queue = new EgressQueue();
  #serialisation: Int32Array = new Int32Array(0);
  #propagationPs = 0;
  #headerPs = 0;
  #busyUntil = -0.5;
  #pumpPending = false;
  #pumping = false;
  /** Waiting for credits that nobody has returned yet. */
  #starved = false;
  /** Available at the peer, by flow class; infinite is Number.MAX_SAFE_INTEGER, so never consumed. */
  readonly #headers = new Float64Array(3);
  readonly #data = new Float64Array(3);
  /** Null while the link charges neither DLLPs nor errors. */
  #dataLink: DataLink | null = null;
  readonly #returns: CreditReturns;
  readonly #clock: Float64Array;

  constructor(fabric: Fabric, owner: Component, index: number, path: string, options: PortOptions) {
    this.fabric = fabric;
    this.#clock = fabric.kernel.clock;
    this.#returns = new CreditReturns(this.#clock);
    this.owner = owner;
    this.index = index;
    this.path = path;
    this.options = options;
  }

  /** The other end; null when nothing is plugged in. */
  get peer(): Port | null {
    return this.#peer;
  }

  /** Acks, replays and retrainings of this direction; null when the link charges none. */
  get dataLink(): DataLink | null {
    return this.#dataLink;
  }

  /** TLPs of a class that wait here. */
  queued(flowClass: FlowClass): number {
    return this.#queue.countOf(flowClass);
  }

  /** Everything that waits here. */
  get backlog(): number {
    return this.#queue.count;
  }

  /** Credits available for a class right now: headers and 16-byte data units. */
  credits(flowClass: FlowClass): { headers: number; data: number } {
    this.#collect();
    return { headers: this.#headers[flowClass] ?? 0, data: this.#data[flowClass] ?? 0 };
  }

  /** Joins two ports by a link that is already trained. */
  static connect(a: Port, b: Port, link: LinkSpec): void {
    a.#attach(b, link);
    b.#attach(a, link);
  }

  #attach(peer: Port, link: LinkSpec): void {
    this.#peer = peer;
    this.link = link;
    this.#serialisation = serialisationTable(link);
    this.#propagationPs = link.propagationPs ?? DEFAULT_PROPAGATION_PS;
    this.#headerPs = this.#serialisation[24 / 4] ?? 0;
    if (link.overheads || link.bitErrorRate) {
      const { kernel, tlps } = this.fabric;
      const random = kernel.random(`${this.path} link`);
      this.#dataLink = new DataLink(link, this.#propagationPs, tlps.slotBytes, random);
    }
    const { PH, PD, NPH, NPD, CplH, CplD } = peer.options.credits;
    const start = (advertised: number): number =>
      advertised === 0 ? Number.MAX_SAFE_INTEGER : advertised;
    this.#headers.set([start(PH), start(NPH), start(CplH)]);
    this.#data.set([start(PD), start(NPD), start(CplD)]);
  }

  /** Queues a TLP and sends it when order, credits and the wire allow. */
  send(tlp: Tlp): void {
    const peer = this.#peer;
    if (peer !== null && this.#idle()) {
      // An idle wire and an empty queue: most TLPs of a switch leave at once.
      this.#collect();
      if (this.#affordable(tlp)) {
        this.#pumping = true;
        this.#transmit(tlp, peer);
        this.#pumping = false;
        if (this.#queue.count > 0) this.#pump();
        return;
      }
    }
    this.#queue.push(tlp);
    if (!this.#pumpPending && !this.#pumping) this.#pump();
  }

  handle(op: number, arg: EventArg): void {
    if (op === Op.Arrive) {
      if (this.#dataLink !== null) this.#acknowledge(this.#dataLink);
      if (arg instanceof Tlp) this.owner.receive(this, arg);
      return;
    }
    this.#pumpPending = false;
    this.#pump();
  }

  /** Frees the receive buffer that `tlp` took here, so the sender gets its credits back. */
  release(tlp: Tlp): void {
    const sender = this.#peer;
    if (sender === null) return;
    tlp.ingress = null;
    const delayPs = UPDATE_FC_PS + this.#propagationPs;
    sender.#returned(tlp.flowClass, tlp.dataCredits, delayPs);
  }

  /** Adds what crossed in functional fidelity, where no TLP is built. */
  count(tlp: Tlp): void {
    const { counters } = this;
    const bytes = tlp.payloadBytes;
    if (tlp.purpose === 0) counters[2] = counters[2]! + bytes;
    else counters[3] = counters[3]! + bytes;
  }

  #returned(flowClass: FlowClass, dataCredits: number, delayPs: number): void {
    const { kernel } = this.fabric;
    this.#returns.push(delayPs, flowClass, dataCredits);
    if (this.#starved && !this.#pumpPending) {
      this.#starved = false;
      this.#pumpPending = true;
      kernel.schedule(delayPs, this, Op.Pump, null);
    }
  }

  /** Moves credits that have arrived by now to the available ones. */
  #collect(): void {
    this.#returns.collect(this.#headers, this.#data);
  }

  #pump(): void {
    if (this.#peer === null) return this.#discard();
    this.#pumping = true;
    while (this.#queue.count > 0) {
      const wait = this.#busyUntil - this.#clock[0]!;
      if (wait > 0) {
        this.#wake(wait);
        break;
      }
      this.#collect();
      const tlp = this.#next();
      if (tlp === null) {
        this.#starve();
        break;
      }
      this.#queue.drop(tlp.flowClass);
      this.#transmit(tlp, this.#peer);
    }
    this.#pumping = false;
  }

  /** The TLP to send next by order and credits, or null. */
  #next(): Tlp | null {
    const queue = this.#queue;
    const only = queue.onlyHead();
    if (only !== null) return this.#affordable(only) ? only : null;
    let blocked = 0;
    for (let flowClass = 0; flowClass < 3; flowClass++) {
      const head = queue.head(flowClass);
      if (head !== null && !this.#affordable(head)) blocked |= 1 << flowClass;
    }
    return queue.next(blocked);
  }

  /** Nothing is queued, on the wire or waiting for its time. */
  #idle(): boolean {
    const free = this.#queue.count === 0 && !this.#pumpPending && !this.#pumping;
    return free && this.#busyUntil <= this.#clock[0]!;
  }

  #affordable(tlp: Tlp): boolean {
    const { flowClass } = tlp;
    return this.#headers[flowClass]! >= 1 && this.#data[flowClass]! >= tlp.dataCredits;
  }

  #transmit(tlp: Tlp, peer: Port): void {
    const { kernel, probe } = this.fabric;
    const now = this.#clock[0]!;
    const serialisePs = this.#serialisation[tlp.wireBytes >> 2]!;
    // A cut-through owner may have decided before the tail arrived: the tail bounds how early this ends.
    let start: number = now;
    if (tlp.ingress !== null && tlp.tailReadyPs - serialisePs > start) {
      start = Math.ceil(tlp.tailReadyPs - serialisePs);
    }
    if (this.#dataLink !== null) start += this.#replay(this.#dataLink, tlp, serialisePs);
    this.#busyUntil = start + serialisePs;
    this.#spend(tlp);
    if (tlp.ingress !== null) tlp.ingress.release(tlp);
    this.#countSent(tlp);
    if (probe !== null) probe.sent(this, tlp);
    const { ingressLatencyPs = 0, cutThrough = false } = peer.options;
    const wholePs = serialisePs + this.#propagationPs + ingressLatencyPs;
    const headPs = cutThrough ? this.#headerPs + this.#propagationPs + ingressLatencyPs : wholePs;
    tlp.ingress = peer;
    tlp.tailReadyPs = start + wholePs;
    const lead = Math.min(headPs, wholePs);
    kernel.schedule(start - now + lead, peer, Op.Arrive, tlp);
    this.owner.sent(this, tlp.flowClass);
  }

  /** Time lost to replays before the transmission that arrives undamaged. */
  #replay(dataLink: DataLink, tlp: Tlp, serialisePs: number): number {
    const replays = dataLink.replays(tlp.wireBytes);
    if (replays === 0) return 0;
    this.counters[LinkCounter.wireBytes]! += replays * tlp.wireBytes;
    return dataLink.replayPs(replays, serialisePs);
  }

  /** DLLPs for what has arrived take their share of this direction. */
  #acknowledge(dataLink: DataLink): void {
    const now = this.#clock[0]!;
    const owedPs = dataLink.owedPs(now);
    if (owedPs > 0) this.#busyUntil = Math.max(this.#busyUntil, now) + owedPs;
  }

  #spend(tlp: Tlp): void {
    const { flowClass } = tlp;
    const headers = this.#headers[flowClass]!;
    if (headers < Number.MAX_SAFE_INTEGER) this.#headers[flowClass] = headers - 1;
    const data = this.#data[flowClass]!;
    if (data < Number.MAX_SAFE_INTEGER) this.#data[flowClass] = data - tlp.dataCredits;
  }

  #countSent(tlp: Tlp): void {
    const { counters } = this;
    this.fabric.hops++;
    counters[0] = counters[0]! + 1;
    counters[1] = counters[1]! + tlp.wireBytes;
    this.count(tlp);
  }

  #wake(delayPs: number): void {
    this.#pumpPending = true;
    this.fabric.kernel.schedule(delayPs, this, Op.Pump, null);
  }

  #starve(): void {
    const delayPs = this.#returns.nextDelayPs;
    if (delayPs >= 0) this.#wake(delayPs);
    else this.#starved = true;
  }

  /** Nothing is plugged in: what is sent here is lost. The owner's decision answers reads before that. */
  #discard(): void {
    for (let tlp = this.#queue.next(0); tlp !== null; tlp = this.#queue.next(0)) {
      this.#queue.drop(tlp.flowClass);
      if (tlp.ingress !== null) tlp.ingress.release(tlp);
      this.fabric.tlps.give(tlp);
    }
  }
}
