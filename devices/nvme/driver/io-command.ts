/**
 * One Read, Write or Flush on its way through the driver. [NVMECS] 3.2
 * @module
 */
import type { Pending } from '#emu/sim/pending.ts';
import { CommandFields } from './command-fields.ts';
import type { RangeReader } from './data-ranges.ts';
import { type Dispatcher, type Issuer, Submission } from './dispatcher.ts';
import type { LatencyLog } from './latency-log.ts';
import type { CommandClient } from './queue-pair.ts';
import { type NvmeResult, refusal, resultOf } from './result.ts';

export class IoCommand implements Issuer, CommandClient {
  readonly fields = new CommandFields();
  readonly #dispatcher: Dispatcher;
  readonly #latencies: LatencyLog;
  readonly #pending: Pending<NvmeResult>;
  readonly #reader: RangeReader | null;
  readonly #sizeBytes: number;

  /** @param reader the data, or null for a command without any */
  constructor(
    dispatcher: Dispatcher,
    latencies: LatencyLog,
    pending: Pending<NvmeResult>,
    reader: RangeReader | null,
    sizeBytes: number,
  ) {
    this.#dispatcher = dispatcher;
    this.#latencies = latencies;
    this.#pending = pending;
    this.#reader = reader;
    this.#sizeBytes = sizeBytes;
  }

  issue(): boolean {
    const { fields } = this;
    const result = this.#dispatcher.submit(fields, this.#reader, this.#sizeBytes, this, 0);
    if (result === Submission.Refused) this.#pending.complete(refusal(this.#dispatcher.refusal));
    return result !== Submission.NoRoom;
  }

  abandon(code: number): void {
    this.#pending.complete(resultOf(code, 0, 0));
  }

  commandDone(_arg: number, code: number, dw0: number, latencyPs: number): void {
    this.#latencies.add(latencyPs);
    this.#pending.complete(resultOf(code, dw0, latencyPs));
  }
}
