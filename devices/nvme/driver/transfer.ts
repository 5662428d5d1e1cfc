/**
 * A large transfer as many commands: of a given size, so many outstanding, until all is moved or one
 * fails. [NVMECS] 3.2.4, 3.2.6
 * @module
 */

import { Status } from '#devices/nvme/spec.ts';
import { hi32, lo32 } from '#emu/base/units.ts';
import type { DmaRangeList } from '#emu/dma/lists/dma-range-list.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { CommandFields } from './command-fields.ts';
import { RangeReader } from './data-ranges.ts';
import { type Dispatcher, type Issuer, Submission } from './dispatcher.ts';
import { LatencyLog } from './latency-log.ts';
import type { CommandClient } from './queue-pair.ts';
import { type NvmeResult, REFUSED, statusName } from './result.ts';

export interface TransferResult {
  readonly ok: boolean;
  /** Of the first command that failed, or `Success`. */
  readonly status: NvmeResult['status'];
  readonly code: number;
  /** Why a command was refused, if that is the status, else null. */
  readonly reason: string | null;
  readonly commands: number;
  /** Bytes of the commands that succeeded. */
  readonly bytes: number;
  /** First doorbell and last completion, simulated time. */
  readonly startedPs: number;
  readonly endedPs: number;
  readonly latencies: LatencyLog;
}

/** A transfer with everything decided. */
export interface TransferPlan {
  readonly opcode: number;
  readonly nsid: number;
  readonly block: number;
  readonly blockSizeBytes: number;
  readonly ranges: DmaRangeList;
  readonly offset: number;
  readonly sizeBytes: number;
  /** Bytes of each command but the last. */
  readonly commandBytes: number;
  readonly depth: number;
  /** Called after each command that succeeded. */
  readonly onProgress: ((bytes: number) => void) | null;
}

export class Transfer implements Issuer, CommandClient {
  readonly #plan: TransferPlan;
  readonly #kernel: Kernel;
  readonly #dispatcher: Dispatcher;
  readonly #log: LatencyLog;
  readonly #pending: Pending<TransferResult>;
  readonly #latencies = new LatencyLog();
  readonly #fields = new CommandFields();
  readonly #reader = new RangeReader();
  #issued = 0;
  #moved = 0;
  #commands = 0;
  #active = 0;
  #code: number = Status.Success;
  #reason: string | null = null;
  /** Whether it waits in the dispatcher. */
  #waiting = false;
  #startedPs = 0.5;

  constructor(
    plan: TransferPlan,
    kernel: Kernel,
    dispatcher: Dispatcher,
    log: LatencyLog,
    pending: Pending<TransferResult>,
  ) {
    this.#plan = plan;
    this.#kernel = kernel;
    this.#dispatcher = dispatcher;
    this.#log = log;
    this.#pending = pending;
    this.#reader.start(plan.ranges, plan.offset);
  }

  start(): void {
    this.#startedPs = this.#kernel.now;
    if (this.#plan.sizeBytes === 0) this.#finish();
    else this.#proceed();
  }

  issue(): boolean {
    const { depth } = this.#plan;
    while (this.#wanted && this.#active < depth) {
      if (!this.#issueOne()) return false;
    }
    this.#waiting = false;
    if (this.#active === 0) this.#finish();
    return true;
  }

  abandon(code: number): void {
    this.#waiting = false;
    this.#code = code;
    this.#finish();
  }

  commandDone(sizeBytes: number, code: number, _dw0: number, latencyPs: number): void {
    this.#active--;
    this.#latencies.add(latencyPs);
    this.#log.add(latencyPs);
    if (code === Status.Success) {
      this.#moved += sizeBytes;
      this.#plan.onProgress?.(this.#moved);
    } else if (this.#code === Status.Success) this.#code = code;
    if (this.#waiting) return;
    if (this.#wanted) this.#proceed();
    else if (this.#active === 0) this.#finish();
  }

  get #wanted(): boolean {
    return this.#code === Status.Success && this.#issued < this.#plan.sizeBytes;
  }

  #proceed(): void {
    this.#waiting = true;
    this.#dispatcher.enqueue(this);
  }

  #issueOne(): boolean {
    const plan = this.#plan;
    const size = Math.min(plan.commandBytes, plan.sizeBytes - this.#issued);
    const block = plan.block + this.#issued / plan.blockSizeBytes;
    const fields = this.#fields.clear(plan.opcode, plan.nsid);
    fields.cdw10 = lo32(block);
    fields.cdw11 = hi32(block);
    fields.cdw12 = size / plan.blockSizeBytes - 1;
    const result = this.#dispatcher.submit(fields, this.#reader, size, this, size);
    if (result === Submission.NoRoom) return false;
    if (result === Submission.Refused) {
      this.#code = REFUSED;
      this.#reason = this.#dispatcher.refusal;
      return true;
    }
    this.#issued += size;
    this.#commands++;
    this.#active++;
    return true;
  }

  #finish(): void {
    this.#pending.complete({
      ok: this.#code === Status.Success,
      status: statusName(this.#code),
      code: this.#code,
      reason: this.#reason,
      commands: this.#commands,
      bytes: this.#moved,
      startedPs: this.#startedPs,
      endedPs: this.#kernel.now,
      latencies: this.#latencies,
    });
  }
}
