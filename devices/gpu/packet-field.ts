/**
 * One field of a command packet: bits of a little-endian dword, read and written by the same description.
 * [AMDGPU] sdma_v6_0_0_pkt_open.h
 * @module
 */
import { Bits } from '#emu/base/layout.ts';

export class PacketField {
  /** Byte offset of the dword in the packet. */
  readonly at: number;
  readonly bits: Bits;

  /** Bits `hi..lo` of dword number `dword`. */
  constructor(dword: number, hi: number, lo: number = hi) {
    this.at = 4 * dword;
    this.bits = new Bits(hi, lo);
  }

  /** The largest value that fits. */
  get max(): number {
    return this.bits.max;
  }

  get(view: DataView, base: number): number {
    return this.bits.get(view.getUint32(base + this.at, true)) >>> 0;
  }

  /** Leaves the dword's other fields alone. */
  set(view: DataView, base: number, value: number): void {
    const at = base + this.at;
    view.setUint32(at, this.bits.put(view.getUint32(at, true), value), true);
  }
}
