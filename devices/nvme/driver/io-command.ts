/**
 * One Read, Write or Flush on its way through the driver. [NVMECS] 3.2
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { CommandFields } from './command-fields.ts';
import type { Dispatcher, Issuer } from './dispatcher.ts';
import type { LatencyLog } from './latency-log.ts';
import type { PageCursor } from './page-cursor.ts';
import type { CommandClient } from './queue-pair.ts';
import { type NvmeResult, resultOf } from './result.ts';

export class IoCommand implements Issuer, CommandClient {
  readonly fields = new CommandFields();
  readonly #dispatcher: Dispatcher;
  readonly #latencies: LatencyLog;
  readonly #pending: Pending<NvmeResult>;
  readonly #cursor: PageCursor | null;
  readonly #sizeBytes: number;

  /** @param cursor the data, or null for a command without any */
  constructor(
    dispatcher: Dispatcher,
    latencies: LatencyLog,
    pending: Pending<NvmeResult>,
    cursor: PageCursor | null,
    sizeBytes: number,
  ) {
    this.#dispatcher = dispatcher;
    this.#latencies = latencies;
    this.#pending = pending;
    this.#cursor = cursor;
    this.#sizeBytes = sizeBytes;
  }

  issue(): boolean {
    try {
      return this.#dispatcher.submit(this.fields, this.#cursor, this.#sizeBytes, this, 0);
    } catch (error) {
      if (!(error instanceof EmuError)) throw error;
      this.#pending.fail(error);
      return true;
    }
  }

  abandon(code: number): void {
    this.#pending.complete(resultOf(code, 0, 0));
  }

  commandDone(_arg: number, code: number, dw0: number, latencyPs: number): void {
    this.#latencies.add(latencyPs);
    this.#pending.complete(resultOf(code, dw0, latencyPs));
  }
}
