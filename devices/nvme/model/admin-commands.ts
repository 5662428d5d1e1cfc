/**
 * The admin command set: which handler takes an opcode, and how a command answers. [NVME] 5
 * @module
 */
import { AbortCdw10, AdminOpcode, NOT_ABORTED, Psdt, Status } from '#devices/nvme/spec.ts';
import { LogCdw10 } from '#devices/nvme/spec-logs.ts';
import type { AsyncEvents } from './async-events.ts';
import type { Command } from './command.ts';
import type { Features } from './features.ts';
import type { Identify } from './identify.ts';
import type { LogPages } from './log-pages.ts';
import type { QueueCommands } from './queue-commands.ts';

/** The parts that admin commands act on. */
export interface AdminParts {
  readonly identify: Identify;
  readonly features: Features;
  readonly logs: LogPages;
  readonly queues: QueueCommands;
  readonly events: AsyncEvents;
}

export interface AdminOwner {
  complete(command: Command, status: Status): void;
  /** Sends `bytes` to where the command's PRPs point, then completes it. */
  respond(command: Command, bytes: Uint8Array): void;
}

/** A status to complete with, bytes to send first, or null when the command completes by itself. */
type Answer = Status | Uint8Array | null;
type Handler = (command: Command) => Answer;

/** Opcodes that are implemented. */
export const ADMIN_OPCODES: readonly number[] = Object.values(AdminOpcode);

export class AdminCommands {
  readonly #parts: AdminParts;
  readonly #owner: AdminOwner;
  readonly #handlers: ReadonlyMap<number, Handler>;

  constructor(parts: AdminParts, owner: AdminOwner) {
    this.#parts = parts;
    this.#owner = owner;
    const { identify, features, queues } = parts;
    this.#handlers = new Map<number, Handler>([
      [AdminOpcode.DeleteSq, (command) => queues.deleteSubmission(command)],
      [AdminOpcode.CreateSq, (command) => queues.createSubmission(command)],
      [AdminOpcode.GetLogPage, (command) => this.#getLogPage(command)],
      [AdminOpcode.DeleteCq, (command) => queues.deleteCompletion(command)],
      [AdminOpcode.CreateCq, (command) => queues.createCompletion(command)],
      [AdminOpcode.Identify, (command) => identify.build(command)],
      [AdminOpcode.Abort, (command) => this.#abort(command)],
      [AdminOpcode.SetFeatures, (command) => this.#valued(command, features.set(command))],
      [AdminOpcode.GetFeatures, (command) => this.#valued(command, features.get(command))],
      [AdminOpcode.AsyncEventRequest, (command) => this.#request(command)],
    ]);
  }

  execute(command: Command): void {
    const answer = this.#answer(command);
    if (typeof answer === 'number') this.#owner.complete(command, answer);
    else if (answer) this.#owner.respond(command, answer);
  }

  #answer(command: Command): Answer {
    const handler = this.#handlers.get(command.opcode);
    if (!handler) return Status.InvalidOpcode;
    // Admin commands have no SGLs on PCI Express. [NVME] 3.3.3.1
    if (command.fuse !== 0 || command.psdt !== Psdt.Prp) return Status.InvalidField;
    return handler(command);
  }

  #valued(command: Command, status: Status): Status {
    if (status === Status.Success) command.dw0 = this.#parts.features.value;
    return status;
  }

  #getLogPage(command: Command): Answer {
    const bytes = this.#parts.logs.read(command);
    if (typeof bytes !== 'number' && LogCdw10.RAE.get(command.cdw10) === 0) {
      this.#parts.events.logRead(LogCdw10.LID.get(command.cdw10));
    }
    return bytes;
  }

  /** Model: aborts Asynchronous Event Requests; other commands are soon through by themselves. [NVME] 5.1 */
  #abort(command: Command): Answer {
    const queue = AbortCdw10.SQID.get(command.cdw10);
    const cid = AbortCdw10.CID.get(command.cdw10);
    const aborted = queue === 0 && this.#parts.events.abort(cid);
    command.dw0 = aborted ? 0 : NOT_ABORTED;
    return Status.Success;
  }

  #request(command: Command): null {
    this.#parts.events.request(command);
    return null;
  }
}
