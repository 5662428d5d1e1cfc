/**
 * Memory that devices with short addresses reach, lent in slots of 2 KiB to mappings of memory that they do not
 * reach, and the account of what is copied there and back. [DMAAPI]
 * @module
 */
import { invariant } from '#emu/base/errors.ts';
import { offsetBy, type PhysAddr } from '#emu/base/units.ts';
import { copyMemory, type SparseMemory } from '#emu/memory/sparse-memory.ts';
import { BounceSlots, MAX_SLOTS } from './bounce-slots.ts';

export const SLOT_BYTES = 2048;
/** Longest piece, what comes before it in its alignment included; pools are multiples of it. [DMAAPI] */
export const MAX_BOUNCE_BYTES: number = MAX_SLOTS * SLOT_BYTES;
export const DEFAULT_POOL_BYTES: number = 64 * 2 ** 20;

/** Slots of a pool's counters. */
export const BounceCounter = {
  /** Copies to the pool, and back to where the bytes belong. */
  copiesIn: 0,
  bytesIn: 1,
  copiesOut: 2,
  bytesOut: 3,
  /** Mappings refused because the pool was full. */
  refused: 4,
  /** Most slots in use at a time. */
  peakSlots: 5,
} as const;

export class BouncePool {
  readonly base: PhysAddr;
  readonly sizeBytes: number;
  /** Host physical address space, the pool in it. */
  readonly memory: SparseMemory;
  /** By {@link BounceCounter}. */
  readonly counters: Float64Array = new Float64Array(6);
  readonly #slots: BounceSlots;

  /** @param base and `sizeBytes` are multiples of {@link MAX_BOUNCE_BYTES}; the memory is the pool's own */
  constructor(memory: SparseMemory, base: PhysAddr, sizeBytes: number) {
    invariant(base % MAX_BOUNCE_BYTES === 0, `a bounce pool at ${base}`);
    this.memory = memory;
    this.base = base;
    this.sizeBytes = sizeBytes;
    this.#slots = new BounceSlots(sizeBytes / SLOT_BYTES);
  }

  get slots(): number {
    return this.#slots.count;
  }
  get usedSlots(): number {
    return this.#slots.used;
  }

  /**
   * Room for a piece that keeps the address of `source` modulo `alignBytes`, a power of two from one slot to
   * {@link MAX_BOUNCE_BYTES}; null when there is none now. What was there before is still there.
   */
  lend(source: PhysAddr, sizeBytes: number, alignBytes: number): PhysAddr | null {
    const inSlot = source & (SLOT_BYTES - 1);
    const align = alignBytes / SLOT_BYTES;
    const phase = ((source & (alignBytes - 1)) - inSlot) / SLOT_BYTES;
    const first = this.#slots.take(Math.ceil((inSlot + sizeBytes) / SLOT_BYTES), phase, align);
    if (first < 0) return null;
    const { counters } = this;
    const used = this.#slots.used;
    if (used > counters[BounceCounter.peakSlots]!) counters[BounceCounter.peakSlots] = used;
    return offsetBy(this.base, first * SLOT_BYTES + inSlot);
  }

  /** Takes back the slots that the bytes lie in. @throws INVARIANT when one of them was not lent */
  takeBack(address: number, sizeBytes: number): void {
    const first = Math.floor((address - this.base) / SLOT_BYTES);
    const limit = Math.ceil((address - this.base + sizeBytes) / SLOT_BYTES);
    this.#slots.give(first, limit - first);
  }

  /** Copies to the pool what a device shall find there. */
  copyIn(bounce: number, source: number, sizeBytes: number): void {
    this.counters[BounceCounter.copiesIn]!++;
    this.counters[BounceCounter.bytesIn]! += sizeBytes;
    copyMemory(this.memory, bounce, this.memory, source, sizeBytes);
  }

  /** Copies what a device left in the pool to where it belongs. */
  copyOut(bounce: number, source: number, sizeBytes: number): void {
    this.counters[BounceCounter.copiesOut]!++;
    this.counters[BounceCounter.bytesOut]! += sizeBytes;
    copyMemory(this.memory, source, this.memory, bounce, sizeBytes);
  }

  /** Start of the slot with that byte. */
  slotOf(address: number): number {
    return address - ((address - this.base) & (SLOT_BYTES - 1));
  }
}
