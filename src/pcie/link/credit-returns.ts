/**
 * Credits on their way back to a sender: a FIFO of (time, class, data credits). [PCIE] 2.6.1.2
 * @module
 */
import type { FlowClass } from '#emu/pcie/tlp/tlp.ts';

export class CreditReturns {
  /** [now], ps: the kernel's. Times are never passed, since an argument may be boxed. */
  readonly #clock: Float64Array;
  #times = new Float64Array(64);
  #grants = new Int32Array(64);
  #mask = 63;
  #head = 0;
  #count = 0;

  constructor(clock: Float64Array) {
    this.#clock = clock;
  }

  /** Time until the oldest arrives, ps; -1 when none is on the way. */
  get nextDelayPs(): number {
    return this.#count === 0 ? -1 : this.#times[this.#head]! - this.#clock[0]!;
  }

  /** One header credit and `dataCredits` arrive `delayPs` from now, never before those pushed earlier. */
  push(delayPs: number, flowClass: FlowClass, dataCredits: number): void {
    if (this.#count > this.#mask) this.#grow();
    const slot = (this.#head + this.#count) & this.#mask;
    this.#times[slot] = this.#clock[0]! + delayPs;
    this.#grants[slot] = flowClass | (dataCredits << 2);
    this.#count++;
  }

  /** Adds all that has arrived by now to the available credits, by class. Infinite ones stay so. */
  collect(headers: Float64Array, data: Float64Array): void {
    const now = this.#clock[0]!;
    while (this.#count > 0 && this.#times[this.#head]! <= now) {
      const grant = this.#grants[this.#head]!;
      const flowClass = grant & 3;
      const h = headers[flowClass]!;
      if (h < Number.MAX_SAFE_INTEGER) headers[flowClass] = h + 1;
      const d = data[flowClass]!;
      if (d < Number.MAX_SAFE_INTEGER) data[flowClass] = d + (grant >> 2);
      this.#head = (this.#head + 1) & this.#mask;
      this.#count--;
    }
  }

  /** Forgets those on their way. */
  clear(): void {
    this.#head = 0;
    this.#count = 0;
  }

  /** Header credits of a class on their way. */
  headersDue(flowClass: number): number {
    let sum = 0;
    for (let i = 0; i < this.#count; i++) sum += +((this.#grantAt(i) & 3) === flowClass);
    return sum;
  }

  /** Data credits of a class on their way. */
  dataDue(flowClass: number): number {
    let sum = 0;
    for (let i = 0; i < this.#count; i++) {
      const grant = this.#grantAt(i);
      if ((grant & 3) === flowClass) sum += grant >> 2;
    }
    return sum;
  }

  #grantAt(i: number): number {
    return this.#grants[(this.#head + i) & this.#mask]!;
  }

  #grow(): void {
    const size = (this.#mask + 1) * 2;
    const times = new Float64Array(size);
    const grants = new Int32Array(size);
    for (let i = 0; i < this.#count; i++) {
      const from = (this.#head + i) & this.#mask;
      times[i] = this.#times[from]!;
      grants[i] = this.#grants[from]!;
    }
    this.#times = times;
    this.#grants = grants;
    this.#mask = size - 1;
    this.#head = 0;
  }
}
