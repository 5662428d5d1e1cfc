/**
 * Turns the SGL of a command into runs of host addresses. It asks for the segments it needs, piece by piece, and
 * is given their bytes; fetching them, and all timing, belongs to the caller. [NVME] 4.1.2
 * @module
 */
import { SglDescriptor, SglId, SglSubtype, SglType, Status } from '#devices/nvme/spec.ts';
import { type DescriptorWalk, reach, WalkStep } from './descriptor-walk.ts';
import { DISCARD, RunList } from './run-list.ts';

const { SIZE } = SglDescriptor;
/** Most bytes of a segment asked for at once. */
const PIECE_BYTES = 4096;
/** Model: a command has at most so many descriptors, so that a chain that runs in a circle ends. */
export const MAX_DESCRIPTORS = 65_536;
const DWORD_MASK = 3;
const QWORD_MASK = 7;

export class SglWalk implements DescriptorWalk {
  /** The result, in data order. */
  readonly runs: RunList;
  listAddress = 0.5;
  listBytes = 0;
  status: Status = Status.Success;
  /** Bits that must be 0 in addresses and lengths of data blocks. */
  readonly #granularityMask: number;
  /** Whether a bit bucket swallows data: only on the way to the host. */
  #discards = false;
  /** Bytes of data not described yet, and of the current segment not taken yet. */
  #left = 0;
  #rest = 0;
  /** Whether the current segment was announced as the last. */
  #isLast = false;
  #count = 0;

  /** @param needsDwords whether data blocks come in whole dwords only */
  constructor(runs: RunList = new RunList(), needsDwords = false) {
    this.runs = runs;
    this.#granularityMask = needsDwords ? DWORD_MASK : 0;
  }

  /**
   * Starts on `sizeBytes` (at least 1) of data with the descriptor in the command, given as its four dwords.
   * `outward` data goes to the host.
   */
  begin(
    sizeBytes: number,
    outward: boolean,
    lo: number,
    hi: number,
    length: number,
    tail: number,
  ): WalkStep {
    this.runs.clear();
    this.status = Status.Success;
    this.#left = sizeBytes;
    this.#discards = outward;
    this.#rest = 0;
    this.#isLast = false;
    this.#count = 0;
    return this.#take(lo, hi, length, tail >>> 24);
  }

  list(view: DataView, at: number, bytes: number): WalkStep {
    this.listAddress += bytes;
    this.listBytes -= bytes;
    for (let i = at; i < at + bytes; i += SIZE) {
      this.#rest -= SIZE;
      const lo = view.getUint32(i, true);
      const hi = view.getUint32(i + 4, true);
      const id = SglDescriptor.id.get(view, i);
      const step = this.#take(lo, hi, SglDescriptor.length.get(view, i), id);
      if (step !== WalkStep.List) return step;
    }
    if (this.listBytes === 0) this.listBytes = Math.min(this.#rest, PIECE_BYTES);
    return WalkStep.List;
  }

  #take(lo: number, hi: number, length: number, id: number): WalkStep {
    const type = SglId.TYPE.get(id);
    const problem = this.#problemOf(type, SglId.SUBTYPE.get(id));
    if (problem !== Status.Success) return this.#invalid(problem);
    if (type === SglType.Segment || type === SglType.LastSegment) {
      return this.#follow(lo, hi, length, type === SglType.LastSegment);
    }
    const isData = type === SglType.DataBlock;
    if (isData && (lo | length) & this.#granularityMask) {
      return this.#invalid(Status.SglDataBlockGranularityInvalid);
    }
    const size = isData || this.#discards ? length : 0;
    // SGLS says that an SGL may not be longer than the data.
    if (size > this.#left) return this.#invalid(Status.DataSglLengthInvalid);
    if (size > 0) this.runs.append(isData ? reach(lo, hi) : DISCARD, size);
    this.#left -= size;
    if (this.#rest > 0) return WalkStep.List;
    // Model: data may end in a segment that was not announced as the last, as other controllers have it.
    return this.#left === 0 ? WalkStep.Done : this.#invalid(Status.DataSglLengthInvalid);
  }

  /** What is wrong with a descriptor whatever it describes. Keyed and transport data blocks are for fabrics. */
  #problemOf(type: number, subtype: number): Status {
    if (++this.#count > MAX_DESCRIPTORS) return Status.InvalidNumberOfSglDescriptors;
    if (type > SglType.LastSegment) return Status.SglDescriptorTypeInvalid;
    if (subtype === SglSubtype.Address) return Status.Success;
    // There is no capsule that an offset could count from.
    const isOffset = subtype === SglSubtype.Offset && type !== SglType.BitBucket;
    return isOffset ? Status.SglOffsetInvalid : Status.SglDescriptorTypeInvalid;
  }

  /** Goes on to the segment that the last descriptor of this one names. */
  #follow(lo: number, hi: number, length: number, isLast: boolean): WalkStep {
    if (this.#rest > 0) return this.#invalid(Status.InvalidNumberOfSglDescriptors);
    const isWhole = length > 0 && length % SIZE === 0 && (lo & QWORD_MASK) === 0;
    if (this.#isLast || !isWhole) return this.#invalid(Status.InvalidSglSegmentDescriptor);
    this.#isLast = isLast;
    this.#rest = length;
    this.listAddress = reach(lo, hi);
    this.listBytes = Math.min(length, PIECE_BYTES);
    return WalkStep.List;
  }

  #invalid(status: Status): WalkStep {
    this.status = status;
    return WalkStep.Invalid;
  }
}
