/**
 * The copy engine's data path: pieces of packets that are read ahead of each other but take effect in order.
 * A fence, an interrupt or an error waits until everything before it has been stored or sent.
 * @module
 */
import { QueueException } from '#devices/gpu/spec.ts';
import { dmaAddr } from '#emu/base/units.ts';
import { copyMemory } from '#emu/memory/sparse-memory.ts';
import type { DmaClient } from '#emu/pcie/endpoint/endpoint.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import type { Engine } from './engine.ts';
import { Place } from './place.ts';

export const PieceKind = {
  /** Read from `source` to staging, then stored at `dest`. */
  Copy: 0,
  /** Already in staging. */
  Store: 1,
  /** As Store, behind everything. */
  Fence: 2,
  Trap: 3,
  Error: 4,
} as const;
export type PieceKind = (typeof PieceKind)[keyof typeof PieceKind];

const State = { Reading: 0, Ready: 1, Moving: 2, Done: 3, Failed: 4 } as const;
type State = (typeof State)[keyof typeof State];

/** Why a queue stopped, and at what. */
export interface Fault {
  readonly exception: QueueException;
  /** Dword 0 of the packet, 0 when there is none. */
  readonly header: number;
  /** The address that failed, or the pointer that was refused. */
  readonly address: number;
  readonly status: DmaStatus;
}

/** Not the last piece of its packet. */
export const NO_COUNTER = -1;

/** What a piece keeps of its packet. */
export interface PacketTag {
  /** Dword 0. */
  readonly header: number;
  readonly sizeBytes: number;
  readonly startedPs: number;
}

export class Piece implements PacketTag {
  kind: PieceKind = PieceKind.Copy;
  state: State = State.Ready;
  readonly source = new Place();
  readonly dest = new Place();
  /** Its own bytes, and those of its packet. */
  ownBytes = 0;
  sizeBytes = 0;
  startedPs = 0;
  /** Its number, which transfers carry. */
  readonly index: number;
  /** Where its bytes wait in the engine's own memory. */
  readonly stagingAt: number;
  /** Ring counter at the end of the packet that this piece completes, or {@link NO_COUNTER}. */
  counter = NO_COUNTER;
  header = 0;
  /** Trap context. */
  context = 0;
  fault: Fault | null = null;

  constructor(index: number, stagingAt: number) {
    this.index = index;
    this.stagingAt = stagingAt;
  }

  get isBarrier(): boolean {
    return this.kind >= PieceKind.Fence || this.state === State.Failed;
  }
}

export interface PipelineClient {
  /** Every packet up to `counter` has taken effect; the last one is given unless it did nothing. */
  retired(counter: number, packet: PacketTag | null): void;
  trapped(context: number): void;
  /** An error reached its turn: nothing behind it takes effect. */
  failed(fault: Fault, packet: PacketTag): void;
  /** There is room again, or a hazard may be gone. */
  progressed(): void;
  /** What a stop left under way is over. */
  drained(): void;
}

const Op = { VramRead: -1, VramStored: -2 } as const;

export class Pipeline implements DmaClient, Target {
  readonly path: string;
  readonly #engine: Engine;
  readonly #client: PipelineClient;
  readonly #pieces: readonly Piece[];
  readonly #probe = new Place();
  /** Oldest piece, the next to take effect, and the next free; numbers that only grow while running. */
  #head = 0;
  #next = 0;
  #tail = 0;
  #inFlight = 0;
  #running = false;

  constructor(engine: Engine, stagingAt: number, client: PipelineClient) {
    const { pieces, pieceBytes } = engine.timing;
    this.path = `${engine.path}.pipeline`;
    this.#engine = engine;
    this.#client = client;
    this.#pieces = Array.from(
      { length: pieces },
      (_, i) => new Piece(i, stagingAt + i * pieceBytes),
    );
  }

  get full(): boolean {
    return this.#tail - this.#head === this.#pieces.length;
  }
  get empty(): boolean {
    return this.#tail === this.#head;
  }
  /** No transfer is under way. */
  get quiet(): boolean {
    return this.#inFlight === 0;
  }

  /** Begins empty. Only while {@link quiet}. */
  start(): void {
    this.#head = 0;
    this.#next = 0;
    this.#tail = 0;
    this.#running = true;
  }

  /** Nothing more takes effect; transfers under way end by themselves. */
  stop(): void {
    this.#running = false;
  }

  /**
   * Whether reading the range now would miss a store that is not done yet.
   * Model: by address; one memory under two addresses (a BAR seen from outside, two IOVAs) is for fences.
   */
  hazard(source: Place, offset: number, sizeBytes: number): boolean {
    this.#probe.set(source.inVram, source.address + offset);
    for (let i = this.#head; i < this.#tail; i++) {
      const { dest, ownBytes } = this.#at(i);
      if (ownBytes > 0 && dest.overlaps(ownBytes, this.#probe, sizeBytes)) return true;
    }
    return false;
  }

  /** Takes the next piece for the caller to fill in and {@link submit}. Only while not {@link full}. */
  open(kind: PieceKind, packet: PacketTag, ownBytes: number): Piece {
    const piece = this.#at(this.#tail);
    piece.kind = kind;
    piece.header = packet.header;
    piece.sizeBytes = packet.sizeBytes;
    piece.startedPs = packet.startedPs;
    piece.ownBytes = ownBytes;
    piece.counter = NO_COUNTER;
    piece.fault = null;
    return piece;
  }

  /** Starts the piece just opened; `counter` as in {@link Piece.counter}. */
  submit(piece: Piece, counter: number): void {
    piece.counter = counter;
    this.#tail++;
    if (piece.kind === PieceKind.Copy) this.#read(piece);
    else piece.state = State.Ready;
    this.#advance();
  }

  /** Notes the end of a packet that does nothing, behind those before it. */
  pass(counter: number): void {
    if (this.empty) this.#client.retired(counter, null);
    else this.#at(this.#tail - 1).counter = counter;
  }

  dmaDone(status: DmaStatus, index: number): void {
    this.#inFlight--;
    if (!this.#running) {
      if (this.#inFlight === 0) this.#client.drained();
      return;
    }
    const piece = this.#at(index);
    if (status !== DmaStatus.Ok) this.#fail(piece, status);
    else piece.state = piece.state === State.Reading ? State.Ready : State.Done;
    this.#advance();
  }

  handle(op: number, arg: EventArg): void {
    if (typeof arg !== 'number') return;
    const piece = this.#at(arg);
    const { scratch, vram } = this.#engine;
    if (this.#running && op === Op.VramRead) {
      copyMemory(scratch, piece.stagingAt, vram, piece.source.address, piece.ownBytes);
    } else if (this.#running) {
      copyMemory(vram, piece.dest.address, scratch, piece.stagingAt, piece.ownBytes);
    }
    this.dmaDone(DmaStatus.Ok, arg);
  }

  #read(piece: Piece): void {
    const { endpoint, scratch } = this.#engine;
    const { index } = piece;
    piece.state = State.Reading;
    this.#inFlight++;
    if (piece.source.inVram) return this.#vramAccess(piece, Op.VramRead, index);
    const from = dmaAddr(piece.source.address);
    endpoint.read(from, piece.ownBytes, scratch, piece.stagingAt, Purpose.Data, this, index);
  }

  /** Lets pieces take effect in order, and leave in order. */
  #advance(): void {
    const before = this.#head;
    let moved = true;
    while (moved) moved = this.#running && (this.#retire() || this.#execute());
    if (this.#running && this.#head !== before) this.#client.progressed();
  }

  #retire(): boolean {
    if (this.#head === this.#next) return false;
    const piece = this.#at(this.#head);
    if (piece.state === State.Failed) return this.#stopAt(piece);
    if (piece.state !== State.Done) return false;
    this.#head++;
    if (piece.counter !== NO_COUNTER) this.#client.retired(piece.counter, piece);
    return true;
  }

  #execute(): boolean {
    if (this.#next === this.#tail) return false;
    const piece = this.#at(this.#next);
    if (piece.state === State.Reading) return false;
    if (piece.isBarrier && this.#next !== this.#head) return false;
    this.#next++;
    if (piece.state === State.Failed || piece.kind === PieceKind.Error) return this.#stopAt(piece);
    if (piece.kind === PieceKind.Trap) {
      piece.state = State.Done;
      this.#client.trapped(piece.context);
    } else this.#store(piece);
    return true;
  }

  #store(piece: Piece): void {
    const { endpoint, scratch } = this.#engine;
    const { index } = piece;
    piece.state = State.Moving;
    this.#inFlight++;
    if (piece.dest.inVram) return this.#vramAccess(piece, Op.VramStored, index);
    const to = dmaAddr(piece.dest.address);
    const purpose = piece.kind === PieceKind.Fence ? Purpose.Control : Purpose.Data;
    endpoint.write(to, piece.ownBytes, scratch, piece.stagingAt, purpose, this, index);
  }

  #vramAccess(piece: Piece, op: number, index: number): void {
    const { kernel } = this.#engine.endpoint.fabric;
    const delayPs = this.#engine.vramPort.accessPs(kernel.now, piece.ownBytes);
    kernel.scheduleFar(delayPs, this, op, index);
  }

  #fail(piece: Piece, status: DmaStatus): void {
    const isRead = piece.state === State.Reading;
    piece.fault = {
      exception: isRead ? QueueException.ReadFailed : QueueException.WriteFailed,
      header: piece.header,
      address: isRead ? piece.source.address : piece.dest.address,
      status,
    };
    piece.state = State.Failed;
  }

  #stopAt(piece: Piece): boolean {
    if (piece.fault !== null) this.#client.failed(piece.fault, piece);
    return false;
  }

  #at(number: number): Piece {
    return this.#pieces[number & (this.#pieces.length - 1)]!;
  }
}
