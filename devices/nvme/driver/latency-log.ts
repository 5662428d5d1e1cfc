/**
 * Latencies of commands, kept one by one so that any percentile is exact.
 * @module
 */

export class LatencyLog {
  #values = new Float64Array(256);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** @param latencyPs from the doorbell to the handling of the completion */
  add(latencyPs: number): void {
    if (this.#count === this.#values.length) {
      const values = new Float64Array(2 * this.#count);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[this.#count++] = latencyPs;
  }

  clear(): void {
    this.#count = 0;
  }

  /** A copy, in order of completion, ps. */
  values(): Float64Array {
    return this.#values.slice(0, this.#count);
  }

  /** Arithmetic mean, ps; 0 without any. */
  mean(): number {
    let sum = 0;
    for (let i = 0; i < this.#count; i++) sum += this.#values[i]!;
    return this.#count === 0 ? 0 : sum / this.#count;
  }

  /** The smallest latency that `percent` (above 0, at most 100) of all do not exceed, ps; 0 without any. */
  percentile(percent: number): number {
    if (this.#count === 0) return 0;
    const sorted = this.values().sort();
    return sorted[Math.max(0, Math.ceil((percent / 100) * this.#count) - 1)]!;
  }
}
