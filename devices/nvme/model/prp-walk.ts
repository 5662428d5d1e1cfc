/**
 * Turns the PRP entries of a command into runs of host addresses. It asks for the list pages it needs and is
 * given their bytes; fetching them, and all timing, belongs to the caller. [NVME] 4.1.1
 * @module
 */

import { PRP_SIZE, Status } from '#devices/nvme/spec.ts';
import { type DescriptorWalk, reach, WalkStep } from './descriptor-walk.ts';
import { RunList } from './run-list.ts';

const DWORD_MASK = 3;
const QWORD_MASK = 7;

export class PrpWalk implements DescriptorWalk {
  /** The result, in data order. */
  readonly runs: RunList;
  /** List bytes wanted never cross a page. */
  listAddress = 0.5;
  listBytes = 0;
  status: Status = Status.Success;
  #pageSize = 0;
  #left = 0;

  constructor(runs: RunList = new RunList()) {
    this.runs = runs;
  }

  /**
   * Starts on `sizeBytes` (at least 1) of data described by PRP1 and PRP2, each as two 32-bit halves.
   * An offset of PRP1 that is no multiple of 4 is refused, as the specification lets a controller do.
   */
  begin(
    pageSize: number,
    sizeBytes: number,
    lo1: number,
    hi1: number,
    lo2: number,
    hi2: number,
  ): WalkStep {
    this.runs.clear();
    this.#pageSize = pageSize;
    if (lo1 & DWORD_MASK) return this.#invalid();
    const first = Math.min(sizeBytes, pageSize - (lo1 & (pageSize - 1)));
    this.runs.append(reach(lo1, hi1), first);
    this.#left = sizeBytes - first;
    if (this.#left === 0) return WalkStep.Done;
    if (this.#left <= pageSize) return this.#data(lo2, hi2) ? WalkStep.Done : this.#invalid();
    if (lo2 & QWORD_MASK) return this.#invalid();
    return this.#want(reach(lo2, hi2), lo2 & (pageSize - 1));
  }

  list(view: DataView, at: number, bytes: number): WalkStep {
    for (let i = at; i < at + bytes; i += PRP_SIZE) {
      const lo = view.getUint32(i, true);
      const hi = view.getUint32(i + 4, true);
      this.listBytes -= PRP_SIZE;
      if (this.listBytes === 0 && this.#left > this.#pageSize) {
        if (lo & (this.#pageSize - 1)) return this.#invalid();
        return this.#want(reach(lo, hi), 0);
      }
      if (!this.#data(lo, hi)) return this.#invalid();
    }
    return this.#left === 0 ? WalkStep.Done : WalkStep.List;
  }

  /** Appends the page of a data entry; false when it has an offset. */
  #data(lo: number, hi: number): boolean {
    if (lo & (this.#pageSize - 1)) return false;
    const size = Math.min(this.#left, this.#pageSize);
    this.runs.append(reach(lo, hi), size);
    this.#left -= size;
    return true;
  }

  /** Wants the list at `address` up to the end of its page; more entries than fit make the last one a link. */
  #want(address: number, offset: number): WalkStep {
    const fit = (this.#pageSize - offset) / PRP_SIZE;
    const needed = Math.ceil(this.#left / this.#pageSize);
    this.listAddress = address;
    this.listBytes = Math.min(fit, needed) * PRP_SIZE;
    return WalkStep.List;
  }

  #invalid(): WalkStep {
    this.status = Status.PrpOffsetInvalid;
    return WalkStep.Invalid;
  }
}
