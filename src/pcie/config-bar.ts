/**
 * One memory Base Address register as decoded. [PCIE] 7.5.1.2.1
 * The bytes live in configuration space; this holds what routing needs of them.
 * @module
 */
import { ADDR_LIMIT, lo32, u64 } from '#emu/base/units.ts';
import type { BarSpec } from './config-header.ts';
import { Bar, Header } from './config-registers.ts';

export class BarDecode {
  readonly index: number;
  readonly sizeBytes: number;
  readonly width: 32 | 64;
  readonly prefetchable: boolean;
  /** First address decoded, 0 when unassigned or beyond 2^52. */
  base = 0;
  /** First address after the BAR, exclusive; equal to `base` when unassigned. */
  limit = 0;
  /** Whether the BAR claims requests: Memory Space Enable is on and an address is assigned. */
  enabled = false;

  constructor(spec: BarSpec) {
    this.index = spec.index;
    this.sizeBytes = spec.sizeBytes;
    this.width = spec.width;
    this.prefetchable = spec.prefetchable === true;
  }

  /** Refreshes from the register bytes. */
  decode(config: DataView, memoryEnable: boolean): void {
    const at = Header.Bar0 + 4 * this.index;
    const low = lo32(config.getUint32(at, true) & ~Bar.Flags.mask);
    const address = this.width === 64 ? u64(low, config.getUint32(at + 4, true)) : low;
    this.base = address + this.sizeBytes <= ADDR_LIMIT ? address : 0;
    this.limit = this.base === 0 ? 0 : this.base + this.sizeBytes;
    this.enabled = memoryEnable && this.base !== 0;
  }
}
