/**
 * What the platform knows of a device that maps memory, whatever its driver says. [DMAAPI]
 * @module
 */

export interface DmaTraits {
  /** Whether its requests see what is in the caches of the CPU. */
  readonly isCoherent: boolean;
  /** Whether it may be hostile: it must see no byte but those that are mapped. Behind an IOMMU only. */
  readonly isUntrusted: boolean;
}

export const DEFAULT_TRAITS: DmaTraits = { isCoherent: true, isUntrusted: false };

/** Bytes of a cache line. */
export const CACHE_LINE = 64;

/** From this size on an allocation is a multiple of cache lines. */
const SAFE_BYTES: number = 2 * CACHE_LINE;

/**
 * Exclusive bound of the sizes that {@link isUnsafe} has to be asked for: with coherent devices, and where the device
 * only reads, there are none.
 */
export const unsafeLimit = (isCoherent: boolean, isRead: boolean): number =>
  isCoherent || isRead ? 0 : SAFE_BYTES;

/**
 * Whether memory of that size may share a cache line with something else. As Linux does, judged by the size alone: those
 * up to 32 and from 65 to 96 bytes come from pools of 8, 16, 32 and 96 bytes. [DMAAPI]
 */
export const isUnsafe = (sizeBytes: number): boolean =>
  sizeBytes <= 32 || (sizeBytes > 64 && sizeBytes <= 96);
