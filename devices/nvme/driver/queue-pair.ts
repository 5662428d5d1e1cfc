/**
 * The host's side of one pair of queues: slots for commands, entries written and reaped, doorbells, timeouts.
 * One doorbell is rung for all commands submitted at one moment. [NVME] 3.3.1
 * @module
 */

import { Cqe, CqeStatus, DOORBELLS_AT, Sqe } from '#devices/nvme/spec.ts';
import { offsetBy, type PhysAddr, pageOffset, physAddr } from '#emu/base/units.ts';
import type { CoherentMemory } from '#emu/dma/providers/coherent-memory.ts';
import { arena } from '#emu/memory/arena.ts';
import { DelayLine } from '#emu/sim/delay-line.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import type { CommandFields } from './command-fields.ts';
import { type DriverHost, shareMemory } from './host-access.ts';
import type { ListPlace } from './list-place.ts';
import { TIMED_OUT } from './result.ts';

/** Told once how a command ended: a status code or {@link TIMED_OUT}. */
export interface CommandClient {
  commandDone(arg: number, code: number, dw0: number, latencyPs: number): void;
}

export interface QueuePairOptions {
  readonly id: number;
  /** Entries of both queues. */
  readonly entries: number;
  /** Commands outstanding at most; less than `entries`, and at most {@link MAX_DEPTH}. */
  readonly depth: number;
  /** Bytes of a doorbell and the gap to the next. */
  readonly doorbellStride: number;
  /** Bytes of lists for each slot, whole pages. */
  readonly listBytes: number;
  readonly timeoutPs: number;
}

/** Command identifiers carry a slot in 12 bits and a generation in 4. */
const SLOT_BITS = 12;
const SLOT_MASK = 0xfff;
const GENERATIONS = 15;
export const MAX_DEPTH = SLOT_MASK;

/** What a slot is doing. A lost one timed out and is not used before its command is answered after all. */
const Slot = { Free: 0, Active: 1, Lost: 2 } as const;

const RING = -1;
const TIMEOUT = -2;

export class QueuePair implements Target {
  readonly path: string;
  readonly id: number;
  readonly entries: number;
  readonly submissions: CoherentMemory;
  readonly completions: CoherentMemory;
  /** Everything allocated, to be freed once the controller does not know the queues any more. */
  readonly memory: readonly CoherentMemory[];
  /** Completions of commands that are not outstanding; a device that sends them is broken. */
  strays = 0;
  /** Called after slots became free, or were found lost. */
  onRoom: (() => void) | null = null;
  readonly #host: DriverHost;
  readonly #places: readonly ListPlace[];
  readonly #tailDoorbell: PhysAddr;
  readonly #headDoorbell: PhysAddr;
  readonly #timeouts: DelayLine;
  readonly #free: number[] = [];
  readonly #state: Uint8Array;
  readonly #cids: Uint16Array;
  readonly #tickets: Int32Array;
  readonly #started: Float64Array;
  readonly #clients: (CommandClient | null)[];
  readonly #args: Int32Array;
  #active = 0;
  #tail = 0;
  #head = 0;
  #phase = 1;
  #ringing = false;

  /** Allocates the queues; the controller is told of them elsewhere. @throws NO_MEMORY */
  constructor(host: DriverHost, options: QueuePairOptions) {
    const { id, entries, depth, doorbellStride, listBytes } = options;
    this.path = `${host.path}.queue${id}`;
    this.id = id;
    this.entries = entries;
    this.#host = host;
    const sizes = [entries * Sqe.SIZE, entries * Cqe.SIZE, depth * listBytes];
    this.memory = shareMemory(host, ...sizes);
    const [submissions, completions, lists] = this.memory;
    this.submissions = submissions!;
    this.completions = completions!;
    this.#places = Array.from({ length: depth }, (_, slot) => ({
      memory: host.mm.memory,
      address: offsetBy(lists!.address, slot * listBytes),
      dma: offsetBy(lists!.dma, slot * listBytes),
      sizeBytes: listBytes,
    }));
    const doorbell = (index: number): PhysAddr =>
      physAddr(host.registers + DOORBELLS_AT + index * doorbellStride);
    this.#tailDoorbell = doorbell(2 * id);
    this.#headDoorbell = doorbell(2 * id + 1);
    this.#timeouts = new DelayLine(host.kernel, options.timeoutPs, this, TIMEOUT);
    for (let slot = depth - 1; slot >= 0; slot--) this.#free.push(slot);
    this.#state = new Uint8Array(depth);
    this.#cids = new Uint16Array(depth);
    this.#tickets = new Int32Array(depth);
    this.#started = new Float64Array(depth);
    this.#clients = new Array<CommandClient | null>(depth).fill(null);
    this.#args = new Int32Array(depth);
  }

  /** Commands outstanding that may still be answered in time. */
  get active(): number {
    return this.#active;
  }
  get hasRoom(): boolean {
    return this.#free.length > 0;
  }

  /** Reserves a slot, or gives -1; it is used by {@link submit} or given back by {@link cancel}. */
  reserve(): number {
    return this.#free.pop() ?? -1;
  }

  cancel(slot: number): void {
    this.#free.push(slot);
  }

  /** Memory for the PRP list or SGL segment of a slot's command. */
  list(slot: number): ListPlace {
    return this.#places[slot]!;
  }

  /** Submits a command in a reserved slot. */
  submit(slot: number, fields: CommandFields, client: CommandClient, arg: number): void {
    const cid = this.#nextCid(slot);
    const { memory } = this.#host.mm;
    const at = this.submissions.address + this.#tail * Sqe.SIZE;
    fields.encode(arena.view, memory.ensureFrame(at) + pageOffset(at), cid);
    this.#tail = this.#tail + 1 === this.entries ? 0 : this.#tail + 1;
    this.#state[slot] = Slot.Active;
    this.#clients[slot] = client;
    this.#args[slot] = arg;
    this.#started[slot] = this.#host.kernel.now;
    this.#tickets[slot] = this.#timeouts.push(cid);
    this.#active++;
    this.#ringSoon();
  }

  /** Takes every completion there is. The interrupt handler. */
  reap(): void {
    const { memory } = this.#host.mm;
    let reaped = 0;
    for (;;) {
      const at = this.completions.address + this.#head * Cqe.SIZE;
      const frame = memory.ensureFrame(at) + pageOffset(at);
      const status = Cqe.status.get(arena.view, frame);
      if (CqeStatus.P.get(status) !== this.#phase) break;
      reaped++;
      this.#advanceHead();
      const cid = Cqe.cid.get(arena.view, frame);
      this.#finish(cid, CqeStatus.CODE.get(status), Cqe.dw0.get(arena.view, frame));
    }
    if (reaped === 0) return;
    this.#host.cpu.write32(this.#headDoorbell, this.#head);
    this.onRoom?.();
  }

  handle(op: number, arg: EventArg): void {
    if (op === TIMEOUT && typeof arg === 'number') this.#expire(arg);
    else this.#ring();
  }

  #nextCid(slot: number): number {
    const generation = ((this.#cids[slot]! >>> SLOT_BITS) + 1) & GENERATIONS;
    const cid = (generation << SLOT_BITS) | slot;
    this.#cids[slot] = cid;
    return cid;
  }

  /** Rings once for everything submitted until this event is over. */
  #ringSoon(): void {
    if (this.#ringing) return;
    this.#ringing = true;
    this.#host.kernel.schedule(0, this, RING, null);
  }

  #ring(): void {
    this.#ringing = false;
    this.#host.cpu.write32(this.#tailDoorbell, this.#tail);
  }

  #advanceHead(): void {
    this.#head++;
    if (this.#head < this.entries) return;
    this.#head = 0;
    this.#phase ^= 1;
  }

  #finish(cid: number, code: number, dw0: number): void {
    const slot = cid & SLOT_MASK;
    if (this.#cids[slot] !== cid || !this.#state[slot]) {
      this.strays++;
      return;
    }
    const lost = this.#state[slot] === Slot.Lost;
    this.#state[slot] = Slot.Free;
    this.#free.push(slot);
    if (lost) return;
    this.#timeouts.cancel(this.#tickets[slot]!);
    this.#tell(slot, code, dw0);
  }

  #expire(cid: number): void {
    const slot = cid & SLOT_MASK;
    if (this.#cids[slot] !== cid || this.#state[slot] !== Slot.Active) return;
    this.#state[slot] = Slot.Lost;
    this.#tell(slot, TIMED_OUT, 0);
    this.onRoom?.();
  }

  #tell(slot: number, code: number, dw0: number): void {
    const client = this.#clients[slot];
    this.#clients[slot] = null;
    this.#active--;
    client?.commandDone(this.#args[slot]!, code, dw0, this.#host.kernel.now - this.#started[slot]!);
  }
}
