/**
 * Interrupt lines: levels that devices assert through INTx messages, shared by whoever listens. A handler runs as a
 * kernel event of its own, again and again while its line is asserted. [PCIE] 6.1.4.1, 2.2.8.1
 * @module
 */

import type { PciNode } from '#emu/host/enumeration/pci-node.ts';
import { WIRES } from '#emu/pcie/config/intx-wires.ts';
import type { RootComplex } from '#emu/pcie/root/root-complex.ts';
import type { EventArg, Kernel, Target } from '#emu/sim/kernel.ts';

const OP_DISPATCH = -1;
/** Model: the time between two runs of the handlers of a line that stays asserted, ps. */
const REPEAT_PS = 1e6;
/** Runs in a row after which a line that nobody calms is turned off, as host software does. */
const MOST_RUNS = 1000;

class Line {
  asserted = false;
  /** Turned off because nobody calmed it, until it is let go. */
  isOff = false;
  isPending = false;
  runs = 0;
  readonly handlers = new Map<object, () => void>();
}

export class LegacyInterrupts implements Target {
  readonly path = 'intx';
  readonly #kernel: Kernel;
  readonly #latencyPs: number;
  readonly #lines: readonly Line[];
  #spurious = 0;

  /** Listens to the messages that end at the root ports. */
  constructor(kernel: Kernel, root: RootComplex, latencyPs = 0) {
    this.#kernel = kernel;
    this.#latencyPs = latencyPs;
    this.#lines = Array.from({ length: WIRES * root.hosts.all.length }, () => new Line());
    root.onIntx = (line, asserted) => this.set(line, asserted);
  }

  /** Lines that were turned off because no handler calmed them. */
  get spurious(): number {
    return this.#spurious;
  }

  /** Whether a line is asserted now. */
  isAsserted(line: number): boolean {
    return this.#lines[line]?.asserted ?? false;
  }

  /** Runs `handler` while the line is asserted; `key` takes it away again. */
  listen(line: number, key: object, handler: () => void): void {
    this.#lines[line]?.handlers.set(key, handler);
    this.#dispatch(line, this.#latencyPs);
  }

  forget(line: number, key: object): void {
    this.#lines[line]?.handlers.delete(key);
  }

  /** A line becomes or ceases to be asserted. */
  set(index: number, asserted: boolean): void {
    const line = this.#lines[index];
    if (line === undefined) return;
    line.asserted = asserted;
    line.runs = 0;
    line.isOff = false;
    this.#dispatch(index, this.#latencyPs);
  }

  handle(_op: number, arg: EventArg): void {
    const line = typeof arg === 'number' ? this.#lines[arg] : undefined;
    if (typeof arg !== 'number' || line === undefined) return;
    line.isPending = false;
    if (!line.asserted) return;
    line.runs++;
    for (const handler of [...line.handlers.values()]) handler();
    if (line.runs >= MOST_RUNS) {
      line.isOff = true;
      this.#spurious++;
    }
    this.#dispatch(arg, REPEAT_PS);
  }

  #dispatch(index: number, delayPs: number): void {
    const line = this.#lines[index];
    if (!line?.asserted || line.isPending || line.isOff || line.handlers.size === 0) return;
    line.isPending = true;
    this.#kernel.schedule(delayPs, this, OP_DISPATCH, index);
  }
}

/** Line of a function's interrupt pin (1 is INTA): turned by the device number at each bridge on the way up. */
export function lineOf(node: PciNode, pin: number): number {
  let wire = pin - 1;
  for (let at: PciNode | null = node; at !== null; at = at.parent) {
    const device = at.bdf >>> 3;
    // What stands below a downstream port is device 0; ARI leaves no device number. [PCIE] 6.13
    const isBelowPort = at.parent !== null && at.parent.secondary !== 0 && !at.isBridge;
    wire += isBelowPort ? 0 : device & 31;
  }
  return WIRES * node.hostBridge + (wire % WIRES);
}
