/**
 * DMA transfers that a device has asked for, as pooled records in FIFO rings.
 * @module
 */
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { MessageBody } from '#emu/pcie/tlp/message.ts';
import { TlpKind } from '#emu/pcie/tlp/tlp.ts';
import { MessageRouting } from '#emu/pcie/tlp/tlp-messages.ts';

/** Told once how a transfer ended, never from inside the call that started it. */
export interface DmaClient {
  dmaDone(status: DmaStatus, arg: number): void;
}

export class DmaJob {
  isWrite = false;
  /** An `AtomicKind` whose operands are in `memory`; {@link TlpKind.MRd} for reads and writes. */
  atomic: TlpKind = TlpKind.MRd;
  /** Of its requests: `Tlp.flags` and `Tlp.pasid`. */
  flags = 0;
  pasid = 0;
  /** Tags that any completer handles. */
  smallTags = false;
  address = 0.5;
  sizeBytes = 0;
  /** Bytes for which a TLP was built. */
  issued = 0;
  /** Bytes answered, of a read. */
  answered = 0;
  /** Local memory; null for an interrupt, whose data is in `message`, and for messages. */
  memory: SparseMemory | null = null;
  at = 0;
  message = 0;
  /** Makes it a message instead, with this `MessageCode`, routing and body; -1 otherwise. */
  messageCode = -1;
  routing: MessageRouting = MessageRouting.ToRoot;
  body: MessageBody | null = null;
  purpose: Purpose = Purpose.Data;
  client: DmaClient | null = null;
  arg = 0;
  status: DmaStatus = DmaStatus.Ok;
  /** Resets of the function before its end was scheduled. */
  resets = 0;
  next: DmaJob | null = null;
}

/** FIFO of jobs, linked through the records. */
export class DmaJobQueue {
  #head: DmaJob | null = null;
  #tail: DmaJob | null = null;

  get head(): DmaJob | null {
    return this.#head;
  }

  push(job: DmaJob): void {
    job.next = null;
    if (this.#tail === null) this.#head = job;
    else this.#tail.next = job;
    this.#tail = job;
  }

  clear(): void {
    this.#head = null;
    this.#tail = null;
  }

  shift(): DmaJob | null {
    const job = this.#head;
    if (job === null) return null;
    this.#head = job.next;
    if (this.#head === null) this.#tail = null;
    job.next = null;
    return job;
  }
}

/** Free list of job records. */
export class DmaJobPool {
  #free: DmaJob | null = null;

  take(): DmaJob {
    const job = this.#free;
    if (job === null) return new DmaJob();
    this.#free = job.next;
    job.next = null;
    job.issued = 0;
    job.answered = 0;
    job.messageCode = -1;
    job.atomic = TlpKind.MRd;
    job.flags = 0;
    job.status = DmaStatus.Ok;
    return job;
  }

  give(job: DmaJob): void {
    job.memory = null;
    job.client = null;
    job.body = null;
    job.next = this.#free;
    this.#free = job;
  }
}
