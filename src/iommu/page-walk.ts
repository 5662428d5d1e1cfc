/**
 * The first-stage page-table walk, Sv39 and Sv48 with NAPOT pages, for accesses without privilege or
 * execute. A and D are checked, never set. [RVIOMMU] 2.3, 2.4, [RVPRIV] 10.4
 * @module
 */
import { NO_FAULT } from './device-directory.ts';
import { Cause, FirstStage, Pte, PteHi, ppnToAddress } from './spec.ts';
import { Access, type TableMemory } from './table-memory.ts';

/** Size of an entry's index step at each level, as a factor: 2^-(12 + 9 * level). */
const INDEX_SCALE: readonly number[] = [2 ** -12, 2 ** -21, 2 ** -30, 2 ** -39];
const LEAF_BYTES: readonly number[] = [2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39];
/** A pointer must have none of these. */
const POINTER_RESERVED = Pte.U | Pte.A | Pte.D;
/** Low PPN bits of a 64 KiB NAPOT page. */
const NAPOT_PPN = 0b1000;

export class PageWalk {
  /** Results of a walk without a fault: level of the leaf, translated address, whether writes are allowed too. */
  level = 0;
  target = 0.5;
  writable = false;
  napot = false;
  readonly #memory: TableMemory;
  readonly #limit: number;

  /** @param limit exclusive bound of the physical addresses a leaf may give */
  constructor(memory: TableMemory, limit: number) {
    this.#memory = memory;
    this.#limit = limit;
  }

  /** Walks for one access; returns its cause, or {@link NO_FAULT}. */
  walk(mode: FirstStage, root: number, address: number, write: boolean): number {
    const top = mode === FirstStage.Sv48 ? 3 : 2;
    const pageFault = write ? Cause.WritePageFault : Cause.ReadPageFault;
    // Addresses are below 2^52, so the canonical ones have all bits from W-1 up clear.
    if (address * INDEX_SCALE[top]! >= 256) return pageFault;
    let table = root;
    for (let level = top; level >= 0; level--) {
      const index = (address * INDEX_SCALE[level]!) & 511;
      this.#memory.accesses++;
      const access = this.#memory.read(table + 8 * index);
      if (access !== Access.Ok) return accessCause(access, write);
      const { lo, hi } = this.#memory;
      if (!isWellFormed(lo, hi, level)) return pageFault;
      if ((lo & (Pte.R | Pte.X)) !== 0) return this.#leaf(lo, hi, level, address, write);
      if ((lo & POINTER_RESERVED) !== 0) return pageFault;
      table = ppnToAddress(lo, hi);
    }
    return pageFault;
  }

  #leaf(lo: number, hi: number, level: number, address: number, write: boolean): number {
    const pageFault = write ? Cause.WritePageFault : Cause.ReadPageFault;
    const needed = write ? Pte.W | Pte.U | Pte.A | Pte.D : Pte.R | Pte.U | Pte.A;
    if ((lo & needed) !== needed) return pageFault;
    let base = ppnToAddress(lo, hi);
    const size = LEAF_BYTES[level]!;
    if (Math.floor(base / size) * size !== base) return pageFault;
    this.napot = PteHi.N.get(hi) === 1;
    if (this.napot) {
      if (((lo >>> 10) & 0xf) !== NAPOT_PPN) return pageFault;
      base += (address & 0xf000) - (NAPOT_PPN << 12);
    }
    if (base + size > this.#limit) return write ? Cause.WriteAccessFault : Cause.ReadAccessFault;
    this.level = level;
    this.target = base + (address - Math.floor(address / size) * size);
    this.writable = (lo & Pte.W) !== 0 && (lo & Pte.D) !== 0;
    return NO_FAULT;
  }
}

/** Valid, and without an encoding that is reserved at this level. */
function isWellFormed(lo: number, hi: number, level: number): boolean {
  const isWriteOnly = (lo & (Pte.R | Pte.W)) === Pte.W;
  if ((lo & Pte.V) === 0 || isWriteOnly) return false;
  if (PteHi.PBMT.get(hi) !== 0 || PteHi.reserved.get(hi) !== 0) return false;
  return PteHi.N.get(hi) === 0 || level === 0;
}

function accessCause(access: Access, write: boolean): number {
  if (access === Access.Poison) return Cause.PageTableCorruption;
  return write ? Cause.WriteAccessFault : Cause.ReadAccessFault;
}
