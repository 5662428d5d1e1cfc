/**
 * Watches a machine's fabric during one transfer of user data: what links carried, who refused it, where writes
 * ended. Takes the fabric's probe for itself. [PCIE] 2.2
 * @module
 */
import type { LinkReport } from '#emu/host/link-report.ts';
import type { Machine } from '#emu/host/machine.ts';
import type { FabricError } from '#emu/pcie/fabric.ts';
import { Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { isMemory, type Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';

/** A refusal: the component and why. */
export interface Refusal {
  readonly at: string;
  readonly error: FabricError;
}

/** Where data was written. */
export interface Landing {
  readonly path: string;
  readonly address: number;
}

interface Carried {
  readonly up: number;
  readonly down: number;
}

export class FabricWatch {
  /** The first refusal since {@link open}, or null. */
  refusal: Refusal | null = null;
  /** Where write requests ended since {@link open}. */
  readonly landings: Landing[] = [];
  readonly #machine: Machine;
  readonly #before = new Map<LinkReport, Carried>();

  constructor(machine: Machine) {
    this.#machine = machine;
    machine.fabric.probe = {
      sent: () => {},
      delivered: (path, tlp) => this.#delivered(path, tlp),
      refused: (at, error) => {
        this.refusal ??= { at, error };
      },
    };
  }

  /** Starts afresh. */
  open(): void {
    this.refusal = null;
    this.landings.length = 0;
    for (const link of this.#machine.links()) this.#before.set(link, carriedBy(link));
  }

  close(): void {
    this.#machine.fabric.probe = null;
  }

  /** Links that carried data since {@link open}: `name↑` from the deepest to the root, then `name↓`. */
  links(): string[] {
    const byDepth = this.#carried.sort((a, b) => depth(a.link) - depth(b.link));
    const up = byDepth.filter(({ up }) => up > 0).reverse();
    const down = byDepth.filter(({ down }) => down > 0);
    return [
      ...up.map(({ link }) => `${nameOf(link)}↑`),
      ...down.map(({ link }) => `${nameOf(link)}↓`),
    ];
  }

  /** Whether data came up a link of the root complex since {@link open}. */
  get reachedRoot(): boolean {
    return this.#carried.some(({ link, up }) => up > 0 && depth(link) === TOP_DEPTH);
  }

  get #carried() {
    return this.#machine.links().map((link) => {
      const now = carriedBy(link);
      const before = this.#before.get(link) ?? { up: 0, down: 0 };
      return { link, up: now.up - before.up, down: now.down - before.down };
    });
  }

  #delivered(path: string, tlp: Tlp): void {
    if (!isMemory(tlp) || tlp.kind !== TlpKind.MWr || tlp.purpose !== Purpose.Data) return;
    this.landings.push({ path, address: tlp.address });
  }
}

/** Parts of the path of what stands in a root port: host bridge, port, itself. */
const TOP_DEPTH = 3;

const carriedBy = ({ up, down }: LinkReport): Carried => ({
  up: up.dataBytes,
  down: down.dataBytes,
});
const depth = ({ path }: LinkReport): number => path.split('.').length;
const nameOf = ({ path }: LinkReport): string => path.slice(path.lastIndexOf('.') + 1);
