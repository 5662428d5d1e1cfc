/**
 * When a function answers again after a reset: silent while a function-level reset lasts, then answering
 * configuration requests with Request Retry Status until it is ready. [PCIE] 2.3.1, 6.6
 * @module
 */
import { usage } from '#emu/base/errors.ts';

export interface ReadinessOptions {
  /** How long a function-level reset takes, ps; at most 100 ms. Default 0. */
  readonly flrPs?: number;
  /**
   * From the end of any reset, also that of power-up, until configuration requests are answered otherwise than with
   * Request Retry Status, ps; at most 1 s. Default 0.
   */
  readonly readyPs?: number;
}

/** Value of a configuration request that the function cannot answer yet. */
export const CONFIG_RETRY = -2;

/** [PCIE] 6.6.2, 6.6.1 */
const MAX_FLR_PS = 100e9;
const MAX_READY_PS = 1e12;

export class Readiness {
  readonly #clock: Float64Array;
  readonly #flrPs: number;
  readonly #readyPs: number;
  #silentUntil = -0.5;
  #readyAt = -0.5;

  /** @throws USAGE */
  constructor(clock: Float64Array, { flrPs = 0, readyPs = 0 }: ReadinessOptions) {
    check('flrPs', flrPs, MAX_FLR_PS);
    check('readyPs', readyPs, MAX_READY_PS);
    this.#clock = clock;
    this.#flrPs = flrPs;
    this.#readyPs = readyPs;
    this.#readyAt = clock[0]! + readyPs;
  }

  /** A function-level reset lasts: completions of requests before it are nobody's. */
  get isSilent(): boolean {
    return this.#silentUntil > this.#clock[0]!;
  }

  get isReady(): boolean {
    return this.#readyAt <= this.#clock[0]!;
  }

  /** A reset begins, of the function alone or by its link. */
  reset(isFunctionLevel: boolean): void {
    const end = this.#clock[0]! + (isFunctionLevel ? this.#flrPs : 0);
    this.#silentUntil = isFunctionLevel ? end : -0.5;
    this.#readyAt = end + this.#readyPs;
  }
}

function check(key: string, value: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= 0 && value <= most) return;
  throw usage(`${key}: expected an integer of 0 to ${most} ps, got ${value}`);
}
