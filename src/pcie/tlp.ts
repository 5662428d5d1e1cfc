/**
 * Transaction layer packets as pooled records: one runtime shape for every type, payload in the arena.
 * Not their byte encoding. [PCIE] 2.2
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import { arena, CHUNK_SIZE } from '#emu/memory/arena.ts';
import { DmaStatus, Purpose } from './dma-status.ts';
import type { Port } from './port.ts';

/** TLP types, spelled as the specification prints them. [PCIE] 2.2.1 */
export const TlpKind = {
  MRd: 0,
  MWr: 1,
  CfgRd0: 2,
  CfgWr0: 3,
  CfgRd1: 4,
  CfgWr1: 5,
  Cpl: 6,
  CplD: 7,
} as const;
export type TlpKind = (typeof TlpKind)[keyof typeof TlpKind];
/** Names by {@link TlpKind}. */
export const TLP_NAMES: readonly string[] = Object.keys(TlpKind);

/** Flow-control class; also the index of its queue and credits. [PCIE] 2.6.1 */
export const FlowClass = { Posted: 0, NonPosted: 1, Completion: 2 } as const;
export type FlowClass = (typeof FlowClass)[keyof typeof FlowClass];

const { MRd, MWr, CfgRd0, CfgWr0, CfgRd1, CfgWr1, Cpl, CplD } = TlpKind;
const CLASS_OF: readonly FlowClass[] = [1, 0, 1, 1, 1, 1, 2, 2];
const HAS_DATA: readonly boolean[] = [false, true, false, true, false, true, false, true];

/** STP token or framing symbols, sequence number and LCRC around each TLP, generations 1 to 5. [PCIE] 4.2 */
export const FRAMING_BYTES = 8;
const FOUR_GIB = 0x1_0000_0000;

/** One TLP. Fields that a type does not have keep their last value; the owner of the record sets what it needs. */
export class Tlp {
  kind: TlpKind = MRd;
  flowClass: FlowClass = FlowClass.NonPosted;
  requester = 0;
  completer = 0;
  tag = 0;
  /** First enabled byte of a memory request; register offset of a configuration request; else unused. */
  address = 0.5;
  /** Bytes asked for or carried, contiguous from `address`; 0 is a zero-length request. */
  sizeBytes = 0;
  /** Target function of a configuration request, requester of a completion. */
  targetId = 0;
  /** Completion status, 0 to 7. [PCIE] 2.2.9 */
  status: DmaStatus = DmaStatus.Ok;
  /** Completion: bytes still to come, this one's included. */
  byteCount = 0;
  /** Completion: low 7 bits of the address of its first byte. */
  lowerAddress = 0;
  relaxedOrdering = false;
  purpose: Purpose = Purpose.Data;
  /** Bytes on the wire, framing included. */
  wireBytes = 0;
  /** Payload bytes carried. */
  payloadBytes = 0;
  /** Payload credits of 16 bytes that it takes. [PCIE] 2.6.1 */
  dataCredits = 0;
  /** Arena offset of this record's payload slot. */
  readonly payloadAt: number;
  /** Port whose receive buffer holds it, or null. */
  ingress: Port | null = null;
  /** Where a component that needs time for its decision will send it. */
  egress: Port | null = null;
  /** Position in the egress queue's arrival order. */
  order = 0;
  /** Time at which its last byte could leave a cut-through component, ps. */
  tailReadyPs = 0.5;

  constructor(payloadAt: number) {
    this.payloadAt = payloadAt;
  }

  /** Derives class, payload and wire size from kind, address and size. Call once all of those are set. */
  seal(): void {
    const { kind } = this;
    const payload = HAS_DATA[kind] ? this.sizeBytes : 0;
    const firstDw = kind <= MWr ? this.address & 3 : kind >= Cpl ? this.lowerAddress & 3 : 0;
    const dwBytes = payload === 0 ? 0 : (payload + firstDw + 3) & ~3;
    const header = kind <= MWr && this.address >= FOUR_GIB ? 16 : 12;
    this.flowClass = CLASS_OF[kind] ?? FlowClass.NonPosted;
    this.payloadBytes = payload;
    this.dataCredits = (dwBytes + 15) >> 4;
    this.wireBytes = FRAMING_BYTES + header + dwBytes;
  }
}

export const isMemory = (tlp: Tlp): boolean => tlp.kind <= MWr;
export const isConfig = (tlp: Tlp): boolean => tlp.kind >= CfgRd0 && tlp.kind <= CfgWr1;
export const isConfigWrite = (tlp: Tlp): boolean => tlp.kind === CfgWr0 || tlp.kind === CfgWr1;
export const isType1Config = (tlp: Tlp): boolean => tlp.kind === CfgRd1 || tlp.kind === CfgWr1;
export const isCompletion = (tlp: Tlp): boolean => tlp.kind >= Cpl;

/** Turns a configuration request of type 1 into type 0, as the bridge above its target bus does. [PCIE] 7.3.3 */
export function toType0(tlp: Tlp): void {
  if (tlp.kind === CfgRd1) tlp.kind = CfgRd0;
  else if (tlp.kind === CfgWr1) tlp.kind = CfgWr0;
}

/** Makes `cpl` the completion that answers `request` without data. */
export function fillCompletion(
  cpl: Tlp,
  request: Tlp,
  completer: Bdf | number,
  status: DmaStatus,
): void {
  cpl.kind = Cpl;
  cpl.requester = request.requester;
  cpl.targetId = request.requester;
  cpl.completer = completer;
  cpl.tag = request.tag;
  cpl.status = status;
  cpl.sizeBytes = 0;
  cpl.byteCount = 4;
  cpl.lowerAddress = 0;
  cpl.relaxedOrdering = request.relaxedOrdering;
  cpl.purpose = request.purpose;
  cpl.seal();
}

/** Makes `cpl` a completion with `sizeBytes` of the data of `request`, `done` bytes into it. [PCIE] 2.3.1.1 */
export function fillCompletionData(
  cpl: Tlp,
  request: Tlp,
  completer: Bdf | number,
  done: number,
  sizeBytes: number,
): void {
  fillCompletion(cpl, request, completer, DmaStatus.Ok);
  cpl.kind = CplD;
  cpl.sizeBytes = sizeBytes;
  cpl.byteCount = request.sizeBytes - done;
  cpl.lowerAddress = isMemory(request) ? (request.address + done) & 0x7f : 0;
  cpl.seal();
}

const SLOTS_PER_BLOCK = 256;

/** Free list of TLP records, each with its own payload slot. */
export class TlpPool {
  readonly slotBytes: number;
  readonly #free: Tlp[] = [];
  readonly #chunks: number[] = [];
  #nextSlot = 0;
  #slotsLeft = 0;
  #made = 0;

  /** @param slotBytes largest payload of any TLP in this fabric, a power of two of 128 to 4096 */
  constructor(slotBytes: number) {
    this.slotBytes = slotBytes;
  }

  /** Records handed out and not given back. */
  get inUse(): number {
    return this.#made - this.#free.length;
  }

  take(): Tlp {
    return this.#free.pop() ?? this.#grow();
  }

  give(tlp: Tlp): void {
    tlp.ingress = null;
    tlp.egress = null;
    this.#free.push(tlp);
  }

  /** Gives the payload memory back to the arena; no record may be used afterwards. */
  dispose(): void {
    for (const chunk of this.#chunks) arena.giveChunk(chunk);
    this.#chunks.length = 0;
    this.#free.length = 0;
    this.#slotsLeft = 0;
  }

  #grow(): Tlp {
    if (this.#slotsLeft === 0) {
      this.#nextSlot = arena.takeChunk();
      this.#chunks.push(this.#nextSlot);
      this.#slotsLeft = Math.floor(CHUNK_SIZE / this.slotBytes);
    }
    const count = Math.min(SLOTS_PER_BLOCK, this.#slotsLeft);
    for (let i = 0; i < count; i++) {
      this.#free.push(new Tlp(this.#nextSlot));
      this.#nextSlot += this.slotBytes;
    }
    this.#slotsLeft -= count;
    this.#made += count;
    const tlp = this.#free.pop();
    if (!tlp) throw new RangeError('TLP pool is empty after growing');
    return tlp;
  }
}
