/**
 * The cache of device contexts: direct-mapped by device id. What a context means is the walkers' business.
 * [RVIOMMU] 2.8
 * @module
 */
import { FirstStage } from './spec.ts';

/** What the unit keeps of a device context. One record is reused for every directory walk. */
export class DeviceContext {
  pscid = 0;
  firstStage: FirstStage = FirstStage.Bare;
  /** Physical address of the root page table; meaningless when `firstStage` is Bare. */
  root = 0.5;
  /** DTF: most faults are not recorded. */
  quiet = false;
}

const EMPTY = -1;

export class ContextCache {
  readonly #mask: number;
  readonly #deviceId: Int32Array;
  readonly #contexts: DeviceContext[] = [];

  /** @param entries a power of two */
  constructor(entries: number) {
    this.#mask = entries - 1;
    this.#deviceId = new Int32Array(entries).fill(EMPTY);
    for (let i = 0; i < entries; i++) this.#contexts.push(new DeviceContext());
  }

  /** The cached context of `deviceId`, or null. */
  find(deviceId: number): DeviceContext | null {
    const slot = this.#slot(deviceId);
    return this.#deviceId[slot] === deviceId ? this.#contexts[slot]! : null;
  }

  /** Copies `context` in. */
  insert(deviceId: number, context: DeviceContext): void {
    const slot = this.#slot(deviceId);
    const kept = this.#contexts[slot]!;
    this.#deviceId[slot] = deviceId;
    kept.pscid = context.pscid;
    kept.firstStage = context.firstStage;
    kept.root = context.root;
    kept.quiet = context.quiet;
  }

  drop(deviceId: number): void {
    const slot = this.#slot(deviceId);
    if (this.#deviceId[slot] === deviceId) this.#deviceId[slot] = EMPTY;
  }

  clear(): void {
    this.#deviceId.fill(EMPTY);
  }

  /** Bus numbers are folded in: devices of different buses mostly are function 0 of slot 0. */
  #slot(deviceId: number): number {
    return (deviceId ^ (deviceId >> 3) ^ (deviceId >> 8)) & this.#mask;
  }
}
