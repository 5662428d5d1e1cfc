/**
 * The walk from `ddtp` to a device context in base format, with every check the context must pass.
 * Features that `capabilities` does not advertise make a context misconfigured. [RVIOMMU] 2.1, 2.3
 * @module
 */
import type { DeviceContext } from './context-cache.ts';
import { Cause, Dc, DcTa, DcTc, DdtMode, FirstStage, Iosatp, ppnToAddress } from './spec.ts';
import { Access, type TableMemory } from './table-memory.ts';

/** What walks return when nothing is wrong. */
export const NO_FAULT = 0;

/** Exclusive limit of the device ids that each `ddtp.iommu_mode` can hold. [RVIOMMU] 2.1 */
const ID_LIMIT: readonly number[] = [0, 0, 2 ** 7, 2 ** 16, 2 ** 24];
/** Shift of the index into the directory level above the contexts, and into the one above that. */
const INDEX_SHIFT: readonly number[] = [0, 7, 16];
const INDEX_MASK: readonly number[] = [0x7f, 0x1ff, 0xff];

const CONTEXT_WORDS = Dc.SIZE / 8;
const TC = Dc.tc / 8;
const IOHGATP = Dc.iohgatp / 8;
const TA = Dc.ta / 8;
const FSC = Dc.fsc / 8;

/** Bits of a non-leaf entry that must be zero: 9:1 and 63:54. */
const NODE_RESERVED_LO = 0x3fe;
const NODE_RESERVED_HI = 0xffc0_0000;
/** `tc` bits that ask for features not implemented, or are reserved: all but V, DTF and custom 31:24. */
const TC_REFUSED_LO = 0x00ff_ffee;
/** `ta` has PSCID only: RCID and MCID need QOSID. */
const TA_RESERVED_LO = 0xfff;
/** `fsc` bits 59:44. */
const FSC_RESERVED_HI = 0x0fff_f000;

export class DeviceDirectory {
  /** Root page and `ddtp.iommu_mode`, as the owner last set them. */
  root = 0.5;
  mode: DdtMode = DdtMode.Off;
  readonly #memory: TableMemory;
  readonly #lo = new Uint32Array(CONTEXT_WORDS);
  readonly #hi = new Uint32Array(CONTEXT_WORDS);

  constructor(memory: TableMemory) {
    this.#memory = memory;
  }

  /** Finds the context of `deviceId`; returns its cause, or {@link NO_FAULT} with `into` filled. */
  walk(deviceId: number, into: DeviceContext): number {
    if (deviceId >= ID_LIMIT[this.mode]!) return Cause.TransactionTypeDisallowed;
    const memory = this.#memory;
    let table = this.root;
    for (let level = this.mode - DdtMode.OneLevel; level > 0; level--) {
      const index = (deviceId >> INDEX_SHIFT[level]!) & INDEX_MASK[level]!;
      memory.accesses++;
      const cause = directoryCause(memory.read(table + 8 * index));
      if (cause !== NO_FAULT) return cause;
      if ((memory.lo & 1) === 0) return Cause.DdtEntryNotValid;
      const reserved = (memory.lo & NODE_RESERVED_LO) | (memory.hi & NODE_RESERVED_HI);
      if (reserved !== 0) return Cause.DdtEntryMisconfigured;
      table = ppnToAddress(memory.lo, memory.hi);
    }
    return this.#context(table + Dc.SIZE * (deviceId & INDEX_MASK[0]!), into);
  }

  /** A context is one access of 32 bytes: it is judged only when all of it could be read. */
  #context(at: number, into: DeviceContext): number {
    const memory = this.#memory;
    memory.accesses++;
    for (let word = 0; word < CONTEXT_WORDS; word++) {
      const cause = directoryCause(memory.read(at + 8 * word));
      if (cause !== NO_FAULT) return cause;
      this.#lo[word] = memory.lo;
      this.#hi[word] = memory.hi;
    }
    if (DcTc.V.get(this.#lo[TC]!) === 0) return Cause.DdtEntryNotValid;
    return this.#decode(into) ? NO_FAULT : Cause.DdtEntryMisconfigured;
  }

  /** False when the context is misconfigured. [RVIOMMU] 2.1.4 */
  #decode(into: DeviceContext): boolean {
    const lo = this.#lo;
    const hi = this.#hi;
    const refused = (lo[TC]! & TC_REFUSED_LO) | hi[TC]! | hi[TA]! | (lo[TA]! & TA_RESERVED_LO);
    const hasSecondStage = hi[IOHGATP]! >>> 28 !== 0;
    const mode = Iosatp.MODE.get(hi[FSC]!);
    const isKnown =
      mode === FirstStage.Bare || mode === FirstStage.Sv39 || mode === FirstStage.Sv48;
    if (refused !== 0 || hasSecondStage || !isKnown) return false;
    into.quiet = DcTc.DTF.get(lo[TC]!) === 1;
    into.pscid = DcTa.PSCID.get(lo[TA]!);
    into.firstStage = mode;
    into.root = (lo[FSC]! + Iosatp.ppnHi.get(hi[FSC]!) * 0x1_0000_0000) * 4096;
    return (hi[FSC]! & FSC_RESERVED_HI) === 0;
  }
}

function directoryCause(access: Access): number {
  if (access === Access.Ok) return NO_FAULT;
  return access === Access.Poison ? Cause.DdtCorruption : Cause.DdtEntryLoadFault;
}
