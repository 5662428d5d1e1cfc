/**
 * One memory Base Address register as decoded. [PCIE] 7.5.1.2.1
 * The bytes live in configuration space; this holds what routing needs of them.
 * @module
 */
import { ADDR_LIMIT, lo32, u64 } from '#emu/base/units.ts';
import type { BarSpec } from './config-header.ts';
import { Bar, Header } from './config-registers.ts';

export class BarDecode {
  readonly index: BarSpec['index'];
  sizeBytes: number;
  readonly width: 32 | 64;
  readonly prefetchable: boolean;
  /** First address decoded, 0 when unassigned or beyond 2^52. */
  base = 0;
  /** First address after the BAR, exclusive; equal to `base` when unassigned. */
  limit = 0;
  /** Whether the BAR claims requests: Memory Space Enable is on and an address is assigned. */
  enabled = false;

  readonly #register: number;

  /** @param bar0 offset of the first BAR's register */
  constructor(spec: BarSpec, bar0: number = Header.Bar0) {
    this.#register = bar0 + 4 * spec.index;
    this.index = spec.index;
    this.sizeBytes = spec.sizeBytes;
    this.width = spec.width;
    this.prefetchable = spec.prefetchable === true;
  }

  /** Refreshes from the register bytes. */
  decode(config: DataView, memoryEnable: boolean): void {
    const at = this.#register;
    const low = lo32(config.getUint32(at, true) & ~Bar.Flags.mask);
    const address = this.width === 64 ? u64(low, config.getUint32(at + 4, true)) : low;
    const base = address + this.sizeBytes <= ADDR_LIMIT ? address : 0;
    this.place(base, memoryEnable && base !== 0);
  }

  /** Sets what is decoded where no register of its own says it; a base of 0 is unassigned. */
  place(base: number, enabled: boolean): void {
    this.base = base;
    this.limit = base === 0 ? 0 : base + this.sizeBytes;
    this.enabled = enabled;
  }
}
