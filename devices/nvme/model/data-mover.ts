/**
 * Moves the data of commands between host memory and whatever a command's stage stands for, in chunks of
 * staging memory from a fixed pool, so that large transfers need little. [NVME] 4.1.1
 * @module
 */

import { Status } from '#devices/nvme/spec.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { EventArg, Kernel, Target } from '#emu/sim/kernel.ts';
import { Command, CommandList } from './command.ts';
import type { DmaChannel, HostPort } from './host-port.ts';
import { DISCARD } from './run-list.ts';
import { CHUNK_SIZE, CHUNKS, type StagingLayout } from './staging.ts';

export interface MoverOwner {
  /** All data is handed over in order, or `status` says why not. Outward data may still be leaving. */
  moved(command: Command, status: Status): void;
  /** Data that was announced as handed over could not leave. [NVME] 9.5 */
  fatal(): void;
}

/** A piece of staging memory on its way. */
class Chunk {
  readonly index: number;
  /** Address in staging memory. */
  readonly at: number;
  /** The command that waits for it; null when none does (any more). */
  command: Command | null = null;
  /** First byte within the command's data. */
  offset = 0;
  sizeBytes = 0;
  /** Transfers under way. */
  pending = 0;
  failed = false;

  constructor(index: number, at: number) {
    this.index = index;
    this.at = at;
  }
}

/** Chunks that one inward command may have under way, so that a large one leaves room for others. */
const INWARD_CHUNKS = 4;

/** Event opcodes. */
const READY = -1;
const SETTLED = -2;
const NEAR_PS = 2 ** 31;

export class DataMover implements Target {
  readonly path: string;
  readonly #kernel: Kernel;
  readonly #owner: MoverOwner;
  readonly #chunks: Chunk[] = [];
  readonly #free: Chunk[] = [];
  #starved = new CommandList();
  #waking = false;
  readonly #userIn: DmaChannel;
  readonly #userOut: DmaChannel;
  readonly #controlOut: DmaChannel;

  constructor(port: HostPort, layout: StagingLayout, owner: MoverOwner) {
    this.path = port.endpoint.path;
    this.#kernel = port.endpoint.fabric.kernel;
    this.#owner = owner;
    for (let i = 0; i < CHUNKS; i++) this.#chunks.push(new Chunk(i, layout.chunk(i)));
    this.#free.push(...this.#chunks);
    const arrived = { dmaDone: (s: DmaStatus, i: number) => this.#inwardDone(s, i) };
    const left = { dmaDone: (s: DmaStatus, i: number) => this.#outwardDone(s, i) };
    this.#userIn = port.channel(Purpose.Data, arrived);
    this.#userOut = port.channel(Purpose.Data, left);
    this.#controlOut = port.channel(Purpose.Control, left);
  }

  /** Moves a command's data; its runs are known and its stage and direction are set. */
  start(command: Command): void {
    if (command.outward) this.#pace(command);
    else this.#pull(command);
  }

  /** Forgets every command. Chunks under way come back when their transfers end. */
  stop(): void {
    this.#starved = new CommandList();
    for (const chunk of this.#chunks) chunk.command = null;
  }

  handle(op: number, arg: EventArg): void {
    if (!(arg instanceof Command) || !arg.live) return;
    if (op === READY) this.#push(arg);
    else this.#owner.moved(arg, Status.Success);
  }

  // ------------------------------------------------------------ outward: medium to host

  /** Waits until the medium has the next chunk. */
  #pace(command: Command): void {
    this.#later(command.stage!.delay(command, this.#nextSize(command)), READY, command);
  }

  #push(command: Command): void {
    const chunk = this.#take(command);
    if (!chunk) return;
    const status = command.stage!.move(command, chunk.offset, chunk.sizeBytes, chunk.at);
    if (status !== Status.Success) {
      this.#owner.moved(command, status);
      this.#give(chunk);
      return;
    }
    chunk.command = null;
    this.#transfer(command, chunk, command.payload ? this.#controlOut : this.#userOut);
    if (command.movedBytes < command.dataBytes) this.#pace(command);
    else this.#owner.moved(command, Status.Success);
    if (chunk.pending === 0) this.#give(chunk);
  }

  #outwardDone(status: DmaStatus, index: number): void {
    const chunk = this.#chunks[index]!;
    chunk.pending--;
    if (chunk.pending === 0) this.#give(chunk);
    if (status !== DmaStatus.Ok) this.#owner.fatal();
  }

  // ------------------------------------------------------------ inward: host to medium

  #pull(command: Command): void {
    while (command.chunks < INWARD_CHUNKS && command.movedBytes < command.dataBytes) {
      const chunk = this.#take(command);
      if (!chunk) return;
      command.chunks++;
      this.#transfer(command, chunk, this.#userIn);
    }
  }

  #inwardDone(status: DmaStatus, index: number): void {
    const chunk = this.#chunks[index]!;
    chunk.pending--;
    if (status !== DmaStatus.Ok) chunk.failed = true;
    if (chunk.pending > 0) return;
    const command = chunk.command;
    // The chunk goes back last: it may wake this very command.
    if (command) {
      this.#arrived(command, chunk);
      this.#proceed(command);
    }
    this.#give(chunk);
  }

  #arrived(command: Command, chunk: Chunk): void {
    command.chunks--;
    if (command.status !== Status.Success) return;
    command.status = chunk.failed
      ? Status.DataTransferError
      : command.stage!.move(command, chunk.offset, chunk.sizeBytes, chunk.at);
  }

  #proceed(command: Command): void {
    const failed = command.status !== Status.Success;
    if (failed) {
      if (command.chunks === 0 && !command.starved) this.#owner.moved(command, command.status);
    } else if (command.movedBytes < command.dataBytes) {
      if (!command.starved) this.#pull(command);
    } else if (command.chunks === 0) {
      this.#later(command.stage!.delay(command, 0), SETTLED, command);
    }
  }

  // ------------------------------------------------------------ chunks

  #nextSize(command: Command): number {
    return Math.min(CHUNK_SIZE, command.dataBytes - command.movedBytes);
  }

  /** A chunk for the next bytes of the command, or null: then the command waits for one. */
  #take(command: Command): Chunk | null {
    const chunk = this.#free.pop();
    if (!chunk) {
      command.starved = true;
      this.#starved.push(command);
      return null;
    }
    chunk.command = command;
    chunk.offset = command.movedBytes;
    chunk.sizeBytes = this.#nextSize(command);
    chunk.failed = false;
    return chunk;
  }

  /** Takes a chunk back and lets commands that wait go on, the one that has waited longest first. */
  #give(chunk: Chunk): void {
    chunk.command = null;
    this.#free.push(chunk);
    // A command that goes on may give a chunk back at once: that is for this very loop.
    if (this.#waking) return;
    this.#waking = true;
    while (this.#free.length > 0) {
      const command = this.#starved.shift();
      if (!command) break;
      command.starved = false;
      if (command.outward) this.#push(command);
      else if (command.status === Status.Success) this.#pull(command);
      else this.#proceed(command);
    }
    this.#waking = false;
  }

  /** Starts the transfers of a chunk, one for each run it touches. */
  #transfer(command: Command, chunk: Chunk, channel: DmaChannel): void {
    const { cursor, runs } = command;
    command.movedBytes += chunk.sizeBytes;
    for (let done = 0; done < chunk.sizeBytes; done += cursor.sizeBytes) {
      cursor.take(runs, chunk.sizeBytes - done);
      if (cursor.address === DISCARD) continue;
      chunk.pending++;
      if (command.outward)
        channel.write(cursor.address, cursor.sizeBytes, chunk.at + done, chunk.index);
      else channel.read(cursor.address, cursor.sizeBytes, chunk.at + done, chunk.index);
    }
  }

  #later(delayPs: number, op: number, command: Command): void {
    if (delayPs < NEAR_PS) this.#kernel.schedule(delayPs, this, op, command);
    else this.#kernel.scheduleFar(delayPs, this, op, command);
  }
}
