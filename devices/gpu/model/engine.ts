/**
 * What the parts of one SDMA engine share: its port, its memories, its timing. No behaviour.
 * @module
 */
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import type { Aperture } from './place.ts';
import type { VramPort } from './vram-port.ts';

export interface EngineTiming {
  /** From a packet's arrival at the decoder to its first effect, ps. */
  readonly packetPs: number;
  /** Pieces of copies, fills and writes under way at a time, a power of two. */
  readonly pieces: number;
  /** Largest piece, a power of two. */
  readonly pieceBytes: number;
}

export interface Engine {
  readonly path: string;
  readonly endpoint: Endpoint;
  readonly vram: SparseMemory;
  readonly vramPort: VramPort;
  readonly aperture: Aperture;
  readonly timing: EngineTiming;
  /** The engine's own memory; see {@link scratchMap}. */
  readonly scratch: SparseMemory;
}

/** Bytes of the ring that are fetched ahead. */
export const FIFO_BYTES = 4096;

/** Where things are in the engine's own memory. */
export interface ScratchMap {
  readonly staging: number;
  readonly fifo: number;
  /** Read pointer on its way to memory, and write pointer on its way from there. */
  readonly rptr: number;
  readonly wptr: number;
  readonly sizeBytes: number;
}

export function scratchMap({ pieces, pieceBytes }: EngineTiming): ScratchMap {
  const fifo = pieces * pieceBytes;
  const rptr = fifo + FIFO_BYTES;
  return { staging: 0, fifo, rptr, wptr: rptr + 8, sizeBytes: rptr + 16 };
}
