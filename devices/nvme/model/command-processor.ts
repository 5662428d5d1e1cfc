/**
 * Everything that happens to a command between fetch and completion: which set executes it, its data, its
 * timing. Built anew by a function-level reset. [NVME] 3.4
 * @module
 */

import { AsyncEventError, AsyncEventType, Status } from '#devices/nvme/spec.ts';
import type { SglSupport } from '#devices/nvme/spec-identify.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { EventArg, Kernel, Target } from '#emu/sim/kernel.ts';
import { ADMIN_OPCODES, AdminCommands } from './admin-commands.ts';
import { AsyncEvents } from './async-events.ts';
import { Command, type DataStage } from './command.ts';
import { DataLocator } from './data-locator.ts';
import { DataMover } from './data-mover.ts';
import type { ErrorLog } from './error-log.ts';
import { Features } from './features.ts';
import { HostPort } from './host-port.ts';
import { type DriveIdentity, Identify } from './identify.ts';
import { IoCommands } from './io-commands.ts';
import { LogPages } from './log-pages.ts';
import type { Media } from './media.ts';
import type { Namespace } from './namespace.ts';
import { QueueCommands, type QueueLimits } from './queue-commands.ts';
import { QueueEngine } from './queue-engine.ts';
import type { StagingLayout } from './staging.ts';

/** What of a drive outlives every reset, and its fixed properties. */
export interface Drive {
  readonly identity: DriveIdentity;
  readonly namespace: Namespace;
  readonly media: Media;
  readonly errors: ErrorLog;
  readonly staging: SparseMemory;
  readonly layout: StagingLayout;
  /** Pairs of I/O queues. */
  readonly ioQueues: number;
  readonly vectors: number;
  readonly maxTransferBytes: number;
  readonly sgl: SglSupport;
}

/** Where a completed command shows itself; null when nobody looks. */
export interface CommandProbe {
  /** A command is about to complete; the record is reused afterwards. */
  completed(path: string, command: Command): void;
}

/** What the processor tells the controller. */
export interface ProcessorOwner {
  /** Host memory that the controller depends on cannot be reached. [NVME] 9.5 */
  fatal(): void;
  readonly probe: CommandProbe | null;
}

/** Event opcodes: an admin command's time has come; a command completes with the status it holds. */
const EXECUTE = -1;
const COMPLETE = -2;
const ADMIN_QUEUE = 0;

export class CommandProcessor implements Target {
  readonly path: string;
  readonly port: HostPort;
  readonly #kernel: Kernel;
  readonly #drive: Drive;
  readonly #owner: ProcessorOwner;
  readonly #engine: QueueEngine;
  readonly #locator: DataLocator;
  readonly #mover: DataMover;
  readonly #features: Features;
  readonly #events: AsyncEvents;
  readonly #admin: AdminCommands;
  readonly #io: IoCommands;
  /** Sends data that the controller made itself. */
  readonly #responding: DataStage;

  constructor(endpoint: Endpoint, drive: Drive, limits: QueueLimits, owner: ProcessorOwner) {
    const { staging, layout, namespace, media, maxTransferBytes, sgl } = drive;
    this.path = endpoint.path;
    this.#kernel = endpoint.fabric.kernel;
    this.#drive = drive;
    this.#owner = owner;
    this.port = new HostPort(endpoint, staging);
    this.#engine = new QueueEngine(this.port, layout, drive.ioQueues + 1, drive.sgl, this);
    this.#locator = new DataLocator(this.port, layout, this.#engine.pool, this);
    this.#mover = new DataMover(this.port, layout, this);
    this.#features = new Features(drive);
    this.#events = new AsyncEvents({
      park: (command) => this.#engine.park(command),
      unpark: (command) => this.#engine.unpark(command),
      complete: (command, status) => this.complete(command, status),
    });
    const io = { kernel: this.#kernel, namespace, media, staging };
    this.#io = new IoCommands({ ...io, maxTransferBytes, sgl }, this);
    this.#admin = this.#adminCommands(limits);
    this.#responding = {
      delay: () => 0,
      move: (command, offset, size, at) => this.#copyPayload(command, offset, size, at),
    };
  }

  /** Begins to work with admin queues at the given places. */
  start(pageSize: number, asq: number, asqSize: number, acq: number, acqSize: number): void {
    this.#locator.pageSize = pageSize;
    this.#engine.start(asq, asqSize, acq, acqSize);
  }

  /** Abandons every command and queue; transfers under way end unheard but for the port's count. */
  stop(): void {
    this.#engine.stop();
    this.#mover.stop();
    this.#events.reset();
    this.#features.reset();
    this.#drive.media.reset();
  }

  /** Takes a submission queue tail doorbell. [NVMEPCI] 3.1.2.1 */
  ringSubmission(id: number, tail: number): void {
    const queue = this.#engine.submission(id);
    if (!queue) this.badDoorbell();
    else if (!this.#engine.ringSubmission(queue, tail)) this.#badDoorbellValue();
  }

  /** Takes a completion queue head doorbell. [NVMEPCI] 3.1.2.2 */
  ringCompletion(id: number, head: number): void {
    const queue = this.#engine.completion(id);
    if (!queue) this.badDoorbell();
    else if (!this.#engine.ringCompletion(queue, head)) this.#badDoorbellValue();
  }

  /** Reports a write to a doorbell that is none. */
  badDoorbell(): void {
    this.#events.raise(AsyncEventType.Error, AsyncEventError.InvalidDoorbell);
  }

  // ------------------------------------------------------------ called by the parts

  execute(command: Command): void {
    if (command.queue?.id !== ADMIN_QUEUE) this.#io.execute(command);
    else this.#later(this.#drive.media.timing.adminLatencyPs, EXECUTE, command);
  }

  handle(op: number, arg: EventArg): void {
    if (!(arg instanceof Command) || !arg.live) return;
    if (op === EXECUTE) this.#admin.execute(arg);
    else this.complete(arg, arg.status);
  }

  transfer(command: Command, outward: boolean, stage: DataStage): void {
    command.outward = outward;
    command.stage = stage;
    this.#locator.locate(command);
  }

  respond(command: Command, bytes: Uint8Array): void {
    command.payload = bytes;
    command.dataBytes = bytes.length;
    this.transfer(command, true, this.#responding);
  }

  located(command: Command): void {
    this.#mover.start(command);
  }

  unlocated(command: Command, status: Status): void {
    this.complete(command, status);
  }

  moved(command: Command, status: Status): void {
    this.complete(command, status);
  }

  completeLater(command: Command, delayPs: number, status: Status): void {
    command.status = status;
    this.#later(delayPs, COMPLETE, command);
  }

  complete(command: Command, status: Status): void {
    this.#engine.complete(command, status);
  }

  completing(command: Command): void {
    if (command.status !== Status.Success) this.#drive.errors.add(command);
    this.#owner.probe?.completed(this.path, command);
  }

  fatal(): void {
    this.#owner.fatal();
  }

  #badDoorbellValue(): void {
    this.#events.raise(AsyncEventType.Error, AsyncEventError.InvalidDoorbellValue);
  }

  #adminCommands(limits: QueueLimits): AdminCommands {
    const { identity, namespace, errors, maxTransferBytes, sgl } = this.#drive;
    return new AdminCommands(
      {
        identify: new Identify(identity, namespace, { maxTransferBytes, sgl }),
        features: this.#features,
        events: this.#events,
        queues: new QueueCommands(this.#engine, this.#features, limits),
        logs: new LogPages({
          namespace,
          errors,
          maxTransferBytes,
          firmware: identity.firmware,
          adminOpcodes: ADMIN_OPCODES,
          ioOpcodes: this.#io.opcodes,
          nowPs: () => this.#kernel.now,
        }),
      },
      this,
    );
  }

  #copyPayload(command: Command, offset: number, size: number, at: number): Status {
    const bytes = command.payload;
    if (bytes) this.#drive.staging.write(at, bytes.subarray(offset, offset + size));
    return Status.Success;
  }

  #later(delayPs: number, op: number, command: Command): void {
    this.#kernel.scheduleFar(delayPs, this, op, command);
  }
}
