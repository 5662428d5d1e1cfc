/**
 * What waits to leave a port: one FIFO for posted, non-posted and completion TLPs, and which of their
 * heads may go next under the ordering rules. Credits are the caller's to check. [PCIE] 2.4.1
 * @module
 */
import { FlowClass, isRelaxed, type Tlp, TlpFlag } from '#emu/pcie/tlp/tlp.ts';
import { TlpRing } from '#emu/pcie/tlp/tlp-ring.ts';

const { Posted, NonPosted, Completion } = FlowClass;

export class EgressQueue {
  /** For experiments: nothing passes anything, as in a single FIFO, which the ordering table forbids. */
  isSingleFifo = false;
  readonly #posted = new TlpRing();
  readonly #nonPosted = new TlpRing();
  readonly #completions = new TlpRing();
  #order = 0;

  get count(): number {
    return this.#posted.count + this.#nonPosted.count + this.#completions.count;
  }

  /** TLPs of one class. */
  countOf(flowClass: FlowClass): number {
    return this.#ring(flowClass).count;
  }

  /** The oldest TLP of a class, or null. */
  head(flowClass: number): Tlp | null {
    return this.#ring(flowClass).peek();
  }

  /** The head of the only class that has any; null when none or several have. */
  onlyHead(): Tlp | null {
    const posted = this.#posted.count;
    const nonPosted = this.#nonPosted.count;
    const completions = this.#completions.count;
    if (posted > 0) return nonPosted + completions === 0 ? this.#posted.peek() : null;
    if (nonPosted > 0) return completions === 0 ? this.#nonPosted.peek() : null;
    return this.#completions.peek();
  }

  push(tlp: Tlp): void {
    // Compared as a difference, so that the counter may wrap.
    this.#order = (this.#order + 1) | 0;
    tlp.order = this.#order;
    this.#ring(tlp.flowClass).push(tlp);
  }

  /** Removes the head of a class. */
  drop(flowClass: FlowClass): void {
    this.#ring(flowClass).drop();
  }

  /**
   * The TLP to send now, or null when none may go. `blocked` has bit 1 << class set for each class
   * whose head lacks credits. Everything may pass reads and completions that are blocked; an older posted
   * TLP is passed by completions with relaxed ordering, by atomics and writes that wait for an answer with it, and
   * by what has ID-based ordering and comes from elsewhere. Within a class nothing passes anything, which all
   * entries allow.
   */
  next(blocked: number): Tlp | null {
    if (this.isSingleFifo) return this.#oldest(blocked);
    const posted = this.#posted.peek();
    const nonPosted = this.#nonPosted.peek();
    const completion = this.#completions.peek();
    let best = posted !== null && (blocked & (1 << Posted)) === 0 ? posted : null;
    if (completion !== null && (blocked & (1 << Completion)) === 0) {
      if (this.#isFree(posted, completion) && !isOlder(best, completion)) best = completion;
    }
    if (nonPosted !== null && (blocked & (1 << NonPosted)) === 0) {
      if (this.#isFree(posted, nonPosted) && !isOlder(best, nonPosted)) best = nonPosted;
    }
    return best;
  }

  /** Whether no posted TLP keeps a TLP of another class from going. Relaxed ordering is not for reads. */
  #isFree(posted: Tlp | null, tlp: Tlp): boolean {
    if (!isOlder(posted, tlp)) return true;
    if (isRelaxed(tlp) && (tlp.flowClass === Completion || tlp.dataCredits > 0)) return true;
    return this.#isApart(tlp);
  }

  /** Whether ID-based ordering lets a TLP pass all older posted ones: they come from other functions. */
  #isApart(tlp: Tlp): boolean {
    if ((tlp.flags & TlpFlag.IDO) === 0) return false;
    const sender = tlp.flowClass === Completion ? tlp.completer : tlp.requester;
    for (let i = 0; ; i++) {
      const posted = this.#posted.at(i);
      if (posted === null || !isOlder(posted, tlp)) return true;
      if (posted.requester === sender) return false;
    }
  }

  #oldest(blocked: number): Tlp | null {
    let oldest = this.#posted.peek();
    for (const tlp of [this.#nonPosted.peek(), this.#completions.peek()]) {
      if (tlp !== null && !isOlder(oldest, tlp)) oldest = tlp;
    }
    return oldest === null || (blocked & (1 << oldest.flowClass)) !== 0 ? null : oldest;
  }

  #ring(flowClass: number): TlpRing {
    if (flowClass === Posted) return this.#posted;
    return flowClass === NonPosted ? this.#nonPosted : this.#completions;
  }
}

const isOlder = (a: Tlp | null, b: Tlp): boolean => a !== null && ((a.order - b.order) | 0) < 0;
