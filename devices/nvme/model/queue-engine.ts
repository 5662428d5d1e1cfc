/**
 * Moves queue entries: fetches submitted commands in small batches, posts completions with phase tags and
 * interrupts, and holds both back when a queue is full. What commands do is the owner's. [NVME] 3.3.1
 * @module
 */

import { Cqe, CqeStatus, Sqe, Status } from '#devices/nvme/spec.ts';
import type { SglSupport } from '#devices/nvme/spec-identify.ts';
import { invariant } from '#emu/base/errors.ts';
import { pageOffset } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import { type Command, CommandPool } from './command.ts';
import { CompletionQueue } from './completion-queue.ts';
import type { DmaChannel, HostPort } from './host-port.ts';
import { FETCH_BATCH, MAX_IN_FLIGHT, type StagingLayout } from './staging.ts';
import { SubmissionQueue } from './submission-queue.ts';

/** What the engine needs of the controller. */
export interface QueueOwner {
  /** Takes a fetched command, which ends in {@link QueueEngine.complete}. */
  execute(command: Command): void;
  /** A command is about to complete. */
  completing(command: Command): void;
  /** Queue memory could not be read or written. [NVME] 9.5 */
  fatal(): void;
}

/** Statuses that may go away when the command is tried again, so Do Not Retry stays 0. [NVME] 3.3.3.2.1 */
const RETRYABLE: ReadonlySet<Status> = new Set([
  Status.DataTransferError,
  Status.InternalError,
  Status.AbortRequested,
]);

export class QueueEngine {
  readonly pool: CommandPool;
  readonly #port: HostPort;
  readonly #layout: StagingLayout;
  readonly #owner: QueueOwner;
  readonly #fetches: DmaChannel;
  readonly #posts: DmaChannel;
  readonly #submissions: (SubmissionQueue | null)[];
  readonly #completions: (CompletionQueue | null)[];
  #running = false;

  /** @param queues pairs of queues, the admin queues included */
  constructor(
    port: HostPort,
    layout: StagingLayout,
    queues: number,
    sgl: SglSupport,
    owner: QueueOwner,
  ) {
    this.pool = new CommandPool(sgl);
    this.#port = port;
    this.#layout = layout;
    this.#owner = owner;
    this.#submissions = new Array<SubmissionQueue | null>(queues).fill(null);
    this.#completions = new Array<CompletionQueue | null>(queues).fill(null);
    this.#fetches = port.channel(Purpose.Control, {
      dmaDone: (status, id) => this.#fetched(status, id),
    });
    this.#posts = port.channel(Purpose.Control, {
      dmaDone: (status) => this.#posted(status),
    });
  }

  submission(id: number): SubmissionQueue | null {
    return this.#submissions[id] ?? null;
  }
  completion(id: number): CompletionQueue | null {
    return this.#completions[id] ?? null;
  }
  /** Whether any I/O queue exists. */
  get hasIoQueues(): boolean {
    return this.#completions.some((queue, id) => queue !== null && id > 0);
  }

  /** Creates the admin queues and begins to work. [NVME] 3.5.1 */
  start(asq: number, asqSize: number, acq: number, acqSize: number): void {
    this.#running = true;
    this.createCompletion(new CompletionQueue(0, acq, acqSize, 0, true));
    this.createSubmission(0, asq, asqSize, 0);
  }

  /** Deletes every queue and abandons every command. Transfers under way end without effect. */
  stop(): void {
    this.#running = false;
    this.#submissions.fill(null);
    this.#completions.fill(null);
    this.pool.abandon();
  }

  createCompletion(queue: CompletionQueue): void {
    this.#completions[queue.id] = queue;
  }

  /** @param completionId an existing completion queue */
  createSubmission(id: number, base: number, size: number, completionId: number): void {
    const completions = this.completion(completionId);
    invariant(completions !== null, `submission queue ${id} without completion queue`);
    completions.users++;
    this.#submissions[id] = new SubmissionQueue(id, base, size, completions);
  }

  deleteCompletion(id: number): void {
    this.#completions[id] = null;
  }

  /**
   * Deletes a submission queue and completes `command` once nothing of it is under way. What was fetched
   * completes if its completion queue has room; the rest ends without a completion entry. [NVME] 5.7
   */
  deleteSubmission(queue: SubmissionQueue, command: Command): void {
    queue.deletion = command;
    const implicit = queue.completions.waiting.extract(queue);
    for (const waiting of implicit) this.#retire(waiting);
    this.#finishDeletion(queue);
  }

  /** Takes a tail doorbell; false when the value is invalid. The queue must exist. */
  ringSubmission(queue: SubmissionQueue, tail: number): boolean {
    if (!queue.ring(tail)) return false;
    this.#fetch(queue);
    return true;
  }

  /** Takes a head doorbell; false when the value is invalid. */
  ringCompletion(queue: CompletionQueue, head: number): boolean {
    if (!queue.ring(head)) return false;
    while (!queue.full) {
      const command = queue.waiting.shift();
      if (!command) break;
      this.#post(queue, command);
      this.#retire(command);
    }
    return true;
  }

  /** Completes a command: posts its entry, or holds it until the completion queue has room. */
  complete(command: Command, status: Status): void {
    command.status = status;
    this.#owner.completing(command);
    const queue = command.queue!;
    const completions = queue.completions;
    if (completions.full) {
      if (queue.deletion) this.#retire(command);
      else completions.waiting.push(command);
      return;
    }
    this.#post(completions, command);
    this.#retire(command);
  }

  /** Takes a command that may stay for ever out of the count of those under way. */
  park(command: Command): void {
    const queue = command.queue!;
    queue.inFlight--;
    this.#fetch(queue);
  }

  /** Brings a parked command back, to be completed. */
  unpark(command: Command): void {
    command.queue!.inFlight++;
  }

  #fetch(queue: SubmissionQueue): void {
    if (!this.#running || queue.fetching > 0 || queue.deletion) return;
    const room = Math.min(FETCH_BATCH, MAX_IN_FLIGHT - queue.inFlight);
    const count = Math.min(queue.submitted, queue.size - queue.head, room);
    if (count <= 0) return;
    queue.fetching = count;
    const address = queue.base + queue.head * Sqe.SIZE;
    this.#fetches.read(address, count * Sqe.SIZE, this.#layout.fetched(queue.id), queue.id);
  }

  #fetched(status: DmaStatus, id: number): void {
    const queue = this.#submissions[id];
    if (!this.#running || !queue) return;
    if (status !== DmaStatus.Ok) {
      this.#owner.fatal();
      return;
    }
    const count = queue.fetching;
    queue.fetching = 0;
    if (queue.deletion) {
      this.#finishDeletion(queue);
      return;
    }
    queue.advance(count);
    for (let i = 0; i < count && this.#running; i++) this.#decode(queue, i);
    this.#fetch(queue);
  }

  #decode(queue: SubmissionQueue, index: number): void {
    const at = this.#layout.fetched(queue.id) + index * Sqe.SIZE;
    const command = this.pool.take();
    command.queue = queue;
    command.startedPs = this.#port.endpoint.fabric.kernel.now;
    command.decode(arena.view, this.#port.staging.ensureFrame(at) + pageOffset(at));
    queue.inFlight++;
    this.#owner.execute(command);
  }

  #post(completions: CompletionQueue, command: Command): void {
    const queue = command.queue!;
    const at = this.#layout.completion(completions.id, completions.tail);
    const frame = this.#port.staging.ensureFrame(at) + pageOffset(at);
    const retry = command.status === Status.Success || RETRYABLE.has(command.status);
    const code = CqeStatus.CODE.of(command.status) | CqeStatus.DNR.of(retry ? 0 : 1);
    Cqe.dw0.set(arena.view, frame, command.dw0);
    Cqe.dw1.set(arena.view, frame, 0);
    Cqe.sqhd.set(arena.view, frame, queue.head);
    Cqe.sqid.set(arena.view, frame, queue.id);
    Cqe.cid.set(arena.view, frame, command.cid);
    Cqe.status.set(arena.view, frame, code | completions.phase);
    const address = completions.base + completions.tail * Cqe.SIZE;
    completions.advance();
    this.#posts.write(address, Cqe.SIZE, at, completions.id);
    if (completions.interrupts) this.#port.endpoint.raise(completions.vector);
  }

  #posted(status: DmaStatus): void {
    if (status !== DmaStatus.Ok && this.#running) this.#owner.fatal();
  }

  /** Gives the command's record back and goes on with what it held up. */
  #retire(command: Command): void {
    const queue = command.queue!;
    queue.inFlight--;
    this.pool.give(command);
    if (queue.deletion) this.#finishDeletion(queue);
    else this.#fetch(queue);
  }

  #finishDeletion(queue: SubmissionQueue): void {
    const command = queue.deletion;
    if (!command || queue.inFlight > 0 || queue.fetching > 0) return;
    queue.deletion = null;
    queue.completions.users--;
    this.#submissions[queue.id] = null;
    this.complete(command, Status.Success);
  }
}
