/**
 * A command from its submission queue entry to its completion: one pooled record with decoded fields.
 * It decides nothing. [NVME] 3.3.3.1
 * @module
 */
import { Sqe, SqeFlags, Status } from '#devices/nvme/spec.ts';
import { SglSupport } from '#devices/nvme/spec-identify.ts';
import type { DescriptorWalk } from './descriptor-walk.ts';
import { PrpWalk } from './prp-walk.ts';
import { RunCursor, RunList } from './run-list.ts';
import { SglWalk } from './sgl-walk.ts';
import type { SubmissionQueue } from './submission-queue.ts';

/** Keeps a command's data flowing; see the data mover. */
export interface DataStage {
  /** Outward: time until the next `sizeBytes` can leave, ps. Inward: time that completion still takes. */
  delay(command: Command, sizeBytes: number): number;
  /** Outward: fills `sizeBytes` at `at` of the staging memory. Inward: takes them from there. */
  move(command: Command, offset: number, sizeBytes: number, at: number): Status;
}

export class Command {
  /** Place in the pool; staging memory is divided by it. */
  readonly index: number;
  /** Where its data lies, found by one of the walks: the one that `walk` is. */
  readonly runs = new RunList();
  readonly prps = new PrpWalk(this.runs);
  readonly sgl: SglWalk;
  walk: DescriptorWalk = this.prps;
  readonly cursor = new RunCursor();
  /** False once abandoned by a reset: events that still name it do nothing. */
  live = false;
  /** Link of the one list the command may wait in. */
  next: Command | null = null;
  queue: SubmissionQueue | null = null;

  opcode = 0;
  fuse = 0;
  psdt = 0;
  cid = 0;
  nsid = 0;
  /** The data pointer as PRPs. An SGL descriptor has its length in the third dword, its identifier in the last. */
  prp1Lo = 0;
  prp1Hi = 0;
  prp2Lo = 0;
  prp2Hi = 0;
  cdw10 = 0;
  cdw11 = 0;
  cdw12 = 0;
  cdw13 = 0;
  cdw14 = 0;

  /** When its entry had been fetched, ps. */
  startedPs = 0.5;
  status: Status = Status.Success;
  dw0 = 0;

  /** Data transfer: whole size, bytes given out so far, chunks under way, and what handles them. */
  dataBytes = 0;
  movedBytes = 0;
  chunks = 0;
  outward = false;
  /** Whether it waits for a chunk of staging memory. */
  starved = false;
  stage: DataStage | null = null;
  /** First block of a read or write. */
  block = 0.5;
  /** When the medium has taken everything handed to it so far, ps. */
  settledPs = 0.5;
  /** Data made by the controller itself. */
  payload: Uint8Array | null = null;

  constructor(index: number, sgl: SglSupport) {
    this.index = index;
    this.sgl = new SglWalk(this.runs, sgl === SglSupport.Dword);
  }

  /** Takes the fields of the entry at `at` and clears all progress. */
  decode(view: DataView, at: number): void {
    const flags = Sqe.flags.get(view, at);
    this.opcode = Sqe.opcode.get(view, at);
    this.fuse = SqeFlags.FUSE.get(flags);
    this.psdt = SqeFlags.PSDT.get(flags);
    this.cid = Sqe.cid.get(view, at);
    this.nsid = Sqe.nsid.get(view, at);
    this.prp1Lo = view.getUint32(at + Sqe.prp1.at, true);
    this.prp1Hi = view.getUint32(at + Sqe.prp1.at + 4, true);
    this.prp2Lo = view.getUint32(at + Sqe.prp2.at, true);
    this.prp2Hi = view.getUint32(at + Sqe.prp2.at + 4, true);
    this.cdw10 = Sqe.cdw10.get(view, at);
    this.cdw11 = Sqe.cdw11.get(view, at);
    this.cdw12 = Sqe.cdw12.get(view, at);
    this.cdw13 = Sqe.cdw13.get(view, at);
    this.cdw14 = Sqe.cdw14.get(view, at);
    this.status = Status.Success;
    this.dw0 = 0;
    this.#clearTransfer();
  }

  #clearTransfer(): void {
    this.dataBytes = 0;
    this.movedBytes = 0;
    this.chunks = 0;
    this.starved = false;
    this.stage = null;
    this.payload = null;
    this.cursor.reset();
  }
}

/** First-in, first-out list threaded through the commands themselves. */
export class CommandList {
  #head: Command | null = null;
  #tail: Command | null = null;

  push(command: Command): void {
    command.next = null;
    if (this.#tail) this.#tail.next = command;
    else this.#head = command;
    this.#tail = command;
  }

  shift(): Command | null {
    const command = this.#head;
    if (command) {
      this.#head = command.next;
      if (!this.#head) this.#tail = null;
      command.next = null;
    }
    return command;
  }

  /** Takes out and returns the commands of `queue`, keeping the order of the others. */
  extract(queue: SubmissionQueue): Command[] {
    const found: Command[] = [];
    let left = this.#head;
    this.#head = null;
    this.#tail = null;
    while (left) {
      const command = left;
      left = command.next;
      if (command.queue === queue) {
        command.next = null;
        found.push(command);
      } else this.push(command);
    }
    return found;
  }
}

/** Commands at rest; grows to the largest number that was ever under way. */
export class CommandPool {
  readonly #all: Command[] = [];
  readonly #free: Command[] = [];
  readonly #sgl: SglSupport;

  constructor(sgl: SglSupport) {
    this.#sgl = sgl;
  }

  /** The command at a place in the pool; none after {@link abandon}. */
  at(index: number): Command | undefined {
    return this.#all[index];
  }

  take(): Command {
    const command = this.#free.pop() ?? this.#make();
    command.live = true;
    return command;
  }

  give(command: Command): void {
    command.live = false;
    command.queue = null;
    this.#free.push(command);
  }

  /** Forgets every command: what is under way stays alive only in events that will find it dead. */
  abandon(): void {
    for (const command of this.#all) command.live = false;
    this.#all.length = 0;
    this.#free.length = 0;
  }

  #make(): Command {
    const command = new Command(this.#all.length, this.#sgl);
    this.#all.push(command);
    return command;
  }
}
