/**
 * Reads a ring ahead of the decoder, in chunks, into a small FIFO; from system memory or VRAM alike.
 * Positions are byte counters that never wrap; the ring offset is the counter modulo the ring's size.
 * [AMDGPU] sdma_v6_0.c
 * @module
 */
import { dmaAddr } from '#emu/base/units.ts';
import { copyMemory } from '#emu/memory/sparse-memory.ts';
import type { DmaClient } from '#emu/pcie/endpoint/endpoint.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';
import { type Engine, FIFO_BYTES } from './engine.ts';
import { Place } from './place.ts';

export interface RingClient {
  /** More of the ring is there. */
  fetched(): void;
  fetchFailed(status: DmaStatus, address: number): void;
  /** A fetch that a stop left under way is over. */
  drained(): void;
}

const VRAM_READ = -1;

export class RingFetch implements DmaClient, Target {
  readonly path: string;
  readonly #engine: Engine;
  readonly #fifoAt: number;
  readonly #client: RingClient;
  readonly #ring = new Place();
  #ringBytes = 4;
  /** Up to here the ring has been written, fetched and taken. */
  #limit = 0;
  #fetched = 0;
  #taken = 0;
  #fetching = false;
  #running = false;

  constructor(engine: Engine, fifoAt: number, client: RingClient) {
    this.path = `${engine.path}.fetch`;
    this.#engine = engine;
    this.#fifoAt = fifoAt;
    this.#client = client;
  }

  /** Counter of the first byte that the decoder has not taken. */
  get taken(): number {
    return this.#taken;
  }
  /** Bytes that can be peeked at and taken now. */
  get available(): number {
    return this.#fetched - this.#taken;
  }
  /** No read is under way. */
  get quiet(): boolean {
    return !this.#fetching;
  }

  /** Begins at byte `counter` of a ring. Only while {@link quiet}. */
  start(ring: Place, ringBytes: number, counter: number): void {
    this.#ring.set(ring.inVram, ring.address);
    this.#ringBytes = ringBytes;
    this.#limit = counter;
    this.#fetched = counter;
    this.#taken = counter;
    this.#running = true;
  }

  stop(): void {
    this.#running = false;
  }

  /** The ring has been written up to the counter `limit`. */
  extend(limit: number): void {
    this.#limit = limit;
    this.#fetch();
  }

  /** Dword `index` of what is available. */
  peek(index: number): number {
    return this.#engine.scratch.getU32(this.#slot(this.#taken + 4 * index));
  }

  /** Drops what the decoder is done with. */
  skip(sizeBytes: number): void {
    this.#taken += sizeBytes;
    this.#fetch();
  }

  /** Moves available bytes to `at` in the engine's own memory. */
  take(sizeBytes: number, at: number): void {
    const { scratch } = this.#engine;
    const slot = this.#slot(this.#taken);
    const first = Math.min(sizeBytes, this.#fifoAt + FIFO_BYTES - slot);
    copyMemory(scratch, at, scratch, slot, first);
    copyMemory(scratch, at + first, scratch, this.#fifoAt, sizeBytes - first);
    this.skip(sizeBytes);
  }

  dmaDone(status: DmaStatus, sizeBytes: number): void {
    this.#fetching = false;
    if (!this.#running) return this.#client.drained();
    if (status !== DmaStatus.Ok) {
      return this.#client.fetchFailed(status, this.#ring.address + this.#offset);
    }
    this.#fetched += sizeBytes;
    this.#fetch();
    this.#client.fetched();
  }

  /** A chunk has come from VRAM. */
  handle(_op: number, sizeBytes: EventArg): void {
    if (typeof sizeBytes !== 'number') return;
    const { scratch, vram } = this.#engine;
    const from = this.#ring.address + this.#offset;
    if (this.#running) copyMemory(scratch, this.#slot(this.#fetched), vram, from, sizeBytes);
    this.dmaDone(DmaStatus.Ok, sizeBytes);
  }

  #fetch(): void {
    if (this.#fetching || !this.#running) return;
    const size = this.#chunk();
    if (size === 0) return;
    this.#fetching = true;
    const { endpoint, scratch, vramPort } = this.#engine;
    if (this.#ring.inVram) {
      const { kernel } = endpoint.fabric;
      kernel.scheduleFar(vramPort.accessPs(kernel.now, size), this, VRAM_READ, size);
    } else {
      const from = dmaAddr(this.#ring.address + this.#offset);
      const at = this.#slot(this.#fetched);
      endpoint.read(from, size, scratch, at, Purpose.Control, this, size);
    }
  }

  /** Bytes to fetch next: up to the limit, the ring's end, the FIFO's end and its free space. */
  #chunk(): number {
    return Math.min(
      this.#limit - this.#fetched,
      this.#ringBytes - this.#offset,
      FIFO_BYTES - (this.#fetched & (FIFO_BYTES - 1)),
      FIFO_BYTES - this.available,
    );
  }

  get #offset(): number {
    return this.#fetched % this.#ringBytes;
  }

  #slot(counter: number): number {
    return this.#fifoAt + (counter & (FIFO_BYTES - 1));
  }
}
