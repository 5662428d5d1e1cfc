/**
 * The first error pointer with the header and prefix log behind it: one record, or a queue of them with
 * Multiple Header Recording. [PCIE] 6.2.4.2, 7.8.4.7
 * @module
 */

import type { ConfigSpace } from '#emu/pcie/config/config-space.ts';
import type { LoggedTlp } from '#emu/pcie/tlp/tlp-encode.ts';
import { isEndEndPrefix } from '#emu/pcie/tlp/tlp-header.ts';
import { AerControl, AerRegister, type Uncorrectable } from './aer-registers.ts';

interface Entry {
  readonly error: Uncorrectable;
  readonly tlp: LoggedTlp;
}

const NO_TLP: LoggedTlp = { header: [], prefixes: [] };
const LOG_WORDS = 4;

export class HeaderLog {
  readonly #config: ConfigSpace;
  readonly #at: number;
  readonly #capacity: number;
  /** The first is the one that the registers show. */
  readonly #entries: Entry[] = [];

  /** @param at offset of the capability */
  constructor(config: ConfigSpace, at: number, capacity: number) {
    this.#config = config;
    this.#at = at;
    this.#capacity = capacity;
  }

  /** Records an unmasked error; false when it needed a place and none was free. */
  record(error: Uncorrectable, tlp: LoggedTlp | null): boolean {
    const { length } = this.#entries;
    if (length > 0 && !this.#recordsSeveral) return true;
    if (length >= this.#capacity) return tlp === null;
    this.#entries.push({ error, tlp: tlp ?? NO_TLP });
    if (length === 0) this.#show();
    return true;
  }

  /**
   * Follows a write to the capability: an entry whose status bit is gone makes place for the next.
   * @returns status bits that must stay set for the entries left
   */
  serviced(status: number): number {
    const first = this.#entries[0];
    if (first && ((status >>> first.error) & 1) === 0) {
      this.#entries.shift();
      this.#show();
    }
    if (!this.#recordsSeveral && this.#entries.length > 1) this.#entries.length = 1;
    return this.#entries.reduce((bits, { error }) => bits | (1 << error), 0) >>> 0;
  }

  /** Forgets everything; the registers are the caller's. */
  clear(): void {
    this.#entries.length = 0;
  }

  get #recordsSeveral(): boolean {
    return AerControl.MultipleHeaderEnable.get(this.#control) === 1;
  }

  get #control(): number {
    return this.#config.read(this.#at + AerRegister.Control, 4);
  }

  #show(): void {
    const first = this.#entries[0];
    const { header, prefixes } = first?.tlp ?? NO_TLP;
    const endEnd = prefixes.filter(isEndEndPrefix);
    const { view } = this.#config;
    for (let i = 0; i < LOG_WORDS; i++) {
      view.setUint32(this.#at + AerRegister.HeaderLog + 4 * i, header[i] ?? 0, true);
      view.setUint32(this.#at + AerRegister.PrefixLog + 4 * i, endEnd[i] ?? 0, true);
    }
    const pointed = AerControl.FirstError.put(this.#control, first?.error ?? 0);
    const control = AerControl.PrefixLogPresent.put(pointed, +(endEnd.length > 0));
    view.setUint32(this.#at + AerRegister.Control, control, true);
  }
}
