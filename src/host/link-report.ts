/**
 * What crossed one link, both directions, read from the counters of its two ports. [PCIE] 4.2
 * @module
 */
import type { LinkSpec } from '#emu/pcie/link/link.ts';
import { LinkCounter } from '#emu/pcie/link/link-counters.ts';
import type { Port } from '#emu/pcie/link/port.ts';

/** One direction of a link since the start. */
export interface LinkTraffic {
  readonly tlps: number;
  readonly wireBytes: number;
  readonly dataBytes: number;
  readonly controlBytes: number;
}

export class LinkReport {
  /** Path of the component at the lower end. */
  readonly path: string;
  readonly link: LinkSpec;
  readonly #upper: Port;
  readonly #lower: Port;

  constructor(path: string, link: LinkSpec, upper: Port, lower: Port) {
    this.path = path;
    this.link = link;
    this.#upper = upper;
    this.#lower = lower;
  }

  /** Away from the root, as of now. */
  get down(): LinkTraffic {
    return traffic(this.#upper);
  }
  /** Towards the root, as of now. */
  get up(): LinkTraffic {
    return traffic(this.#lower);
  }
}

const traffic = ({ counters }: Port): LinkTraffic => ({
  tlps: counters[LinkCounter.tlps] ?? 0,
  wireBytes: counters[LinkCounter.wireBytes] ?? 0,
  dataBytes: counters[LinkCounter.dataBytes] ?? 0,
  controlBytes: counters[LinkCounter.controlBytes] ?? 0,
});
