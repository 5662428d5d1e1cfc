/**
 * Interrupt numbers and their handlers: a message to the doorbell runs a handler as a kernel event of its own.
 * [PCIE] 6.1.4
 * @module
 */
import { EmuError, invariant } from '#emu/base/errors.ts';
import type { PhysAddr } from '#emu/base/units.ts';
import type { EventArg, Kernel, Target } from '#emu/sim/kernel.ts';

/** What a device writes where to raise an interrupt. */
export interface InterruptMessage {
  readonly address: PhysAddr;
  readonly data: number;
}

interface Line {
  readonly path: string;
  readonly handler: () => void;
}

/** Sees each interrupt before its handler runs. */
export interface InterruptProbe {
  interrupt(path: string, data: number): void;
}

/** MSI data has 16 bits; number 0 means no interrupt. */
const LAST_NUMBER = 0xffff;
const OP_DISPATCH = -1;

export class Interrupts implements Target {
  readonly path = 'interrupts';
  probe: InterruptProbe | null = null;
  readonly #kernel: Kernel;
  readonly #doorbell: PhysAddr;
  readonly #latencyPs: number;
  readonly #lines: (Line | undefined)[] = [undefined];
  readonly #free: number[] = [];
  #spurious = 0;
  #dispatched = 0;

  constructor(kernel: Kernel, doorbell: PhysAddr, latencyPs = 0) {
    this.#kernel = kernel;
    this.#doorbell = doorbell;
    this.#latencyPs = latencyPs;
  }

  /** Messages whose number nobody had allocated when they arrived. */
  get spurious(): number {
    return this.#spurious;
  }
  /** Handlers run. */
  get dispatched(): number {
    return this.#dispatched;
  }

  /** Reserves a number for `handler`; `path` names it in errors. @throws NO_MEMORY when all are taken */
  allocate(path: string, handler: () => void): InterruptMessage {
    const data = this.#free.pop() ?? this.#lines.length;
    if (data > LAST_NUMBER) throw new EmuError('NO_MEMORY', `${path}: no interrupt number is left`);
    this.#lines[data] = { path, handler };
    return { address: this.#doorbell, data };
  }

  /** Gives a number back. @throws INVARIANT for one that is not allocated */
  free(message: InterruptMessage): void {
    const { data } = message;
    invariant(this.#lines[data] !== undefined, `interrupt ${data} is freed but not allocated`);
    this.#lines[data] = undefined;
    this.#free.push(data);
  }

  /** Takes a doorbell write; the handler runs later, as an event. */
  raise(data: number): void {
    this.#kernel.schedule(this.#latencyPs, this, OP_DISPATCH, data & LAST_NUMBER);
  }

  handle(_op: number, arg: EventArg): void {
    const line = typeof arg === 'number' ? this.#lines[arg] : undefined;
    if (typeof arg !== 'number' || line === undefined) {
      this.#spurious++;
      return;
    }
    this.#dispatched++;
    if (this.probe !== null) this.probe.interrupt(line.path, arg);
    line.handler();
  }
}
