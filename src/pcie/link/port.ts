/**
 * One end of a link: queues what leaves, spends the receiver's credits, serialises, and hands what
 * arrives to its owner. One class for every kind of port. [PCIE] 2.5, 2.6, 4.2
 * @module
 */

import type { Component } from '#emu/pcie/component.ts';
import type { Msi } from '#emu/pcie/config/msi.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import type { HotPlugSlot } from '#emu/pcie/switch/hot-plug-slot.ts';
import { type FlowClass, Tlp, TlpFlag } from '#emu/pcie/tlp/tlp.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import type { LinkSpec } from './link.ts';
import { countLost, countSent } from './link-counters.ts';
import { isLinkError, LINK_ERRORS, LinkError } from './link-error.ts';
import { type LinkRate, LinkState } from './link-state.ts';
import type { PortOptions } from './port-options.ts';
import type { VirtualChannel } from './virtual-channel.ts';
import { VirtualChannels } from './virtual-channels.ts';
import { Wire } from './wire.ts';

const Op = { Arrive: 0, Pump: 1, Fail: 2, Retrained: 3 } as const;

/** From one epoch of a link to the next: the bits below are for a VC ID. */
const EPOCH = 8;
const LAST_EPOCH = 0x3fff_fff8;

export class Port implements Target {
  readonly path: string;
  readonly owner: Component;
  /** Position among the owner's ports. */
  readonly index: number;
  readonly fabric: Fabric;
  readonly options: PortOptions;
  /** Everything that left by this port, by {@link LinkCounter}. */
  readonly counters = new Float64Array(4);
  /** What a link down lost on its way out of here, by {@link LossCounter}. */
  readonly losses = new Float64Array(4);
  /** Which traffic goes by which virtual channel, and what waits in them. */
  readonly channels: VirtualChannels;
  /** How long what leaves takes. */
  readonly wire: Wire;
  /** Interrupt of the function of a root port or a switch's downstream port. */
  interrupt: Msi | null = null;
  /** Most data credits that a TLP may take: Max_Payload_Size here, as `PayloadLimit` keeps it. */
  payloadCredits = 256;
  /** Slot below it that devices come to and go from while the machine runs. */
  slot: HotPlugSlot | null = null;
  /** The other end while the link is up. */
  #peer: Port | null = null;
  #state: LinkState | null = null;
  /** What TLPs sent to this port carry since the link came up last: those of earlier are lost. */
  #epoch = 0;
  #pumpPending = false;
  #pumping = false;
  /** Waiting for credits that nobody has returned yet. */
  #starved = false;
  readonly #vc0: VirtualChannel;
  readonly #clock: Float64Array;

  constructor(fabric: Fabric, owner: Component, index: number, path: string, options: PortOptions) {
    this.fabric = fabric;
    this.#clock = fabric.kernel.clock;
    this.channels = new VirtualChannels(this.#clock);
    this.#vc0 = this.channels.vc0;
    this.owner = owner;
    this.index = index;
    this.path = path;
    this.options = options;
    this.wire = new Wire(this);
  }

  /** The other end; null while the link is down or nothing is plugged in. */
  get peer(): Port | null {
    return this.#peer;
  }

  /** Whether the link carries TLPs, or will after a training that is under way. */
  get isUp(): boolean {
    return this.#peer !== null;
  }

  /** Speed and width as trained last; null before anything was plugged in. */
  get link(): LinkSpec | null {
    return this.#state === null ? null : this.#state.spec;
  }

  /** TLPs of a class that wait here. */
  queued(flowClass: FlowClass): number {
    const { channels } = this;
    return channels.isSingle ? this.#vc0.queue.countOf(flowClass) : channels.queued(flowClass);
  }

  /** Credits of VC0 available for a class right now: headers and 16-byte data units. */
  credits(flowClass: FlowClass): { headers: number; data: number } {
    this.#vc0.collect();
    return { headers: this.#vc0.headers(flowClass), data: this.#vc0.data(flowClass) };
  }

  /** Whether nothing waits here and every credit is back or on its way: so once nothing is in flight. */
  creditsAtRest(): boolean {
    return this.#peer === null || this.channels.isAtRest;
  }

  /** Joins two ports by a link that is already trained; whatever was in them is unplugged. */
  static connect(upper: Port, lower: Port, link: LinkSpec): void {
    Port.wire(upper, lower, link).start();
  }

  /** The same with a link that is down; {@link linkUp} brings it up. */
  static wire(upper: Port, lower: Port, link: LinkSpec): LinkState {
    const state = new LinkState(upper, lower, link);
    for (const port of [upper, lower]) {
      port.unplug();
      port.#state = state;
    }
    return state;
  }

  /** Takes the link down and what was plugged in away. */
  unplug(isSurprise = false): void {
    const state = this.#state;
    if (state === null) return;
    state.down(isSurprise);
    state.upper.#state = null;
    state.lower.#state = null;
  }

  /**
   * Takes the link down, both ends at once. What waits in either port and what is on the wire is lost and counted
   * in {@link losses}, the latter when it would have arrived; what has arrived, its head at a cut-through port, goes
   * on. Nothing happens when it is down.
   * @param isSurprise nobody asked for it: the upper end reports Surprise Down. [PCIE] 2.9.1, 3.2.1
   */
  linkDown(isSurprise = false): void {
    this.#state?.down(isSurprise);
  }

  /**
   * Brings the link up, both ends at once, at the speed and width of `link` or those it had. TLPs go once flow
   * control is initialised, with the credits that the peer advertises. Nothing happens when it is up, or when
   * nothing is plugged in. @throws USAGE for a link that there is not
   */
  linkUp(link: LinkSpec | null = this.link): void {
    if (link !== null) this.#state?.up(link);
  }

  /**
   * Changes speed and width by a recovery, in which TLPs wait and none is lost; owners are told at its end.
   * Nothing happens while the link is down. [PCIE] 4.2.6.4 @throws USAGE for a link that there is not
   */
  retrain(rate: LinkRate): void {
    this.#state?.retrain(rate);
  }

  /** Reports an error of the link at this end. */
  fail(error: LinkError): void {
    this.fabric.fail(this.path, LINK_ERRORS[error]);
  }

  /** The same, `delayPs` from now. */
  failLater(error: LinkError, delayPs: number): void {
    this.fabric.kernel.schedule(delayPs, this, Op.Fail, error);
  }

  /** The link's: it is up from now on. */
  attach(state: LinkState): void {
    const peer = state.partner(this);
    this.#peer = peer;
    this.wire.train(state.spec);
    for (const channel of this.channels.all) state.grant(this, channel.id);
  }

  /** The link's: it is down from now on. {@link lapse} follows. */
  detach(): void {
    this.#peer = null;
  }

  /** The link's: nothing that was sent or promised before it went down counts any more. */
  lapse(): void {
    this.#epoch = this.#epoch === LAST_EPOCH ? 0 : this.#epoch + EPOCH;
    this.wire.busyUntil = -0.5;
    this.#pumpPending = false;
    this.#starved = false;
    for (const channel of this.channels.all) this.#empty(channel);
    this.channels.onCredits?.();
  }

  /** The link's: it will be told when its training is over, unless it goes down before. */
  retrainedLater(delayPs: number): void {
    this.fabric.kernel.schedule(delayPs, this, Op.Retrained, this.#epoch);
  }

  /**
   * Enables a virtual channel of this end, 1 to 7; TLPs go by it once the other end has done so too. Model: its
   * buffers are as large as VC0's. [PCIE] 7.9.1.9
   */
  openChannel(id: number): void {
    if (this.channels.get(id) !== null) return;
    this.channels.open(id);
    if (this.#peer === null) return;
    this.#state?.grant(this, id);
    this.#state?.grant(this.#peer, id);
  }

  /** Disables one again; what waits in it is lost. */
  closeChannel(id: number): void {
    const channel = this.channels.close(id);
    if (channel !== null) this.#empty(channel);
  }

  /** Queues a TLP and sends it when order, credits and the wire allow; loses it while the link is down. */
  send(tlp: Tlp): void {
    const peer = this.#peer;
    if (peer === null) return this.#lose(tlp);
    const { injector } = this.fabric;
    if (injector !== null && !injector.passes(this, tlp)) return;
    const { channels } = this;
    const vc = channels.isSingle ? this.#vc0 : channels.of(tlp);
    if (vc === null) return this.#refuse(tlp);
    if (this.#idle()) {
      // An idle wire and an empty queue: most TLPs of a switch leave at once.
      vc.collect();
      if (vc.affords(tlp)) {
        this.#pumping = true;
        this.#transmit(tlp, peer, vc);
        this.#pumping = false;
        if (channels.waiting > 0) this.#pump();
        return;
      }
    }
    channels.push(vc, tlp);
    if (!this.#pumpPending && !this.#pumping) this.#pump();
  }

  /**
   * Sends a TLP at once whatever the credits say, for tests of the receiver: without credits it has no room, drops
   * it and reports Receiver Overflow. [PCIE] 2.6.1
   */
  overrun(tlp: Tlp): void {
    const peer = this.#peer;
    if (peer === null) return this.#lose(tlp);
    const vc = this.channels.of(tlp) ?? this.#vc0;
    vc.collect();
    if (vc.affords(tlp)) return this.#transmit(tlp, peer, vc);
    const serialisePs = this.wire.serialisation[tlp.wireBytes >> 2]!;
    peer.failLater(LinkError.ReceiverOverflow, serialisePs + this.wire.flightPs);
    this.#lose(tlp);
  }

  handle(op: number, arg: EventArg): void {
    if (op === Op.Arrive) {
      if (arg instanceof Tlp) this.#arrive(arg);
    } else if (op === Op.Fail) {
      if (isLinkError(arg)) this.fail(arg);
    } else if (arg === this.#epoch) {
      if (op === Op.Retrained) return this.#state?.retrained();
      this.#pumpPending = false;
      this.#pump();
    }
  }

  /** Frees the receive buffer that `tlp` took here, so the sender gets its credits back. */
  release(tlp: Tlp): void {
    const sender = this.#peer;
    tlp.ingress = null;
    const id = tlp.linkUse - this.#epoch;
    if (sender === null) return;
    // Of an earlier epoch it is no channel's.
    const vc = id === 0 ? sender.#vc0 : sender.channels.get(id);
    if (vc !== null) sender.#returned(vc, tlp, this.wire.creditPs);
  }

  #empty(channel: VirtualChannel): void {
    channel.lapse();
    const { queue } = channel;
    for (let tlp = queue.next(0); tlp !== null; tlp = queue.next(0)) {
      this.channels.drop(channel, tlp.flowClass);
      this.#lose(tlp);
    }
  }

  /** Drops a TLP that cannot leave. */
  #lose(tlp: Tlp): void {
    countLost(this.losses, tlp);
    this.#drop(tlp);
  }

  #returned(vc: VirtualChannel, tlp: Tlp, delayPs: number): void {
    vc.returns.push(delayPs, tlp.flowClass, tlp.dataCredits);
    if (this.#starved && !this.#pumpPending) {
      this.#starved = false;
      this.#wake(delayPs);
    }
  }

  #pump(): void {
    const { channels, wire } = this;
    this.#pumping = true;
    while (channels.waiting > 0 && this.#peer !== null) {
      const wait = wire.busyUntil - this.#clock[0]!;
      if (wait > 0) {
        this.#wake(wait);
        break;
      }
      const vc = channels.isSingle ? this.#vc0 : channels.select();
      vc.collect();
      const tlp = vc.next();
      if (tlp === null) {
        this.#starve();
        break;
      }
      channels.drop(vc, tlp.flowClass);
      this.#transmit(tlp, this.#peer, vc);
    }
    this.#pumping = false;
  }

  #arrive(tlp: Tlp): void {
    if ((tlp.linkUse !== this.#epoch || !this.channels.isSingle) && !this.#accepts(tlp)) return;
    const { dataLink } = this.wire;
    if (dataLink !== null) this.wire.acknowledge(dataLink, this.#peer);
    const isBad = (tlp.flags & TlpFlag.Malformed) !== 0 || tlp.dataCredits > this.payloadCredits;
    if (isBad) return this.#refuse(tlp);
    this.owner.receive(this, tlp);
  }

  /** Whether a TLP that arrives is of this use of the link and of a traffic class with a channel; else it ends here. */
  #accepts(tlp: Tlp): boolean {
    const id = tlp.linkUse - this.#epoch;
    if (id < 0 || id >= EPOCH) {
      // It was on the wire when the link went down.
      countLost((this.#state?.partner(this) ?? this).losses, tlp);
      this.fabric.tlps.give(tlp);
      return false;
    }
    if (this.channels.of(tlp)?.id === id) return true;
    this.#refuse(tlp);
    return false;
  }

  /** It breaks a rule, or no channel has its traffic class here. [PCIE] 2.3, 2.5.3 */
  #refuse(tlp: Tlp): void {
    this.fabric.refuse(this.path, 'malformed-tlp', tlp);
    this.#drop(tlp);
  }

  #drop(tlp: Tlp): void {
    if (tlp.ingress !== null) tlp.ingress.release(tlp);
    this.fabric.tlps.give(tlp);
  }

  /** Nothing is queued, on the wire or waiting for its time. */
  #idle(): boolean {
    const free = this.channels.waiting === 0 && !this.#pumpPending && !this.#pumping;
    return free && this.wire.busyUntil <= this.#clock[0]!;
  }

  #transmit(tlp: Tlp, peer: Port, vc: VirtualChannel): void {
    const { kernel, probe } = this.fabric;
    const { wire } = this;
    const now = this.#clock[0]!;
    const serialisePs = wire.serialisation[tlp.wireBytes >> 2]!;
    // A cut-through owner may have decided before the tail arrived: the tail bounds how early this ends.
    let start: number = now;
    if (tlp.ingress !== null && tlp.tailReadyPs - serialisePs > start) {
      start = Math.ceil(tlp.tailReadyPs - serialisePs);
    }
    const { dataLink } = wire;
    if (dataLink !== null) start += wire.replay(dataLink, tlp, serialisePs, this.counters, peer);
    wire.busyUntil = start + serialisePs;
    vc.spend(tlp);
    if (tlp.ingress !== null) tlp.ingress.release(tlp);
    this.fabric.hops++;
    countSent(this.counters, tlp);
    if (probe !== null) probe.sent(this, tlp);
    const { ingressLatencyPs = 0, cutThrough = false } = peer.options;
    const wholePs = serialisePs + wire.flightPs + ingressLatencyPs;
    const headPs = cutThrough ? wire.headerPs + wire.flightPs + ingressLatencyPs : wholePs;
    tlp.ingress = peer;
    tlp.linkUse = peer.#epoch + vc.id;
    tlp.tailReadyPs = start + wholePs;
    const lead = Math.min(headPs, wholePs);
    kernel.schedule(start - now + lead, peer, Op.Arrive, tlp);
    this.owner.sent(this, tlp.flowClass);
  }

  #wake(delayPs: number): void {
    this.#pumpPending = true;
    this.fabric.kernel.schedule(delayPs, this, Op.Pump, this.#epoch);
  }

  #starve(): void {
    const { channels } = this;
    const delayPs = channels.isSingle ? this.#vc0.returns.nextDelayPs : channels.nextDelayPs;
    if (delayPs >= 0) this.#wake(delayPs);
    else this.#starved = true;
  }
}
