/**
 * State of one submission queue as the controller sees it. Fetching is the queue engine's. [NVME] 3.3.1
 * @module
 */
import type { Command } from './command.ts';
import type { CompletionQueue } from './completion-queue.ts';

export class SubmissionQueue {
  readonly id: number;
  /** Host address of entry 0. */
  readonly base: number;
  /** Entries. */
  readonly size: number;
  readonly completions: CompletionQueue;
  /** Next entry to fetch. */
  head = 0;
  /** As last written to the doorbell. */
  tail = 0;
  /** Commands fetched and not completed, commands parked elsewhere not counted. */
  inFlight = 0;
  /** Entries that the fetch under way asked for; 0 when there is none. */
  fetching = 0;
  /** The Delete I/O Submission Queue command that waits for the rest to finish. */
  deletion: Command | null = null;

  constructor(id: number, base: number, size: number, completions: CompletionQueue) {
    this.id = id;
    this.base = base;
    this.size = size;
    this.completions = completions;
  }

  /** Entries submitted and not fetched. */
  get submitted(): number {
    const count = this.tail - this.head;
    return count < 0 ? count + this.size : count;
  }

  /**
   * Takes a doorbell value. False when it lies outside the queue or submits more entries than are free,
   * and then nothing changes. [NVME] 5.2.1
   */
  ring(tail: number): boolean {
    if (tail >= this.size) return false;
    const added = tail - this.tail;
    const count = added < 0 ? added + this.size : added;
    if (count > this.size - 1 - this.submitted) return false;
    this.tail = tail;
    return true;
  }

  /** Moves past fetched entries. */
  advance(count: number): void {
    const head = this.head + count;
    this.head = head >= this.size ? head - this.size : head;
  }
}
