/**
 * What stands behind the BARs of a function: local memory or registers, with the MSI-X structures laid over.
 * [PCIE] 7.5.1.2.1, 7.7.2
 * @module
 */
import { arena } from '#emu/memory/arena.ts';
import { copyMemory, SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { BarDecode } from '#emu/pcie/config/config-bar.ts';
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { Msix } from '#emu/pcie/config/msi-x.ts';
import type { Tlp } from '#emu/pcie/tlp/tlp.ts';

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
  /** BAR of the last {@link find}, and its range so that the next one is two comparisons. */
  #hit: Bar | null = null;
  #base = 0.5;
  #limit = -0.5;

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

  /**
   * Bytes that the BAR which claims the request takes from its byte `done` on, at most `sizeBytes`; 0 when none
   * claims it. Addresses are taken from the record everywhere here: as arguments they would be boxed.
   */
  find(tlp: Tlp, done: number, sizeBytes: number): number {
    const address = tlp.address + done;
    if (!(address >= this.#base && address < this.#limit)) this.#search(address);
    // Zero when nothing was found: limit and base are both the address then.
    const left = this.#limit - address;
    return Math.min(left, sizeBytes);
  }

  /** Memory behind BAR `index`, or null where registers or nothing are. */
  memory(index: number): SparseMemory | null {
    return this.#bars.find(({ decode }) => decode.index === index)?.memory ?? null;
  }

  /** Whether memory stands behind the BAR last found. */
  get hitsMemory(): boolean {
    return this.#hit?.memory instanceof SparseMemory;
  }

  /** Forgets the last hit, as a configuration write demands. */
  refresh(): void {
    this.#hit = null;
    this.#base = 0;
    this.#limit = -1;
  }

  #search(address: number): void {
    this.#hit = null;
    this.#base = address;
    this.#limit = address;
    for (const bar of this.#bars) {
      if (!claims(bar, address)) continue;
      this.#hit = bar;
      this.#base = bar.decode.base;
      this.#limit = bar.decode.limit;
    }
  }

  /** Writes the first `sizeBytes` of a request, from the arena, to the BAR last found. */
  write(tlp: Tlp, sizeBytes: number, arenaAt: number): void {
    const bar = this.#hit;
    if (bar === null) return;
    const offset = tlp.address - bar.decode.base;
    if (bar.memory !== null) return bar.memory.copyIn(offset, arenaAt, sizeBytes);
    const msix = this.#msix;
    if (msix?.claims(bar.decode.index, offset, sizeBytes)) {
      msix.mmioWrite(offset, sizeBytes, arena.view, arenaAt);
    } else {
      bar.handler?.mmioWrite(offset, sizeBytes, arena.view, arenaAt);
    }
  }

  /** Reads `sizeBytes` from byte `done` of a request on, out of the BAR last found, into the arena. */
  read(tlp: Tlp, done: number, sizeBytes: number, arenaAt: number): void {
    const bar = this.#hit;
    if (bar === null) return;
    const offset = tlp.address + done - bar.decode.base;
    if (bar.memory !== null) return bar.memory.copyOut(offset, arenaAt, sizeBytes);
    if (bar.handler === null) arena.fill(arenaAt, 0, sizeBytes);
    else bar.handler.mmioRead(offset, sizeBytes, arena.view, arenaAt);
    // Laid over what the registers gave, so that an access may span both.
    if (this.#msix?.claims(bar.decode.index, offset, sizeBytes)) {
      this.#msix.mmioRead(offset, sizeBytes, arena.view, arenaAt);
    }
  }

  /** Memory to memory, for a memory BAR; false when the BAR last found has registers. */
  storeFrom(tlp: Tlp, sizeBytes: number, from: SparseMemory, at: number): boolean {
    const bar = this.#hit;
    if (bar === null || bar.memory === null) return false;
    copyMemory(bar.memory, tlp.address - bar.decode.base, from, at, sizeBytes);
    return true;
  }

  /** The other way round. */
  loadInto(tlp: Tlp, sizeBytes: number, into: SparseMemory, at: number): boolean {
    const bar = this.#hit;
    if (bar === null || bar.memory === null) return false;
    copyMemory(into, at, bar.memory, tlp.address - bar.decode.base, sizeBytes);
    return true;
  }
}

const claims = ({ decode }: Bar, address: number): boolean =>
  decode.enabled && address >= decode.base && address < decode.limit;
