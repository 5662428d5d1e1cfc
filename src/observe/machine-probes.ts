/**
 * The probes of one machine behind one emitter: a probe is set only while somebody listens to what it shows.
 * @module
 */
import { EventEmitter } from 'eventemitter3';
import { bdfFromId, picos } from '#emu/base/units.ts';
import type { Machine } from '#emu/host/machine.ts';
import type { FabricError, TlpProbe } from '#emu/pcie/fabric.ts';
import { hasAddress, type Tlp, TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { isCommandSource, type ShownCommand } from './command-source.ts';
import { type ObservedEvents, tlpRecord } from './records.ts';

type EventName = keyof ObservedEvents;

export class MachineProbes {
  readonly #machine: Machine;
  readonly #emitter = new EventEmitter<ObservedEvents>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  add<E extends EventName>(event: E, listener: Listener<E>): void {
    this.#emitter.on(event, listener);
    this.#refresh();
  }

  remove<E extends EventName>(event: E, listener: Listener<E>): void {
    this.#emitter.off(event, listener);
    this.#refresh();
  }

  #refresh(): void {
    const { fabric, interrupts, iommu, errors, endpoints } = this.#machine;
    const [tlp, fault] = [this.#wanted('tlp'), this.#wanted('fault')];
    fabric.probe = tlp || fault ? this.#fabricProbe() : null;
    interrupts.probe = this.#wanted('interrupt')
      ? { interrupt: (path, data) => this.#emit('interrupt', { timePs: this.#now, path, data }) }
      : null;
    if (iommu !== null) iommu.probe = fault ? this.#iommuProbe() : null;
    if (errors !== null) {
      errors.probe = this.#wanted('error')
        ? { error: (record) => this.#emit('error', { ...record }) }
        : null;
    }
    const commandProbe = this.#wanted('command')
      ? { completed: (path: string, command: ShownCommand) => this.#command(path, command) }
      : null;
    for (const { model } of endpoints.values()) {
      if (isCommandSource(model)) model.probe = commandProbe;
    }
  }

  #fabricProbe(): TlpProbe {
    return {
      sent: (port, tlp) => this.#tlp('sent', port.path, tlp),
      delivered: (path, tlp) => this.#tlp('delivered', path, tlp),
      refused: (path, reason, tlp) => this.#refused(path, reason, tlp),
    };
  }

  #tlp(event: 'sent' | 'delivered', path: string, tlp: Tlp): void {
    if (this.#wanted('tlp')) this.#emit('tlp', tlpRecord(this.#now, event, path, tlp));
  }

  #refused(path: string, reason: FabricError, tlp: Tlp): void {
    const timePs = this.#now;
    this.#emit('tlp', tlpRecord(timePs, 'refused', path, tlp, reason));
    this.#emit('fault', {
      timePs,
      path,
      cause: reason,
      requester: bdfFromId(tlp.requester),
      address: hasAddress(tlp) ? tlp.address : null,
      write: tlp.kind === TlpKind.MWr,
    });
  }

  #iommuProbe() {
    return {
      fault: (cause: number, deviceId: number, address: number, write: boolean) =>
        this.#emit('fault', {
          ...{ timePs: this.#now, path: 'iommu', cause, address, write },
          requester: bdfFromId(deviceId),
        }),
    };
  }

  #command(path: string, { opcode, cid, status, dataBytes, startedPs }: ShownCommand): void {
    this.#emit('command', {
      ...{ timePs: this.#now, path, opcode, id: cid, status },
      sizeBytes: dataBytes,
      startedPs: picos(startedPs),
    });
  }

  get #now() {
    return this.#machine.kernel.now;
  }

  #wanted(event: EventName): boolean {
    return this.#emitter.listenerCount(event) > 0;
  }

  #emit<E extends EventName>(event: E, ...args: ObservedEvents[E]): void {
    for (const listener of this.#emitter.listeners(event)) {
      try {
        Reflect.apply(listener, undefined, args);
      } catch (error) {
        // An observer cannot change a run: its error surfaces outside of it.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

export type Listener<E extends EventName> = (...args: ObservedEvents[E]) => void;
