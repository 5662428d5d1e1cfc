/**
 * The producer's side of a ring in host memory: packets in, padding at the end, doorbells.
 * Counters are bytes and never wrap. [AMDGPU] sdma_v6_0.c
 * @module
 */
import type { SdmaGeneration } from '#devices/gpu/spec.ts';
import { invariant } from '#emu/base/errors.ts';
import { offsetBy, type PhysAddr } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import { MAX_PACKET_BYTES } from './jobs.ts';
import { encodeNop, type PacketBuffer } from './packet-encoder.ts';

/** Dwords that one NOP can cover. */
const MAX_NOP = 0x4000;

export interface RingPlace {
  readonly sdma: SdmaGeneration;
  readonly memory: SparseMemory;
  /** Where the CPU sees the ring, and the write pointer's shadow. */
  readonly address: PhysAddr;
  readonly sizeBytes: number;
  readonly shadow: PhysAddr;
  /** Tells the engine the new write pointer. */
  readonly doorbell: (wptr: number) => void;
}

export class SdmaRing {
  readonly sizeBytes: number;
  /** Where the next packet is encoded, for {@link push}. */
  readonly packet: PacketBuffer;
  readonly #place: RingPlace;
  readonly #bytes = new Uint8Array(MAX_PACKET_BYTES);
  #wptr = 0;
  #freed = 0;

  constructor(place: RingPlace) {
    this.#place = place;
    this.sizeBytes = place.sizeBytes;
    this.packet = { view: new DataView(this.#bytes.buffer), at: 0 };
  }

  get wptr(): number {
    return this.#wptr;
  }
  get freeBytes(): number {
    return this.sizeBytes - (this.#wptr - this.#freed);
  }

  /** Bytes that a packet may take, with the padding that keeps it from straddling the ring's end. */
  static worstBytes(packetBytes: number): number {
    return 2 * packetBytes;
  }

  /** Appends the encoded packet. The caller has seen to the room. */
  push(packetBytes: number): void {
    const left = this.sizeBytes - (this.#wptr % this.sizeBytes);
    if (left < packetBytes) this.#pad(left);
    invariant(packetBytes <= this.freeBytes, 'a packet is written over packets not executed yet');
    const at = this.#wptr % this.sizeBytes;
    const { memory, address } = this.#place;
    memory.write(offsetBy(address, at), this.#bytes.subarray(0, packetBytes));
    this.#wptr += packetBytes;
  }

  /** The engine is done with everything before `counter`. */
  release(counter: number): void {
    this.#freed = counter;
  }

  /** Shows the engine what has been pushed. */
  ring(): void {
    this.#place.memory.setU64(this.#place.shadow, this.#wptr);
    this.#place.doorbell(this.#wptr);
  }

  /** Back to an empty ring with pointers of 0. */
  reset(): void {
    this.#wptr = 0;
    this.#freed = 0;
  }

  #pad(left: number): void {
    const { memory, address, sdma } = this.#place;
    const nop = { view: new DataView(new ArrayBuffer(left)), at: 0 };
    invariant(left / 4 <= MAX_NOP, `a padding of ${left} bytes`);
    encodeNop(sdma, nop, left / 4);
    memory.write(offsetBy(address, this.#wptr % this.sizeBytes), new Uint8Array(nop.view.buffer));
    this.#wptr += left;
  }
}
