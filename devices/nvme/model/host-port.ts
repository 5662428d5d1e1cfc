/**
 * The controller's way to host memory: DMA between its staging memory and addresses the host gave, counted,
 * so that a reset can wait until nothing is under way. [NVME] 3.7.2
 * @module
 */
import { ADDR_LIMIT, dmaAddr } from '#emu/base/units.ts';
import type { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { DmaClient, Endpoint } from '#emu/pcie/endpoint/endpoint.ts';
import { DmaStatus, type Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { EventArg, Target } from '#emu/sim/kernel.ts';

export class HostPort {
  readonly endpoint: Endpoint;
  /** Memory of the controller that all transfers go through. */
  readonly staging: SparseMemory;
  /** Called when the last transfer under way has ended. */
  onIdle: (() => void) | null = null;
  #underWay = 0;

  constructor(endpoint: Endpoint, staging: SparseMemory) {
    this.endpoint = endpoint;
    this.staging = staging;
  }

  get idle(): boolean {
    return this.#underWay === 0;
  }

  /** A channel whose transfers end in `client.dmaDone`, later and exactly once each. */
  channel(purpose: Purpose, client: DmaClient): DmaChannel {
    return new DmaChannel(this, purpose, client);
  }

  began(): void {
    this.#underWay++;
  }

  ended(): void {
    this.#underWay--;
    if (this.#underWay === 0) this.onIdle?.();
  }
}

/** Opcodes of events to a channel: a transfer to beyond the address space ends. */
const UNREACHABLE = -1;
const DROPPED = -2;

/** Transfers of one kind. */
export class DmaChannel implements DmaClient, Target {
  readonly path: string;
  readonly #port: HostPort;
  readonly #purpose: Purpose;
  readonly #client: DmaClient;

  constructor(port: HostPort, purpose: Purpose, client: DmaClient) {
    this.path = port.endpoint.path;
    this.#port = port;
    this.#purpose = purpose;
    this.#client = client;
  }

  /** Host memory to staging memory at `at`. `address` is the host's and may be beyond everything. */
  read(address: number, sizeBytes: number, at: number, arg: number): void {
    const { endpoint, staging } = this.#port;
    this.#port.began();
    if (address + sizeBytes > ADDR_LIMIT) this.#later(UNREACHABLE, arg);
    else endpoint.read(dmaAddr(address), sizeBytes, staging, at, this.#purpose, this, arg);
  }

  /** Staging memory at `at`, which must stay as it is until the end, to host memory. */
  write(address: number, sizeBytes: number, at: number, arg: number): void {
    const { endpoint, staging } = this.#port;
    this.#port.began();
    if (address + sizeBytes > ADDR_LIMIT) this.#later(DROPPED, arg);
    else endpoint.write(dmaAddr(address), sizeBytes, staging, at, this.#purpose, this, arg);
  }

  dmaDone(status: DmaStatus, arg: number): void {
    this.#client.dmaDone(status, arg);
    this.#port.ended();
  }

  handle(op: number, arg: EventArg): void {
    // A posted write that nobody answers to is lost without a word, as on any bus.
    const status = op === DROPPED ? DmaStatus.Ok : DmaStatus.UnsupportedRequest;
    this.dmaDone(status, typeof arg === 'number' ? arg : 0);
  }

  #later(op: number, arg: number): void {
    this.#port.endpoint.fabric.kernel.schedule(0, this, op, arg);
  }
}
