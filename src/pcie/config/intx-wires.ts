/**
 * The four virtual interrupt wires of a bridge: Assert and Deassert messages of the ports below, turned by the
 * device number that each comes from, and merged. [PCIE] 2.2.8.1
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import type { HostBridges } from '#emu/pcie/root/host-bridge.ts';
import { type MessageInbox, sendMessage } from '#emu/pcie/tlp/message.ts';
import { MessageCode, MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';

/** INTA to INTD. */
export const WIRES = 4;

/** Told when an output changes. */
export type WireChanged = (output: number, asserted: boolean) => void;

export class IntxWires {
  /** How many ports assert each. */
  readonly #sources: Uint16Array;
  /** By port, what it asserts of its own wires, before they are turned. */
  readonly #asserted: Uint8Array;
  readonly #changed: WireChanged;
  readonly #output: (port: number, wire: number) => number;

  /** @param output the one below `outputs` that a wire (INTA is 0) of a port leads to */
  constructor(
    ports: number,
    outputs: number,
    output: (port: number, wire: number) => number,
    changed: WireChanged,
  ) {
    this.#asserted = new Uint8Array(ports);
    this.#sources = new Uint16Array(outputs);
    this.#output = output;
    this.#changed = changed;
  }

  /** Takes the interrupt messages of an inbox; those of a port are known by its position among its owner's. */
  listen(inbox: MessageInbox): void {
    for (const [wire, [assert, deassert]] of INTX_CODES.entries()) {
      inbox.on(assert, ({ index }) => this.set(index, wire, true));
      inbox.on(deassert, ({ index }) => this.set(index, wire, false));
    }
  }

  /** A port asserts or releases one of its wires. */
  set(port: number, wire: number, asserted: boolean): void {
    const bit = 1 << wire;
    const before = this.#asserted[port]!;
    const after = asserted ? before | bit : before & ~bit;
    if (after === before) return;
    this.#asserted[port] = after;
    const output = this.#output(port, wire);
    const sources = this.#sources[output]! + (asserted ? 1 : -1);
    this.#sources[output] = sources;
    if (sources === +asserted) this.#changed(output, asserted);
  }

  /** Forgets all of it without telling, as a reset of the bridge does. */
  reset(): void {
    this.#asserted.fill(0);
    this.#sources.fill(0);
  }

  /** Lets go of everything that a port asserted, as the loss of its link does. [PCIE] 2.2.8.1 */
  release(port: number): void {
    for (let wire = 0; wire < WIRES; wire++) this.set(port, wire, false);
  }
}

/** Wires of a switch: those of downstream port p, device p - 1, are turned by that and leave by the upstream port. */
export function switchIntx(ports: readonly Port[], inbox: MessageInbox, id: () => Bdf): IntxWires {
  const [upstream] = ports;
  const wires = new IntxWires(ports.length, WIRES, turned, (wire, asserted) => {
    const code = INTX_CODES[wire]![asserted ? 0 : 1];
    if (upstream?.peer) sendMessage(upstream, code, MessageRouting.Local, id());
  });
  wires.listen(inbox);
  return wires;
}
const turned = (port: number, wire: number): number => (wire + port - 1) % WIRES;

/** What sends messages of its own. */
interface Speaker {
  sendMessage(code: number, routing: MessageRouting): void;
}

/** Sends the message for a change of a function's pin, behind what the function has written. */
export function sendIntx(from: Speaker, wire: number, asserted: boolean): void {
  from.sendMessage(INTX_CODES[wire]![asserted ? 0 : 1], MessageRouting.Local);
}

/** Wires of a device of several functions: a pin that two drive is asserted while one does. [PCIE] 2.2.8.1 */
export class DeviceIntx {
  readonly #wires: IntxWires;
  #speaker: Speaker | null = null;

  constructor(functions: number) {
    this.#wires = new IntxWires(
      functions,
      WIRES,
      (_, wire) => wire,
      (wire, asserted) => {
        if (this.#speaker !== null) sendIntx(this.#speaker, wire, asserted);
      },
    );
  }

  /** Function number `number` changes its pin, and sends the message if that changes the wire. */
  set(number: number, from: Speaker, wire: number, asserted: boolean): void {
    this.#speaker = from;
    this.#wires.set(number, wire, asserted);
  }
}

/** Lines of a root complex: four for each host bridge, to which root ports lead turned by their device numbers. */
export function rootIntx(
  hosts: Pick<HostBridges, 'all' | 'ofPort'>,
  inbox: MessageInbox,
  changed: WireChanged,
): IntxWires {
  const ports = hosts.all.reduce((sum, { bridges }) => sum + bridges.length, 0);
  const line = (port: number, wire: number): number => {
    const { index, firstPort } = hosts.ofPort(port);
    return WIRES * index + ((wire + port - firstPort + 1) % WIRES);
  };
  const wires = new IntxWires(ports, WIRES * hosts.all.length, line, changed);
  wires.listen(inbox);
  return wires;
}

/** Assert and Deassert codes by wire. */
export const INTX_CODES = [
  [MessageCode.Assert_INTA, MessageCode.Deassert_INTA],
  [MessageCode.Assert_INTB, MessageCode.Deassert_INTB],
  [MessageCode.Assert_INTC, MessageCode.Deassert_INTC],
  [MessageCode.Assert_INTD, MessageCode.Deassert_INTD],
] as const;
