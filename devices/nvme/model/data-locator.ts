/**
 * Finds out where the data of commands lies: walks their PRPs or SGLs, reading the lists these point to. Data is
 * moved elsewhere. [NVME] 4.1
 * @module
 */

import { MIN_PAGE_SIZE, Psdt, Status } from '#devices/nvme/spec.ts';
import { PAGE_SIZE, pageOffset } from '#emu/base/units.ts';
import { arena } from '#emu/memory/arena.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { Command, CommandPool } from './command.ts';
import { WalkStep } from './descriptor-walk.ts';
import type { DmaChannel, HostPort } from './host-port.ts';
import type { StagingLayout } from './staging.ts';

/** Takes commands whose runs are known, or whose descriptors are no good. */
export interface LocatorClient {
  located(command: Command): void;
  unlocated(command: Command, status: Status): void;
}

export class DataLocator {
  /** Memory page size in force, CC.MPS. */
  pageSize = MIN_PAGE_SIZE;
  readonly #port: HostPort;
  readonly #layout: StagingLayout;
  readonly #pool: CommandPool;
  readonly #client: LocatorClient;
  readonly #reads: DmaChannel;

  constructor(port: HostPort, layout: StagingLayout, pool: CommandPool, client: LocatorClient) {
    this.#port = port;
    this.#layout = layout;
    this.#pool = pool;
    this.#client = client;
    this.#reads = port.channel(Purpose.Control, {
      dmaDone: (status, index) => this.#listRead(status, index),
    });
  }

  /** Walks the data pointer of a command for its `dataBytes`. */
  locate(command: Command): void {
    this.#follow(command, this.#begin(command));
  }

  #begin(command: Command): WalkStep {
    const { dataBytes, outward, prp1Lo, prp1Hi, prp2Lo, prp2Hi } = command;
    if (command.psdt === Psdt.Prp) {
      command.walk = command.prps;
      return command.prps.begin(this.pageSize, dataBytes, prp1Lo, prp1Hi, prp2Lo, prp2Hi);
    }
    command.walk = command.sgl;
    return command.sgl.begin(dataBytes, outward, prp1Lo, prp1Hi, prp2Lo, prp2Hi);
  }

  #follow(command: Command, step: WalkStep): void {
    const { walk } = command;
    if (step === WalkStep.Done) this.#client.located(command);
    else if (step === WalkStep.Invalid) this.#client.unlocated(command, walk.status);
    else {
      const at = this.#layout.list(command.index);
      this.#reads.read(walk.listAddress, walk.listBytes, at, command.index);
    }
  }

  #listRead(status: DmaStatus, index: number): void {
    const command = this.#pool.at(index);
    if (!command?.live) return;
    if (status === DmaStatus.Ok) this.#follow(command, this.#readList(command));
    else this.#client.unlocated(command, Status.DataTransferError);
  }

  /** Feeds the fetched entries to the walk, frame by frame. */
  #readList(command: Command): WalkStep {
    const bytes = command.walk.listBytes;
    const base = this.#layout.list(command.index);
    let step: WalkStep = WalkStep.List;
    for (let done = 0; done < bytes && step === WalkStep.List; ) {
      const at = base + done;
      const size = Math.min(bytes - done, PAGE_SIZE - pageOffset(at));
      const frame = this.#port.staging.ensureFrame(at) + pageOffset(at);
      step = command.walk.list(arena.view, frame, size);
      done += size;
    }
    return step;
  }
}
