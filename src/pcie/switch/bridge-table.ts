/**
 * Which downstream port of a component claims an address or a bus: the decoded windows and bus ranges of
 * all its bridges in flat arrays. [PCIE] 7.5.1.3
 * @module
 */
import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import { isMemory, type Tlp } from '#emu/pcie/tlp/tlp.ts';

const CLOSED_BASE = Number.MAX_SAFE_INTEGER;
const BUSES = 256;

export class BridgeTable {
  readonly #bridges: readonly ConfigSpace[];
  /** Two windows a bridge: memory, then prefetchable; limits inclusive. */
  readonly #base: Float64Array;
  readonly #limit: Float64Array;
  /** One I/O window a bridge. */
  readonly #ioBase: Float64Array;
  readonly #ioLimit: Float64Array;
  readonly #busOwner = new Int16Array(BUSES);

  /** @param bridges type 1 functions, in port order */
  constructor(bridges: readonly ConfigSpace[]) {
    this.#bridges = bridges;
    this.#base = new Float64Array(2 * bridges.length);
    this.#limit = new Float64Array(2 * bridges.length);
    this.#ioBase = new Float64Array(bridges.length);
    this.#ioLimit = new Float64Array(bridges.length);
    this.refresh();
  }

  /** Reads every bridge again; call after a configuration write to one of them. */
  refresh(): void {
    this.#busOwner.fill(-1);
    for (let i = this.#bridges.length - 1; i >= 0; i--) {
      const bridge = this.#bridges[i];
      if (!bridge) continue;
      this.#window(2 * i, bridge.memoryEnable, bridge.memBase, bridge.memLimit);
      this.#window(2 * i + 1, bridge.memoryEnable, bridge.prefBase, bridge.prefLimit);
      this.#ioBase[i] = bridge.ioEnable ? bridge.ioBase : CLOSED_BASE;
      this.#ioLimit[i] = bridge.ioLimit;
      if (bridge.secondary === 0) continue;
      this.#busOwner.fill(i, bridge.secondary, bridge.subordinate + 1);
    }
  }

  /** Index of the bridge that decodes a request routed by address, or -1. Takes the record: an address is boxed. */
  find(tlp: Tlp): number {
    if (!isMemory(tlp)) return this.#findIo(tlp);
    const { address } = tlp;
    const base = this.#base;
    const limit = this.#limit;
    for (let i = 0; i < base.length; i++) {
      if (address >= (base[i] ?? 0) && address <= (limit[i] ?? 0)) return i >> 1;
    }
    return -1;
  }

  /** The same for a memory address alone, off the way of most TLPs. */
  findAddress(address: number): number {
    for (let i = 0; i < this.#base.length; i++) {
      if (address >= this.#base[i]! && address <= this.#limit[i]!) return i >> 1;
    }
    return -1;
  }

  #findIo({ address }: Tlp): number {
    return this.#ioBase.findIndex((base, i) => address >= base && address <= this.#ioLimit[i]!);
  }

  /** Index of the bridge whose secondary to subordinate range holds `bus`, or -1. */
  findBus(bus: number): number {
    return this.#busOwner[bus] ?? -1;
  }

  #window(slot: number, enabled: boolean, base: number, limit: number): void {
    this.#base[slot] = enabled ? base : CLOSED_BASE;
    this.#limit[slot] = limit;
  }
}

/** Whether a memory address lies in one of a bridge's own windows. */
export const inWindow = (bridge: ConfigSpace, address: number): boolean =>
  bridge.memoryEnable &&
  ((address >= bridge.memBase && address <= bridge.memLimit) ||
    (address >= bridge.prefBase && address <= bridge.prefLimit));

/** Whether what a request is routed by lies in a window of a bridge's own. */
export const inAperture = (bridge: ConfigSpace, tlp: Tlp): boolean =>
  isMemory(tlp)
    ? inWindow(bridge, tlp.address)
    : bridge.ioEnable && tlp.address >= bridge.ioBase && tlp.address <= bridge.ioLimit;
