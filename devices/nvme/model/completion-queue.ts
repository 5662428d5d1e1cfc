/**
 * State of one completion queue as the controller sees it: head, tail, phase, and completions that found it full.
 * Posting is the queue engine's. [NVME] 3.3.1, 3.3.3.2.2
 * @module
 */
import { CommandList } from './command.ts';

export class CompletionQueue {
  readonly id: number;
  /** Host address of entry 0. */
  readonly base: number;
  /** Entries. */
  readonly size: number;
  readonly vector: number;
  readonly interrupts: boolean;
  /** As last written to the doorbell. */
  head = 0;
  /** Next entry to post. */
  tail = 0;
  /** Phase tag of the next entry. */
  phase: 0 | 1 = 1;
  /** Submission queues that post here. */
  users = 0;
  /** Completions that wait for room, oldest first. */
  readonly waiting = new CommandList();

  constructor(id: number, base: number, size: number, vector: number, interrupts: boolean) {
    this.id = id;
    this.base = base;
    this.size = size;
    this.vector = vector;
    this.interrupts = interrupts;
  }

  /** Entries posted and not released by the host. */
  get used(): number {
    const count = this.tail - this.head;
    return count < 0 ? count + this.size : count;
  }
  get full(): boolean {
    return this.used === this.size - 1;
  }

  /** Takes a doorbell value. False when it lies outside the queue or releases more than was posted. */
  ring(head: number): boolean {
    if (head >= this.size) return false;
    const removed = head - this.head;
    const count = removed < 0 ? removed + this.size : removed;
    if (count > this.used) return false;
    this.head = head;
    return true;
  }

  /** Moves past the entry just posted; the phase turns over with the queue. */
  advance(): void {
    this.tail++;
    if (this.tail < this.size) return;
    this.tail = 0;
    this.phase = this.phase === 1 ? 0 : 1;
  }
}
