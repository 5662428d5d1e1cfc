/**
 * What stands behind a range list whose memory may go away: a pin or a lease. Whoever maps the list asks it
 * first and counts its mappings there. Interface only. [P2PDMA], [PHYR]
 * @module
 */

import type { MapRefusal } from '#emu/dma/mapping.ts';

/** A list's memory as the mapping layer sees it. */
export interface ListHold {
  /** Mappings made and not ended. */
  readonly mappings: number;
  /** Whether the memory was taken back: what devices still do to it is wrong. */
  readonly isRevoked: boolean;
  /** Whether devices may write to it. */
  readonly isWritable: boolean;
  /**
   * Whether its owner may take it away and waits for the mappings: one that has ended must be in no cache then, even where
   * unmap is lazy.
   */
  readonly endsStrictly: boolean;
  /** Why the list cannot be mapped, or null. @throws CHECKER when its pin is gone */
  admit(): MapRefusal | null;
  /** A mapping of the list, or of a part of it, was made. */
  mapped(): void;
  /** Such a mapping has ended: no device can reach the memory by it any more. @throws CHECKER without one */
  unmapped(): void;
}
