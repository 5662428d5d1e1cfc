/**
 * What the driver can ask of the engine, as sources of packets: each gives its next packet until it has none.
 * @module
 */
import type { SdmaGeneration } from '#devices/gpu/spec.ts';
import type { LocationCursor } from './location-cursor.ts';
import { encodeCopy, encodeFill, encodeWrite, type PacketBuffer } from './packet-encoder.ts';

/** Largest transfer that a driver puts into one packet, as Linux cuts them. */
export const MAX_PACKET_TRANSFER: number = 4 * 2 ** 20;
/** Largest payload of a WRITE packet that a driver sends. */
const MAX_INLINE = 1024;
/** No packet of a job is longer. */
export const MAX_PACKET_BYTES: number = MAX_INLINE + 16;

export interface PacketSource {
  /** Writes the next packet and returns its bytes, or 0 when there is none left. */
  next(to: PacketBuffer): number;
}

export class CopySource implements PacketSource {
  readonly #sdma: SdmaGeneration;
  readonly #from: LocationCursor;
  readonly #to: LocationCursor;
  #left: number;

  constructor(sdma: SdmaGeneration, from: LocationCursor, to: LocationCursor, sizeBytes: number) {
    this.#sdma = sdma;
    this.#from = from;
    this.#to = to;
    this.#left = sizeBytes;
  }

  next(to: PacketBuffer): number {
    if (this.#left === 0) return 0;
    const size = Math.min(this.#left, this.#from.left, this.#to.left, MAX_PACKET_TRANSFER);
    const bytes = encodeCopy(this.#sdma, to, this.#from.address, this.#to.address, size);
    this.#left -= size;
    this.#from.advance(size);
    this.#to.advance(size);
    return bytes;
  }
}

export class FillSource implements PacketSource {
  readonly #sdma: SdmaGeneration;
  readonly #to: LocationCursor;
  readonly #value: number;
  readonly #unit: 1 | 4;
  #left: number;

  /** Ranges must be multiples of `unit`. */
  constructor(
    sdma: SdmaGeneration,
    to: LocationCursor,
    sizeBytes: number,
    value: number,
    unit: 1 | 4,
  ) {
    this.#sdma = sdma;
    this.#to = to;
    this.#left = sizeBytes;
    this.#value = value;
    this.#unit = unit;
  }

  next(to: PacketBuffer): number {
    if (this.#left === 0) return 0;
    const size = Math.min(this.#left, this.#to.left, MAX_PACKET_TRANSFER);
    const { address } = this.#to;
    const bytes = encodeFill(this.#sdma, to, address, size, this.#value, this.#unit);
    this.#left -= size;
    this.#to.advance(size);
    return bytes;
  }
}

export class WriteSource implements PacketSource {
  readonly #sdma: SdmaGeneration;
  readonly #to: LocationCursor;
  readonly #bytes: Uint8Array;
  #done = 0;

  /** Ranges must be multiples of 4. */
  constructor(sdma: SdmaGeneration, to: LocationCursor, bytes: Uint8Array) {
    this.#sdma = sdma;
    this.#to = to;
    this.#bytes = bytes;
  }

  next(to: PacketBuffer): number {
    const left = this.#bytes.length - this.#done;
    if (left === 0) return 0;
    const size = Math.min(left, this.#to.left, MAX_INLINE);
    const piece = this.#bytes.subarray(this.#done, this.#done + size);
    const bytes = encodeWrite(this.#sdma, to, this.#to.address, piece);
    this.#done += size;
    this.#to.advance(size);
    return bytes;
  }
}
