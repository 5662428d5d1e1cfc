/**
 * Attributes of a mapping: what a driver says about the memory, or asks of whoever maps it. Bit numbers are Linux's.
 * [DMAAPI]
 * @module
 */
import { usage } from '#emu/base/errors.ts';
import { hex } from '#emu/base/units.ts';

/**
 * Flags, to be combined. Model: those without a remark change nothing here, where writes are ordered by the fabric,
 * refusals are values and devices make no privileged requests.
 */
export const DmaAttr = {
  WeakOrdering: 1 << 1,
  /** The CPU has bytes synced itself: unmap copies nothing back and maintains no cache. */
  SkipCpuSync: 1 << 5,
  NoWarn: 1 << 8,
  Privileged: 1 << 9,
  /** The memory is device registers: never copied, and in no cache. */
  Mmio: 1 << 10,
  /** Mappings of one cache line may overlap. */
  DebuggingIgnoreCachelines: 1 << 11,
  /** Both sides use it at once: refused where that takes copies or cache maintenance. */
  RequireCoherent: 1 << 12,
} as const;

const KNOWN: number = Object.values(DmaAttr).reduce((all, bit) => all | bit, 0);
/** Memory that must not be copied. */
export const NEVER_BOUNCED: number = DmaAttr.Mmio | DmaAttr.RequireCoherent;
/** Memory that no cache is maintained for. */
export const NOT_MAINTAINED: number = DmaAttr.Mmio | DmaAttr.SkipCpuSync;

/** @throws USAGE for bits that say nothing about a mapping */
export function checkAttrs(what: string, attrs: number): void {
  if (Number.isInteger(attrs) && (attrs & ~KNOWN) === 0) return;
  throw usage(`${what}: expected attributes of DmaAttr, ${hex(KNOWN)} at most, got ${attrs}`);
}
