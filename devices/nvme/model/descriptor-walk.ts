/**
 * What the walks over PRPs and over SGLs have in common: both turn the data pointer of a command into runs, and
 * ask for the lists they need. [NVME] 4.1
 * @module
 */
import type { Status } from '#devices/nvme/spec.ts';
import { ADDR_LIMIT, u64 } from '#emu/base/units.ts';

/** What a walk wants next. */
export const WalkStep = {
  /** The runs are complete. */
  Done: 0,
  /** The list bytes at `listAddress`, then {@link DescriptorWalk.list}. */
  List: 1,
  /** Nothing: `status` says what is wrong. */
  Invalid: 2,
} as const;
export type WalkStep = (typeof WalkStep)[keyof typeof WalkStep];

/** A walk that has begun. Fetching lists, and all timing, belongs to the caller. */
export interface DescriptorWalk {
  /** List bytes wanted after {@link WalkStep.List}. */
  readonly listAddress: number;
  readonly listBytes: number;
  readonly status: Status;
  /**
   * Takes `bytes` of the wanted list at `at` in `view`. What was wanted may be given in several calls, in order and
   * in whole entries, and the last one's answer counts.
   */
  list(view: DataView, at: number, bytes: number): WalkStep;
}

/**
 * A 64-bit address from its halves, or the first one that is beyond reach.
 * Model: addresses of 2^52 or more become runs at 2^52, which nothing answers.
 */
export const reach = (lo: number, hi: number): number => Math.min(u64(lo, hi), ADDR_LIMIT);
