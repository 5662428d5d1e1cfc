/**
 * What stands behind the BARs of a function: local memory or registers, with the MSI-X structures laid over.
 * [PCIE] 7.5.1.2.1, 7.7.2
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import { copyMemory, SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { BarDecode } from './config-bar.ts';
import type { ConfigSpace } from './config-space.ts';
import type { Msix } from './msi-x.ts';

/** Registers behind a BAR. Whatever is written or asked for, neither call throws. */
export interface BarHandler {
  /** Puts `size` bytes (1 to 4096) of `offset` on into `out` at `at`; may be unaligned and span registers. */
  mmioRead(offset: number, size: number, out: DataView, at: number): void;
  /** Takes `size` bytes (1 to 4096); `data` is only good during the call. */
  mmioWrite(offset: number, size: number, data: DataView, at: number): void;
}

export type BarTarget = BarHandler | SparseMemory;

interface Bar {
  readonly decode: BarDecode;
  readonly memory: SparseMemory | null;
  readonly handler: BarHandler | null;
}

export class BarSpace {
  readonly #bars: readonly Bar[];
  readonly #msix: Msix | null;
  /** BAR of the last {@link find}. */
  #hit: Bar | null = null;

  constructor(
    config: ConfigSpace,
    targets: readonly { readonly index: number; readonly target: BarTarget }[],
    msix: Msix | null,
  ) {
    this.#msix = msix;
    this.#bars = config.bars.map((decode) => {
      const target = targets.find(({ index }) => index === decode.index)?.target ?? null;
      if (target instanceof SparseMemory) return { decode, memory: target, handler: null };
      return { decode, memory: null, handler: target };
    });
  }

  /** Bytes from `address` to the end of the BAR that claims it, at most `sizeBytes`; 0 when none does. */
  find(address: number, sizeBytes: number): number {
    const last = this.#hit;
    if (last === null || !claims(last, address)) {
      this.#hit = null;
      for (const bar of this.#bars) if (claims(bar, address)) this.#hit = bar;
      if (this.#hit === null) return 0;
    }
    const left = (this.#hit?.decode.limit ?? 0) - address;
    return Math.min(left, sizeBytes);
  }

  /** Writes bytes of the arena to the BAR last found. */
  write(address: number, sizeBytes: number, arenaAt: number): void {
    const bar = this.#hit;
    if (bar === null) return;
    const offset = address - bar.decode.base;
    if (bar.memory !== null) return bar.memory.copyIn(offset, arenaAt, sizeBytes);
    const msix = this.#msix;
    if (msix?.claims(bar.decode.index, offset, sizeBytes)) {
      msix.mmioWrite(offset, sizeBytes, arena.view, arenaAt);
    } else {
      bar.handler?.mmioWrite(offset, sizeBytes, arena.view, arenaAt);
    }
  }

  /** Reads bytes of the BAR last found into the arena. */
  read(address: number, sizeBytes: number, arenaAt: number): void {
    const bar = this.#hit;
    if (bar === null) return;
    const offset = address - bar.decode.base;
    if (bar.memory !== null) return bar.memory.copyOut(offset, arenaAt, sizeBytes);
    if (bar.handler === null) arena.fill(arenaAt, 0, sizeBytes);
    else bar.handler.mmioRead(offset, sizeBytes, arena.view, arenaAt);
    // Laid over what the registers gave, so that an access may span both.
    if (this.#msix?.claims(bar.decode.index, offset, sizeBytes)) {
      this.#msix.mmioRead(offset, sizeBytes, arena.view, arenaAt);
    }
  }

  /** Memory to memory, for a memory BAR; false when the BAR last found has registers. */
  storeFrom(address: number, sizeBytes: number, from: SparseMemory, at: number): boolean {
    const bar = this.#hit;
    if (bar === null || bar.memory === null) return false;
    copyMemory(bar.memory, address - bar.decode.base, from, at, sizeBytes);
    return true;
  }

  /** The other way round. */
  loadInto(address: number, sizeBytes: number, into: SparseMemory, at: number): boolean {
    const bar = this.#hit;
    if (bar === null || bar.memory === null) return false;
    copyMemory(into, at, bar.memory, address - bar.decode.base, sizeBytes);
    return true;
  }
}

const claims = ({ decode }: Bar, address: number): boolean =>
  decode.enabled && address >= decode.base && address < decode.limit;
