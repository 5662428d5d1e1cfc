/**
 * When the posted writes that came in by each root port take effect, so that nothing behind them does earlier.
 * [PCIE] 2.4.1
 * @module
 */
export class PostedOrder {
  readonly #clock: Float64Array;
  /** Per root port: when its latest posted write takes effect, ps. */
  readonly #due: Float64Array;

  /** @param ports how many root ports there are */
  constructor(clock: Float64Array, ports: number) {
    this.#clock = clock;
    this.#due = new Float64Array(ports).fill(-0.5);
  }

  /** Time until the latest posted write of a root port takes effect, ps. */
  waitPs(port: number): number {
    const waitPs = this.#due[port]! - this.#clock[0]!;
    return waitPs > 0 ? waitPs : 0;
  }

  /** Notes a posted write that takes effect `waitPs` from now. */
  note(port: number, waitPs: number): void {
    this.#due[port] = this.#clock[0]! + waitPs;
  }

  /** When every write noted so far has taken effect, ps. */
  drainedAt(): number {
    return this.#due.reduce((latest, due) => Math.max(latest, due), 0);
  }
}
