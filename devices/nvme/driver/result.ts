/**
 * How a command ended, for whoever asked: a name to read and compare, and the numbers behind it.
 * @module
 */
import { Status, type StatusName } from '#devices/nvme/spec.ts';

/** Code of a command that was not answered in time. */
export const TIMED_OUT = -1;

export interface NvmeResult {
  readonly ok: boolean;
  /** `Success`, another name of the status table, `timeout`, or the code in hex for one it does not list. */
  readonly status: StatusName | 'timeout' | `0x${string}`;
  /** Status code type and status code, or {@link TIMED_OUT}. */
  readonly code: number;
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
export const statusName = (code: number): NvmeResult['status'] =>
  code === TIMED_OUT ? 'timeout' : (NAMES.get(code) ?? `0x${code.toString(16)}`);

export const resultOf = (code: number, dw0: number, latencyPs: number): NvmeResult => ({
  ok: code === Status.Success,
  status: statusName(code),
  code,
  dw0,
  latencyPs,
});
