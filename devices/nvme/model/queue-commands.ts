/**
 * Create and Delete I/O Completion and Submission Queue: every check, then the queue engine does it.
 * [NVME] 5.4, 5.5, 5.6, 5.7
 * @module
 */

import {
  Cc,
  Cqe,
  CreateCqCdw11,
  CreateSqCdw11,
  QueueCdw10,
  Sqe,
  Status,
} from '#devices/nvme/spec.ts';
import { ADDR_LIMIT, u64 } from '#emu/base/units.ts';
import type { Command } from './command.ts';
import { CompletionQueue } from './completion-queue.ts';
import type { Features } from './features.ts';
import type { QueueEngine } from './queue-engine.ts';

/** What the checks need of the controller. */
export interface QueueLimits {
  /** Most entries of a queue. */
  readonly maxEntries: number;
  readonly vectors: number;
  /** Memory page size in force. */
  readonly pageSize: number;
  /** Controller Configuration as it stands. */
  readonly cc: number;
  /** Whether vectors other than 0 can be signalled. */
  readonly msixEnabled: boolean;
}

export class QueueCommands {
  readonly #engine: QueueEngine;
  readonly #features: Features;
  readonly #limits: QueueLimits;

  constructor(engine: QueueEngine, features: Features, limits: QueueLimits) {
    this.#engine = engine;
    this.#features = features;
    this.#limits = limits;
  }

  createCompletion(command: Command): Status {
    const id = QueueCdw10.QID.get(command.cdw10);
    const entries = QueueCdw10.QSIZE.get(command.cdw10) + 1;
    const vector = CreateCqCdw11.IV.get(command.cdw11);
    if (!this.#allowed(id) || this.#engine.completion(id)) return Status.InvalidQueueIdentifier;
    const status = this.#checkMemory(command, entries, Cc.IOCQES, Cqe.SHIFT);
    if (status !== Status.Success) return status;
    if (vector >= this.#limits.vectors || (vector > 0 && !this.#limits.msixEnabled)) {
      return Status.InvalidInterruptVector;
    }
    const interrupts = CreateCqCdw11.IEN.get(command.cdw11) === 1;
    this.#features.queuesCreated = true;
    this.#engine.createCompletion(
      new CompletionQueue(id, baseOf(command), entries, vector, interrupts),
    );
    return Status.Success;
  }

  createSubmission(command: Command): Status {
    const id = QueueCdw10.QID.get(command.cdw10);
    const entries = QueueCdw10.QSIZE.get(command.cdw10) + 1;
    const completions = CreateSqCdw11.CQID.get(command.cdw11);
    if (!this.#allowed(id) || this.#engine.submission(id)) return Status.InvalidQueueIdentifier;
    if (!this.#allowed(completions)) return Status.InvalidQueueIdentifier;
    if (!this.#engine.completion(completions)) return Status.CompletionQueueInvalid;
    const status = this.#checkMemory(command, entries, Cc.IOSQES, Sqe.SHIFT);
    if (status !== Status.Success) return status;
    this.#features.queuesCreated = true;
    this.#engine.createSubmission(id, baseOf(command), entries, completions);
    return Status.Success;
  }

  deleteCompletion(command: Command): Status {
    const id = QueueCdw10.QID.get(command.cdw10);
    const queue = id === 0 ? null : this.#engine.completion(id);
    if (!queue) return Status.InvalidQueueIdentifier;
    if (queue.users > 0) return Status.InvalidQueueDeletion;
    this.#engine.deleteCompletion(id);
    return Status.Success;
  }

  /** Null when the command will complete once the queue's commands have ended. */
  deleteSubmission(command: Command): Status | null {
    const id = QueueCdw10.QID.get(command.cdw10);
    const queue = id === 0 ? null : this.#engine.submission(id);
    if (!queue || queue.deletion) return Status.InvalidQueueIdentifier;
    this.#engine.deleteSubmission(queue, command);
    return null;
  }

  #allowed(id: number): boolean {
    return id > 0 && id <= this.#features.allocatedQueues;
  }

  /** Size, contiguity, alignment and entry size of a queue. PC is the same bit in both commands. */
  #checkMemory(
    command: Command,
    entries: number,
    entryField: typeof Cc.IOSQES,
    shift: number,
  ): Status {
    const { maxEntries, pageSize, cc } = this.#limits;
    if (entries < 2 || entries > maxEntries) return Status.InvalidQueueSize;
    if (entryField.get(cc) !== shift) return Status.InvalidQueueSize;
    if (CreateCqCdw11.PC.get(command.cdw11) === 0) return Status.InvalidField;
    if (command.prp1Lo & (pageSize - 1)) return Status.PrpOffsetInvalid;
    return Status.Success;
  }
}

/** Address of the queue; one beyond reach makes the first access fail, as it would on the bus. */
const baseOf = (command: Command): number =>
  Math.min(u64(command.prp1Lo, command.prp1Hi), ADDR_LIMIT);
