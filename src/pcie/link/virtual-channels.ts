/**
 * The virtual channels of a port that has more than the one of TC0: which traffic class goes by which, and whose turn
 * it is. VC0 is among them. [PCIE] 2.5, 6.3
 * @module
 */

import { type FlowClass, type Tlp, trafficClass } from '#emu/pcie/tlp/tlp.ts';
import { MAX_CHANNELS } from './link.ts';
import { VirtualChannel } from './virtual-channel.ts';

const TRAFFIC_CLASSES = 8;

/** How the channels of the low-priority group share the link; all others go before them, the highest ID first. */
export interface VcArbitration {
  /** Highest VC ID of the group; 0: VC0 alone, strict priority between all. */
  readonly lowPriorityLast: number;
  /** VC IDs in the order of their turns; empty for one turn each. [PCIE] 7.9.1.7 */
  readonly table: readonly number[];
}

const STRICT: VcArbitration = { lowPriorityLast: 0, table: [] };
const ROUND_ROBIN: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7];

export class VirtualChannels {
  /** The channel that every port has. */
  readonly vc0: VirtualChannel;
  /** Whether all traffic classes go by it. */
  isSingle = true;
  /** TLPs in the queues of all channels. */
  waiting = 0;
  /** Told when channels have got credits, or lost them with the link. */
  onCredits: (() => void) | null = null;
  readonly #clock: Float64Array;
  /** By VC ID; null where not enabled. */
  readonly #channels: (VirtualChannel | null)[];
  /** VC ID by traffic class, or -1. */
  readonly #map = new Int8Array(TRAFFIC_CLASSES);
  #lowPriorityLast = 0;
  #turns: readonly number[] = ROUND_ROBIN;
  #turn = 0;

  /** VC0 has all traffic classes until software says otherwise. @param clock of the kernel */
  constructor(clock: Float64Array) {
    this.#clock = clock;
    this.vc0 = new VirtualChannel(0, clock);
    this.#channels = ROUND_ROBIN.map((id) => (id === 0 ? this.vc0 : null));
  }

  /** Sets whose turn it is when several have TLPs. */
  arbitrate({ lowPriorityLast, table }: VcArbitration = STRICT): void {
    this.#lowPriorityLast = lowPriorityLast;
    this.#turns = table.length > 0 ? table : ROUND_ROBIN;
    this.#turn = 0;
  }

  /** Gives the traffic classes of `mask` to a channel, and takes away those that it had before. [PCIE] 7.9.1.9 */
  map(channel: number, mask: number): void {
    for (let tc = 0; tc < TRAFFIC_CLASSES; tc++) {
      if ((mask >> tc) & 1) this.#map[tc] = channel;
      else if (this.#map[tc] === channel) this.#map[tc] = -1;
    }
    this.#count();
  }

  /** Enables a channel, 1 to 7, without credits yet. */
  open(id: number): void {
    this.#channels[id] ??= new VirtualChannel(id, this.#clock);
    this.#count();
  }

  /** Disables one and gives it, or null. */
  close(id: number): VirtualChannel | null {
    const channel = this.get(id);
    if (id === 0) return null;
    this.#channels[id] = null;
    this.#count();
    return channel;
  }

  /** The channel with an ID, or null. */
  get(id: number): VirtualChannel | null {
    return this.#channels[id] ?? null;
  }

  /** Those enabled, VC0 first. */
  get all(): readonly VirtualChannel[] {
    return this.#channels.filter((channel) => channel !== null);
  }

  /** The enabled channel of a TLP's traffic class, or null: it is malformed here. */
  of(tlp: Tlp): VirtualChannel | null {
    const id = this.#map[trafficClass(tlp)]!;
    return id < 0 ? null : (this.#channels[id] ?? null);
  }

  /** TLPs of a class in all channels. */
  queued(flowClass: FlowClass): number {
    return this.all.reduce((sum, { queue }) => sum + queue.countOf(flowClass), 0);
  }

  push(channel: VirtualChannel, tlp: Tlp): void {
    channel.queue.push(tlp);
    this.waiting++;
  }

  /** Removes the head of a class. */
  drop(channel: VirtualChannel, flowClass: FlowClass): void {
    channel.queue.drop(flowClass);
    this.waiting--;
  }

  /** See {@link VirtualChannel.isAtRest}. */
  get isAtRest(): boolean {
    return this.all.every(({ isAtRest }) => isAtRest);
  }

  /** Time until the next credits come back, ps; -1 when none is on the way. */
  get nextDelayPs(): number {
    const delays = this.all.map(({ returns }) => returns.nextDelayPs).filter((ps) => ps >= 0);
    return delays.length > 0 ? Math.min(...delays) : -1;
  }

  /** The channel whose turn it is among those with a TLP that may go; any where there is none. */
  select(): VirtualChannel {
    for (let id = MAX_CHANNELS - 1; id > this.#lowPriorityLast; id--) {
      const channel = this.#ready(id);
      if (channel !== null) return channel;
    }
    const turns = this.#turns.length;
    for (let i = 0; i < turns; i++) {
      const at = (this.#turn + i) % turns;
      const channel = this.#ready(this.#turns[at]!);
      if (channel === null) continue;
      this.#turn = (at + 1) % turns;
      return channel;
    }
    return this.vc0;
  }

  #count(): void {
    this.isSingle = this.all.length === 1 && this.#map.every((id) => id === 0);
  }

  #ready(id: number): VirtualChannel | null {
    const channel = this.#channels[id] ?? null;
    if (channel === null || channel.queue.count === 0) return null;
    channel.collect();
    return channel.next() === null ? null : channel;
  }
}
