/**
 * Figures of the exerciser: who it says it is and where its memory stands. No state. [PCIE] 7.5.1
 * @module
 */

/** A memory device of no known make. */
export const IDENTITY = { vendorId: 0x1234, deviceId: 0x11ea, classCode: 0x058000 } as const;
/** BAR 0 shows its memory. */
export const MEMORY_BAR = 0;
export const DEFAULT_MEMORY_BYTES: number = 2 ** 20;
