/**
 * Transaction layer packets as pooled records: one runtime shape for every type, payload in the arena.
 * Not their byte encoding. [PCIE] 2.2
 * @module
 */
import type { Bdf } from '#emu/base/units.ts';
import { arena, CHUNK_SIZE } from '#emu/memory/arena.ts';
import type { Port } from '#emu/pcie/link/port.ts';
import { DmaStatus, Purpose } from './dma-status.ts';

/**
 * TLP types, spelled as the specification prints them. Groups lie together, so that a predicate is one or two
 * comparisons: memory and atomics (routed by memory address), I/O, configuration, messages, completions.
 * [PCIE] 2.2.1
 */
export const TlpKind = {
  MRd: 0,
  MWr: 1,
  FetchAdd: 2,
  Swap: 3,
  CAS: 4,
  IORd: 5,
  IOWr: 6,
  CfgRd0: 7,
  CfgWr0: 8,
  CfgRd1: 9,
  CfgWr1: 10,
  Msg: 11,
  MsgD: 12,
  Cpl: 13,
  CplD: 14,
} as const;
export type TlpKind = (typeof TlpKind)[keyof typeof TlpKind];
/** Names by {@link TlpKind}. */
export const TLP_NAMES: readonly string[] = Object.keys(TlpKind);

/** Flow-control class; also the index of its queue and credits. [PCIE] 2.6.1 */
export const FlowClass = { Posted: 0, NonPosted: 1, Completion: 2 } as const;
export type FlowClass = (typeof FlowClass)[keyof typeof FlowClass];

/**
 * Bits of {@link Tlp.flags}. Above them stand the traffic class (see {@link trafficClass}) and the address type
 * ({@link addressType}); {@link tlpFlags} puts those in. [PCIE] 2.2.1, 2.2.6
 */
export const TlpFlag = {
  /** Relaxed Ordering. */
  RO: 1 << 0,
  /** No Snoop. */
  NS: 1 << 1,
  /** ID-based Ordering. */
  IDO: 1 << 2,
  /** Poisoned: the data is known to be bad. [PCIE] 2.7.2 */
  EP: 1 << 3,
  /** With a digest (ECRC), 4 bytes more on the wire. [PCIE] 2.7.1 */
  TD: 1 << 4,
  /** With a PASID prefix, 4 bytes more on the wire; its value is `pasid`. [PCIE] 6.20 */
  Pasid: 1 << 5,
  /** Of the PASID prefix. */
  Execute: 1 << 6,
  Privileged: 1 << 7,
  /** Damaged where no LCRC looks: a receiver that checks the digest refuses it. */
  BadDigest: 1 << 8,
  /** Damaged so that its receiver finds it malformed. */
  Malformed: 1 << 9,
} as const;
const TC_SHIFT = 10;
const AT_SHIFT = 13;

/** Flags with a traffic class (0 to 7) and an address type (0 to 2, see `AddressType`). */
export const tlpFlags = (bits: number, tc: number, at = 0): number =>
  bits | ((tc & 7) << TC_SHIFT) | ((at & 3) << AT_SHIFT);

const { MRd, FetchAdd, CAS, IORd, IOWr, CfgRd0, CfgWr0, CfgRd1, CfgWr1, Msg, MsgD, Cpl, CplD } =
  TlpKind;
const { RO, NS, TD, Pasid } = TlpFlag;
/** What a completion takes over from its request; IDO as software lets its completer. [PCIE] 2.2.9, 2.2.6.4 */
const COPIED = tlpFlags(RO | NS, 7);
const CLASS_OF: readonly FlowClass[] = [1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 2, 2];
const HAS_DATA: readonly boolean[] = TLP_NAMES.map((name) =>
  ['MWr', 'FetchAdd', 'Swap', 'CAS', 'IOWr', 'CfgWr0', 'CfgWr1', 'MsgD', 'CplD'].includes(name),
);

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
  /** First enabled byte of a memory or I/O request; register offset of a configuration request; else unused. */
  address = 0.5;
  /**
   * Bytes asked for or carried, contiguous from `address`; 0 is a zero-length request. Of an atomic, bytes of
   * one operand: a CAS carries two.
   */
  sizeBytes = 0;
  /** Target function of a configuration request or a message by ID, requester of a completion. */
  targetId = 0;
  /** Completion status, 0 to 7. [PCIE] 2.2.9 */
  status: DmaStatus = DmaStatus.Ok;
  /** Completion: bytes still to come, this one's included. */
  byteCount = 0;
  /** Completion: low 7 bits of the address of its first byte. */
  lowerAddress = 0;
  /** {@link TlpFlag} bits, traffic class and address type. Whoever fills a record sets it, before `seal`. */
  flags = 0;
  /** Process address space of a request with {@link TlpFlag.Pasid}: 20 bits. */
  pasid = 0;
  /** Of a message: its `MessageCode`, and its `MessageRouting` (the r bits). [PCIE] 2.2.8 */
  messageCode = 0;
  routing = 0;
  /** Third and fourth header DW of a message; by ID, the target above bit 15 of the third is `targetId`. */
  thirdWord = 0.5;
  fourthWord = 0.5;
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
  /** Which use of the link it came by, from one link down to the next, and which VC of it; the ports' own. */
  linkUse = 0;
  /** Time at which its last byte could leave a cut-through component, ps. */
  tailReadyPs = 0.5;

  constructor(payloadAt: number) {
    this.payloadAt = payloadAt;
  }

  /** Derives class, payload and wire size from kind, address, size and flags. Call once all of those are set. */
  seal(): void {
    const { kind, flags } = this;
    const hasData = HAS_DATA[kind] === true;
    const payload = !hasData ? 0 : kind === CAS ? 2 * this.sizeBytes : this.sizeBytes;
    const firstDw = kind <= IOWr ? this.address & 3 : kind >= Cpl ? this.lowerAddress & 3 : 0;
    // A zero-length request, and the answer to one, still has a DW of data. [PCIE] 2.2.5
    const dwBytes = !hasData ? 0 : payload === 0 ? 4 : (payload + firstDw + 3) & ~3;
    const isLong = kind <= CAS ? this.address >= FOUR_GIB : kind === Msg || kind === MsgD;
    this.flowClass = CLASS_OF[kind] ?? FlowClass.NonPosted;
    this.payloadBytes = payload;
    this.dataCredits = (dwBytes + 15) >> 4;
    this.wireBytes = FRAMING_BYTES + (isLong ? 16 : 12) + dwBytes;
    if ((flags & (TD | Pasid)) !== 0) this.#countExtras(flags);
  }

  #countExtras(flags: number): void {
    if ((flags & TD) !== 0) this.wireBytes += 4;
    if ((flags & Pasid) !== 0) this.wireBytes += 4;
  }
}

/** Routed by memory address: reads, writes and atomics. */
export const isMemory = (tlp: Tlp): boolean => tlp.kind <= CAS;
export const isAtomic = (tlp: Tlp): boolean => tlp.kind >= FetchAdd && tlp.kind <= CAS;
export const isIo = (tlp: Tlp): boolean => tlp.kind === IORd || tlp.kind === IOWr;
export const isConfig = (tlp: Tlp): boolean => tlp.kind >= CfgRd0 && tlp.kind <= CfgWr1;
export const isConfigWrite = (tlp: Tlp): boolean => tlp.kind === CfgWr0 || tlp.kind === CfgWr1;
export const isType1Config = (tlp: Tlp): boolean => tlp.kind === CfgRd1 || tlp.kind === CfgWr1;
export const isMessage = (tlp: Tlp): boolean => tlp.kind === Msg || tlp.kind === MsgD;
export const isCompletion = (tlp: Tlp): boolean => tlp.kind >= Cpl;
/** Memory, I/O and configuration requests; the last have a register offset there. */
export const hasAddress = (tlp: Tlp): boolean => tlp.kind < Msg;
/** Relaxed Ordering. [PCIE] 2.2.6.4 */
export const isRelaxed = (tlp: Tlp): boolean => (tlp.flags & RO) !== 0;
/** Traffic class, 0 to 7. */
export const trafficClass = (tlp: Tlp): number => (tlp.flags >> TC_SHIFT) & 7;
/** AT field, an `AddressType`. [PCIE] 10.2.1 */
export const addressType = (tlp: Tlp): number => (tlp.flags >> AT_SHIFT) & 3;

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
  cpl.flags = request.flags & COPIED;
  cpl.purpose = request.purpose;
  cpl.seal();
}

/**
 * Makes `cpl` a completion with `sizeBytes` of the data of `request`, `done` bytes into it. Only reads of memory
 * have a lower address; the others give 4 bytes, an atomic its operand. [PCIE] 2.3.1.1
 */
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
  // A zero-length read is answered with one byte that nobody looks at. [PCIE] 2.2.5
  cpl.byteCount = request.kind <= CAS ? request.sizeBytes - done || 1 : 4;
  cpl.lowerAddress = request.kind === MRd ? (request.address + done) & 0x7f : 0;
  cpl.seal();
}

/** Adds `TlpFlag` bits to a filled record. */
export function withFlags(tlp: Tlp, bits: number): void {
  tlp.flags |= bits;
  tlp.seal();
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
