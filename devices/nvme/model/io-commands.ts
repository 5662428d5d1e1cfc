/**
 * Commands of the NVM command set: Read, Write and Flush. They check, and set a command's transfer up; queues
 * and data movement belong to the controller. [NVMECS] 3.2, [NVME] 7.1
 * @module
 */

import { IoOpcode, Psdt, RwCdw12, Status } from '#devices/nvme/spec.ts';
import { NSID_ALL, SglSupport } from '#devices/nvme/spec-identify.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Command, DataStage } from './command.ts';
import type { Media } from './media.ts';
import { type Namespace, NSID } from './namespace.ts';

/** What becomes of an I/O command that was checked. */
export interface IoOwner {
  /** Moves the command's data, then completes it. */
  transfer(command: Command, outward: boolean, stage: DataStage): void;
  /** Completes the command after a delay. */
  completeLater(command: Command, delayPs: number, status: Status): void;
  complete(command: Command, status: Status): void;
}

export interface IoParts {
  readonly kernel: Kernel;
  readonly namespace: Namespace;
  readonly media: Media;
  readonly staging: SparseMemory;
  /** Largest transfer of one command. */
  readonly maxTransferBytes: number;
  readonly sgl: SglSupport;
}

type Execute = (command: Command) => void;

export class IoCommands {
  readonly #parts: IoParts;
  readonly #owner: IoOwner;
  readonly #handlers: readonly (Execute | undefined)[];
  readonly #reading: DataStage;
  readonly #writing: DataStage;

  constructor(parts: IoParts, owner: IoOwner) {
    this.#parts = parts;
    this.#owner = owner;
    const handlers: (Execute | undefined)[] = [];
    handlers[IoOpcode.Flush] = (command) => this.#flush(command);
    handlers[IoOpcode.Write] = (command) => this.#write(command);
    handlers[IoOpcode.Read] = (command) => this.#read(command);
    this.#handlers = handlers;
    this.#reading = {
      delay: (command, size) => this.#readDelay(command, size),
      move: (command, offset, size, at) => this.#fill(command, offset, size, at),
    };
    this.#writing = {
      delay: (command) => this.#settleDelay(command),
      move: (command, offset, size, at) => this.#drain(command, offset, size, at),
    };
  }

  /** Opcodes that are implemented. */
  get opcodes(): readonly number[] {
    return Object.values(IoOpcode);
  }

  execute(command: Command): void {
    const handler = this.#handlers[command.opcode];
    if (!handler) this.#owner.complete(command, Status.InvalidOpcode);
    else if (command.fuse !== 0 || !this.#reads(command.psdt)) {
      this.#owner.complete(command, Status.InvalidField);
    } else handler(command);
  }

  /** Whether data pointers of this kind are understood. Without metadata it does not matter how SGLs describe it. */
  #reads(psdt: number): boolean {
    return psdt === Psdt.Prp || (psdt !== Psdt.Reserved && this.#parts.sgl !== SglSupport.None);
  }

  #read(command: Command): void {
    const status = this.#locate(command);
    if (status !== Status.Success) this.#owner.complete(command, status);
    else {
      this.#parts.namespace.reads++;
      this.#owner.transfer(command, true, this.#reading);
    }
  }

  #write(command: Command): void {
    const { namespace, kernel, media } = this.#parts;
    const status = this.#locate(command);
    if (status !== Status.Success) this.#owner.complete(command, status);
    else if (namespace.readOnly) {
      this.#owner.complete(command, Status.NamespaceWriteProtected);
    } else {
      namespace.writes++;
      command.settledPs = kernel.now + media.timing.writeLatencyPs;
      this.#owner.transfer(command, false, this.#writing);
    }
  }

  #flush(command: Command): void {
    const { namespace, media } = this.#parts;
    if (command.nsid !== NSID && command.nsid !== NSID_ALL) {
      this.#owner.complete(command, Status.InvalidNamespaceOrFormat);
      return;
    }
    this.#owner.completeLater(command, media.timing.flushLatencyPs, namespace.flush());
  }

  /** Checks namespace, size and block range of a read or write and notes them. [NVMECS] 3.2.4, 3.2.6 */
  #locate(command: Command): Status {
    const { namespace, maxTransferBytes } = this.#parts;
    if (command.nsid !== NSID) return Status.InvalidNamespaceOrFormat;
    const count = RwCdw12.NLB.get(command.cdw12) + 1;
    const bytes = count * namespace.blockSizeBytes;
    if (bytes > maxTransferBytes) return Status.InvalidField;
    if (!namespace.holds(command.cdw10, command.cdw11, count)) return Status.LbaOutOfRange;
    command.block = command.cdw11 * 2 ** 32 + command.cdw10;
    command.dataBytes = bytes;
    return Status.Success;
  }

  #readDelay(command: Command, size: number): number {
    const now = this.#parts.kernel.now;
    return this.#parts.media.readReady(now, size, command.movedBytes === 0) - now;
  }

  #fill(command: Command, offset: number, size: number, at: number): Status {
    const { namespace, staging } = this.#parts;
    const block = command.block + offset / namespace.blockSizeBytes;
    return namespace.read(block, size / namespace.blockSizeBytes, staging, at);
  }

  #drain(command: Command, offset: number, size: number, at: number): Status {
    const { namespace, staging, media, kernel } = this.#parts;
    const settled = media.writeSettled(kernel.now, size);
    command.settledPs = Math.max(command.settledPs, settled);
    const block = command.block + offset / namespace.blockSizeBytes;
    return namespace.write(block, size / namespace.blockSizeBytes, staging, at);
  }

  #settleDelay(command: Command): number {
    return Math.max(0, command.settledPs - this.#parts.kernel.now);
  }
}
