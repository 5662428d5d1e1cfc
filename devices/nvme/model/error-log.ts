/**
 * The Error Information log: what the last commands that failed were. [NVME] 5.16.1.2
 * @module
 */
import { CqeStatus } from '#devices/nvme/spec.ts';
import { ErrorLogEntry } from '#devices/nvme/spec-logs.ts';
import type { Command } from './command.ts';

export const ERROR_LOG_ENTRIES = 16;
/** Parameter location that names no field. */
const NOWHERE = 0xffff;

export class ErrorLog {
  /** Errors since the drive was made. */
  count = 0;
  /** Ring of entries; error n stands at (n - 1) modulo its length. */
  readonly #ring = new Uint8Array(ERROR_LOG_ENTRIES * ErrorLogEntry.SIZE);
  readonly #view = new DataView(this.#ring.buffer);

  /** Notes a command that completes with an error. */
  add(command: Command): void {
    const at = (this.count % ERROR_LOG_ENTRIES) * ErrorLogEntry.SIZE;
    const view = this.#view;
    this.count++;
    ErrorLogEntry.errorCount.set(view, at, this.count);
    ErrorLogEntry.sqid.set(view, at, command.queue?.id ?? 0);
    ErrorLogEntry.cid.set(view, at, command.cid);
    ErrorLogEntry.status.set(view, at, CqeStatus.CODE.of(command.status));
    ErrorLogEntry.parameter.set(view, at, NOWHERE);
    ErrorLogEntry.nsid.set(view, at, command.nsid);
    const io = command.queue !== null && command.queue.id > 0;
    view.setUint32(at + ErrorLogEntry.lba.at, io ? command.cdw10 : 0, true);
    view.setUint32(at + ErrorLogEntry.lba.at + 4, io ? command.cdw11 : 0, true);
  }

  /** The log page: newest entry first. */
  page(): Uint8Array {
    const page = new Uint8Array(this.#ring.length);
    const held = Math.min(this.count, ERROR_LOG_ENTRIES);
    for (let i = 0; i < held; i++) {
      const from = ((this.count - 1 - i) % ERROR_LOG_ENTRIES) * ErrorLogEntry.SIZE;
      page.set(this.#ring.subarray(from, from + ErrorLogEntry.SIZE), i * ErrorLogEntry.SIZE);
    }
    return page;
  }
}
