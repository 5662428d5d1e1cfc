/**
 * How a command ended, for whoever asked: a name to read and compare, and the numbers behind it.
 * @module
 */
import { Status, type StatusName } from '#devices/nvme/spec.ts';

/** Code of a command that was not answered in time. */
export const TIMED_OUT = -1;
/** Code of a command that was not submitted: nothing can describe its data. */
export const REFUSED = -2;

export interface NvmeResult {
  readonly ok: boolean;
  /**
   * `Success`, another name of the status table, or the code in hex for one it does not list; `timeout` when nothing
   * came back, `refused` when the driver did not submit it.
   */
  readonly status: StatusName | 'timeout' | 'refused' | `0x${string}`;
  /** Status code type and status code, {@link TIMED_OUT} or {@link REFUSED}. */
  readonly code: number;
  /** Why it was refused, else null. */
  readonly reason: string | null;
  /** Dword 0 of the completion. */
  readonly dw0: number;
  /** From the doorbell to the handling of the completion, ps. */
  readonly latencyPs: number;
}

const NAMES: ReadonlyMap<number, StatusName> = new Map(statusNames());

function* statusNames(): Generator<[number, StatusName]> {
  let name: StatusName;
  for (name in Status) yield [Status[name], name];
}

/** Name of a status code. */
export function statusName(code: number): NvmeResult['status'] {
  if (code === TIMED_OUT) return 'timeout';
  if (code === REFUSED) return 'refused';
  return NAMES.get(code) ?? `0x${code.toString(16)}`;
}

export const resultOf = (code: number, dw0: number, latencyPs: number): NvmeResult => ({
  ok: code === Status.Success,
  status: statusName(code),
  code,
  reason: null,
  dw0,
  latencyPs,
});

export const refusal = (reason: string): NvmeResult => ({ ...resultOf(REFUSED, 0, 0), reason });
