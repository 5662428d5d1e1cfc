/**
 * A link between two ports: up or down, at what speed and width. Each change concerns both ends at once.
 * [PCIE] 2.9, 3.2, 4.2.6
 * @module
 */
import { RETRAIN_PS } from './data-link.ts';
import { advertisedCredits, checkLink, initialisationPs, type LinkSpec } from './link.ts';
import { LinkError } from './link-error.ts';
import type { Port } from './port.ts';

/** Speed and width. */
export type LinkRate = Pick<LinkSpec, 'gen' | 'width'>;

export class LinkState {
  /** The end nearer to the root. */
  readonly upper: Port;
  readonly lower: Port;
  /** As trained last. */
  spec: LinkSpec;
  isUp = false;

  constructor(upper: Port, lower: Port, spec: LinkSpec) {
    this.upper = upper;
    this.lower = lower;
    this.spec = spec;
  }

  /** The other end than `port`. */
  partner(port: Port): Port {
    return port === this.upper ? this.lower : this.upper;
  }

  /** Up without training, and without telling anybody. */
  start(): void {
    const { upper, lower } = this;
    this.isUp = true;
    upper.attach(this);
    lower.attach(this);
  }

  /** See {@link Port.linkUp}. */
  up(spec: LinkSpec): void {
    if (this.isUp) return;
    checkLink(spec, this.upper.path);
    this.spec = spec;
    this.start();
    this.#hold(initialisationPs(spec));
    this.#tell(true);
  }

  /** See {@link Port.linkDown}. */
  down(isSurprise: boolean): void {
    if (!this.isUp) return;
    this.isUp = false;
    const { upper, lower } = this;
    // Neither end is up before the first gives back what it holds of the other.
    upper.detach();
    lower.detach();
    upper.lapse();
    lower.lapse();
    if (isSurprise) upper.fail(LinkError.SurpriseDown);
    this.#tell(false);
  }

  /** See {@link Port.retrain}; `retrained` of the upper end follows. */
  retrain({ gen, width }: LinkRate): void {
    if (!this.isUp) return;
    const spec = { ...this.spec, gen, width };
    checkLink(spec, this.upper.path);
    this.spec = spec;
    this.upper.wire.train(spec);
    this.lower.wire.train(spec);
    this.#hold(RETRAIN_PS);
    this.upper.retrainedLater(RETRAIN_PS);
  }

  /** The training is over. */
  retrained(): void {
    this.#tell(true);
  }

  /** Gives a channel of `port`, once both ends have it, the credits that the other end advertises. [PCIE] 2.6.1 */
  grant(port: Port, id: number): void {
    const peer = this.partner(port);
    const channel = peer.channels.get(id) === null ? null : port.channels.get(id);
    const { credits } = peer.options;
    const { slotBytes } = port.fabric.tlps;
    const isUpper = peer === this.upper;
    if (channel === null) return;
    channel.initialise(advertisedCredits(credits, this.spec, isUpper, slotBytes, peer.path));
    port.channels.onCredits?.();
  }

  #hold(delayPs: number): void {
    this.upper.wire.hold(delayPs);
    this.lower.wire.hold(delayPs);
  }

  #tell(isUp: boolean): void {
    const { upper, lower } = this;
    upper.owner.linkChanged(upper, isUp);
    lower.owner.linkChanged(lower, isUp);
  }
}
