/**
 * The copy engine's way to VRAM: how long an access takes, and that accesses share one bandwidth.
 * @module
 */
export interface VramTiming {
  /** From an access to its data, ps. */
  readonly latencyPs: number;
  /** Reads and writes of the engine together. */
  readonly bytesPerSecond: number;
}

export class VramPort {
  readonly #timing: VramTiming;
  readonly #psPerByte: number;
  readonly #instant: boolean;
  #busyUntil = -0.5;

  /** @param instant functional fidelity: transfers take no time */
  constructor(timing: VramTiming, instant: boolean) {
    this.#timing = timing;
    this.#psPerByte = 1e12 / timing.bytesPerSecond;
    this.#instant = instant;
  }

  /** Time until an access that starts now is done, an integer number of picoseconds. */
  accessPs(nowPs: number, sizeBytes: number): number {
    if (this.#instant) return 0;
    const start = Math.max(this.#busyUntil, nowPs);
    this.#busyUntil = start + sizeBytes * this.#psPerByte;
    return Math.ceil(this.#busyUntil - nowPs) + this.#timing.latencyPs;
  }
}
