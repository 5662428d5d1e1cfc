/**
 * "No" as a value: what host software answers to a request that the system cannot grant. Nothing was done.
 * @module
 */

/** A request turned down, with an error code as software knows it. */
export interface Refusal<Code extends string = string> {
  readonly refused: Code;
  /** One sentence for people. */
  readonly reason: string;
}

/** Tells a refusal from a result. */
export const wasRefused = <T>(result: T): result is Extract<T, Refusal> =>
  typeof result === 'object' && result !== null && 'refused' in result;
