/**
 * What the component behind a port chooses for it: receive buffers and the time of a decision. [PCIE] 2.6.1
 * @module
 */
import type { Credits } from './link.ts';

export interface PortOptions {
  /** Credits that this port advertises for its receive buffers. */
  readonly credits: Credits;
  /** Time from arrival to the owner's decision, ps. */
  readonly ingressLatencyPs?: number;
  /** Decide once the header is there and forward before the tail is. */
  readonly cutThrough?: boolean;
}
