/**
 * `observe(machine).on(...)`: sees what happens in a machine without changing it.
 * @module
 */
import type { Machine } from '#emu/host/machine.ts';
import { type Listener, MachineProbes } from './machine-probes.ts';
import type { ObservedEvents } from './records.ts';

/** One observer of a machine; several do not disturb one another. */
export class Observer {
  readonly #probes: MachineProbes;
  readonly #removals: (() => void)[] = [];

  constructor(probes: MachineProbes) {
    this.#probes = probes;
  }

  /**
   * Calls `listener` with a copy of every `tlp`, `command`, `interrupt`, `fault` or `error` from now on, inside the
   * event that causes it: it must not use the machine. What it throws surfaces as an uncaught error.
   */
  on<E extends keyof ObservedEvents>(event: E, listener: Listener<E>): this {
    this.#probes.add(event, listener);
    this.#removals.push(() => this.#probes.remove(event, listener));
    return this;
  }

  /** Removes every listener of this observer. */
  close(): void {
    for (const remove of this.#removals) remove();
    this.#removals.length = 0;
  }
}

const probesOf = new WeakMap<Machine, MachineProbes>();

/** A new observer of `machine`. Costs nothing until it listens, and then only for what it listens to. */
export function observe(machine: Machine): Observer {
  const probes = probesOf.get(machine) ?? new MachineProbes(machine);
  probesOf.set(machine, probes);
  return new Observer(probes);
}
