/**
 * The queue's pointers in memory: the read pointer written back, the write pointer's shadow polled.
 * One transfer of each is under way at a time; what comes meanwhile merges into one more.
 * @module
 */
import { dmaAddr, hi32, lo32 } from '#emu/base/units.ts';
import type { DmaClient } from '#emu/pcie/endpoint/endpoint.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { Engine } from './engine.ts';
import { Place } from './place.ts';

export const POINTER_BYTES = 8;

/** Stores 8-byte read pointers; a burst of them may be one store of the last. */
export class PointerReport implements DmaClient {
  /** Where pointers go. */
  readonly target: Place = new Place();
  readonly #engine: Engine;
  readonly #at: number;
  #pointer = 0;
  #busy = false;
  #again = false;

  constructor(engine: Engine, scratchAt: number) {
    this.#engine = engine;
    this.#at = scratchAt;
  }

  /** Begins a run: what waits of an earlier one is not sent any more. */
  start(): void {
    this.#again = false;
  }

  report(pointer: number): void {
    this.#pointer = pointer;
    if (this.target.inVram) this.#engine.vram.setU64(this.target.address, pointer);
    else if (this.#busy) this.#again = true;
    else this.#send();
  }

  /** Posted, so nobody learns of a failure. */
  dmaDone(): void {
    this.#busy = false;
    if (!this.#again) return;
    this.#again = false;
    this.#send();
  }

  #send(): void {
    const { endpoint, scratch } = this.#engine;
    const to = dmaAddr(this.target.address);
    this.#busy = true;
    scratch.setU32(this.#at, lo32(this.#pointer));
    scratch.setU32(this.#at + 4, hi32(this.#pointer));
    endpoint.write(to, POINTER_BYTES, scratch, this.#at, Purpose.Control, this, 0);
  }
}

export interface PollClient {
  /** The shadow's two halves. */
  polled(lo: number, hi: number): void;
  pollFailed(status: DmaStatus, address: number): void;
}

/** Reads the write pointer's shadow when told that it changed. */
export class PointerPoll implements DmaClient {
  readonly source: Place = new Place();
  readonly #engine: Engine;
  readonly #at: number;
  readonly #client: PollClient;
  #busy = false;
  #again = false;

  constructor(engine: Engine, scratchAt: number, client: PollClient) {
    this.#engine = engine;
    this.#at = scratchAt;
    this.#client = client;
  }

  /** No read is under way. */
  get quiet(): boolean {
    return !this.#busy;
  }

  poll(): void {
    const { endpoint, scratch, vram } = this.#engine;
    const { inVram, address } = this.source;
    if (inVram) return this.#client.polled(vram.getU32(address), vram.getU32(address + 4));
    if (this.#busy) {
      this.#again = true;
      return;
    }
    this.#busy = true;
    endpoint.read(dmaAddr(address), POINTER_BYTES, scratch, this.#at, Purpose.Control, this, 0);
  }

  dmaDone(status: DmaStatus): void {
    const { scratch } = this.#engine;
    this.#busy = false;
    if (status !== DmaStatus.Ok) this.#client.pollFailed(status, this.source.address);
    else this.#client.polled(scratch.getU32(this.#at), scratch.getU32(this.#at + 4));
    if (!this.#again) return;
    this.#again = false;
    this.poll();
  }
}
