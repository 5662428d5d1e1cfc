/**
 * Counts the TLPs of one link by direction, type and payload, as an analyser on it would.
 * @module
 */
import type { TlpProbe } from '#emu/pcie/fabric.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { TLP_NAMES, type Tlp } from '#emu/pcie/tlp/tlp.ts';

/** TLPs to count: all that agree in every field that is given. */
export interface TlpPattern {
  readonly kind?: string | undefined;
  readonly payloadBytes?: number | undefined;
  readonly direction?: 'up' | 'down' | undefined;
}

/** One TLP that crossed. */
interface Crossing {
  readonly kind: string;
  readonly payloadBytes: number;
  readonly wireBytes: number;
  readonly direction: 'up' | 'down';
}

export class TlpTally implements TlpProbe {
  readonly #lower: Port;
  readonly #crossings: Crossing[] = [];

  /** @param lower the port at the lower end of the link */
  constructor(lower: Port) {
    this.#lower = lower;
  }

  sent(port: Port, tlp: Tlp): void {
    const isUp = port === this.#lower;
    if (!isUp && port.peer !== this.#lower) return;
    const { payloadBytes, wireBytes } = tlp;
    const kind = TLP_NAMES[tlp.kind] ?? '';
    this.#crossings.push({ kind, payloadBytes, wireBytes, direction: isUp ? 'up' : 'down' });
  }

  delivered(): void {}
  refused(): void {}

  count(pattern: TlpPattern): number {
    return this.#matching(pattern).length;
  }

  /** Bytes on the wire, framing included. */
  wireBytes(pattern: TlpPattern): number {
    return this.#matching(pattern).reduce((sum, { wireBytes }) => sum + wireBytes, 0);
  }

  #matching({ kind, payloadBytes, direction }: TlpPattern): readonly Crossing[] {
    return this.#crossings.filter(
      (one) =>
        (kind === undefined || one.kind === kind) &&
        (payloadBytes === undefined || one.payloadBytes === payloadBytes) &&
        (direction === undefined || one.direction === direction),
    );
  }
}
