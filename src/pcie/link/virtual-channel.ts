/**
 * One virtual channel of a port: what waits to leave by it, and the credits for the peer's buffers.
 * [PCIE] 2.4, 2.5, 2.6
 * @module
 */

import type { Tlp } from '#emu/pcie/tlp/tlp.ts';
import { CreditReturns } from './credit-returns.ts';
import { EgressQueue } from './egress-queue.ts';
import type { Credits } from './link.ts';

/** Available credits of a type that the receiver has advertised as infinite: never consumed. */
const INFINITE = Number.MAX_SAFE_INTEGER;

export class VirtualChannel {
  /** VC ID, 0 to 7. */
  readonly id: number;
  readonly queue = new EgressQueue();
  /** Whether the receiver has advertised its credits: both ends have the channel. */
  isInitialised = false;
  /** Credits on their way back. */
  readonly returns: CreditReturns;
  /** Available at the peer, by flow class. */
  readonly #headers = new Float64Array(3);
  readonly #data = new Float64Array(3);
  /** Advertised by the peer: headers, then data, by flow class. */
  readonly #advertised = new Float64Array(6);

  /** @param clock of the kernel */
  constructor(id: number, clock: Float64Array) {
    this.id = id;
    this.returns = new CreditReturns(clock);
  }

  /** Takes what the peer advertises: flow control has been initialised. [PCIE] 2.6.1 */
  initialise({ PH, PD, NPH, NPD, CplH, CplD }: Credits): void {
    const amount = (advertised: number): number => (advertised === 0 ? INFINITE : advertised);
    this.#advertised.set([PH, NPH, CplH, PD, NPD, CplD].map(amount));
    this.#headers.set(this.#advertised.subarray(0, 3));
    this.#data.set(this.#advertised.subarray(3));
    this.returns.clear();
    this.isInitialised = true;
  }

  /** Forgets them: the link is down. */
  lapse(): void {
    this.#headers.fill(0);
    this.#data.fill(0);
    this.returns.clear();
    this.isInitialised = false;
  }

  /** Credits available for a class, as last collected. */
  headers(flowClass: number): number {
    return this.#headers[flowClass] ?? 0;
  }

  data(flowClass: number): number {
    return this.#data[flowClass] ?? 0;
  }

  /** Moves credits that have arrived by now to the available ones. */
  collect(): void {
    this.returns.collect(this.#headers, this.#data);
  }

  /** Whether the credits collected are enough for a TLP. */
  affords(tlp: Tlp): boolean {
    const { flowClass } = tlp;
    return this.#headers[flowClass]! >= 1 && this.#data[flowClass]! >= tlp.dataCredits;
  }

  spend(tlp: Tlp): void {
    const { flowClass } = tlp;
    const headers = this.#headers[flowClass]!;
    if (headers < INFINITE) this.#headers[flowClass] = headers - 1;
    const data = this.#data[flowClass]!;
    if (data < INFINITE) this.#data[flowClass] = data - tlp.dataCredits;
  }

  /** The TLP to send next by order and credits, or null. It stays in the queue. */
  next(): Tlp | null {
    const { queue } = this;
    const only = queue.onlyHead();
    if (only !== null) return this.affords(only) ? only : null;
    let blocked = 0;
    for (let flowClass = 0; flowClass < 3; flowClass++) {
      const head = queue.head(flowClass);
      if (head !== null && !this.affords(head)) blocked |= 1 << flowClass;
    }
    return queue.next(blocked);
  }

  /** Whether nothing waits and every credit is back or on its way. */
  get isAtRest(): boolean {
    if (this.queue.count > 0) return false;
    for (let flowClass = 0; flowClass < 3; flowClass++) {
      const headers = this.#headers[flowClass]! + this.returns.headersDue(flowClass);
      const data = this.#data[flowClass]! + this.returns.dataDue(flowClass);
      if (!isWhole(headers, this.#advertised[flowClass]!)) return false;
      if (!isWhole(data, this.#advertised[flowClass + 3]!)) return false;
    }
    return true;
  }
}

const isWhole = (held: number, advertised: number): boolean =>
  advertised === INFINITE ? held >= INFINITE : held === advertised;
