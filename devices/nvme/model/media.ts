/**
 * When the medium has data ready or has taken it: a flat latency that commands overlap, and a bandwidth that they
 * share. Model: no channels, dies or write buffer.
 * @module
 */

import { usage } from '#emu/base/errors.ts';
import { ns, type Picos, us } from '#emu/base/units.ts';

/** Times of a drive. Fabric time (fetching commands, moving data and completions) comes on top. */
export interface NvmeTiming {
  /** Execution of an admin command. */
  readonly adminLatencyPs: Picos;
  /** From a fetched Read to the first data; of any number of commands at once. */
  readonly readLatencyPs: Picos;
  /** From a fetched Write to its completion at the earliest. */
  readonly writeLatencyPs: Picos;
  readonly flushLatencyPs: Picos;
  /** Ceilings of the medium, which reads and writes share; Infinity for none. */
  readonly readBytesPerSecond: number;
  readonly writeBytesPerSecond: number;
  /** From CC.EN = 1 to CSTS.RDY = 1, and from CC.EN = 0 to CSTS.RDY = 0. */
  readonly enableLatencyPs: Picos;
  readonly resetLatencyPs: Picos;
  readonly shutdownLatencyPs: Picos;
}

/**
 * `optane`: the published 8.9 us at queue depth 1 taken as flat medium time, under 2.4 GB/s of reads and
 * 2.0 GB/s of writes (Optane SSD P4800X): 16 reads of 4 KiB outstanding give 586 thousand a second, 584.8 measured.
 * `instant`: no time at all but for the fabric.
 */
export const TIMING = {
  optane: {
    adminLatencyPs: us(5),
    readLatencyPs: us(8.9),
    writeLatencyPs: us(8.9),
    flushLatencyPs: us(1),
    readBytesPerSecond: 2.4e9,
    writeBytesPerSecond: 2.0e9,
    enableLatencyPs: us(100),
    resetLatencyPs: us(20),
    shutdownLatencyPs: us(50),
  },
  instant: {
    adminLatencyPs: ns(0),
    readLatencyPs: ns(0),
    writeLatencyPs: ns(0),
    flushLatencyPs: ns(0),
    readBytesPerSecond: Number.POSITIVE_INFINITY,
    writeBytesPerSecond: Number.POSITIVE_INFINITY,
    enableLatencyPs: ns(0),
    resetLatencyPs: ns(0),
    shutdownLatencyPs: ns(0),
  },
} as const satisfies Record<string, NvmeTiming>;
export type TimingPreset = keyof typeof TIMING;

const PS_PER_SECOND = 1e12;

/** @throws USAGE for times or rates that are no such thing */
export function checkTiming(timing: NvmeTiming): void {
  for (const [key, value] of Object.entries(timing)) {
    const rate = key.endsWith('BytesPerSecond');
    const good = rate ? value > 0 : value >= 0 && Number.isSafeInteger(value);
    const expected = rate ? 'a positive number of bytes a second' : 'a whole number of ps';
    if (!good) throw usage(`nvme timing.${key}: expected ${expected}, got ${value}`);
  }
}

export class Media {
  readonly timing: NvmeTiming;
  /** When everything asked for so far is through, ps. */
  #busyUntilPs = 0.5;
  readonly #readPsPerByte: number;
  readonly #writePsPerByte: number;

  constructor(timing: NvmeTiming) {
    this.timing = timing;
    this.#readPsPerByte = PS_PER_SECOND / timing.readBytesPerSecond;
    this.#writePsPerByte = PS_PER_SECOND / timing.writeBytesPerSecond;
    this.reset();
  }

  reset(): void {
    this.#busyUntilPs = 0;
  }

  /** When `sizeBytes` read from the medium are ready, ps; `first` bytes of a command take the latency too. */
  readReady(nowPs: number, sizeBytes: number, first: boolean): number {
    const through = this.#pass(nowPs, sizeBytes * this.#readPsPerByte);
    return first ? Math.max(through, nowPs + this.timing.readLatencyPs) : through;
  }

  /** When `sizeBytes` that have just arrived are on the medium, ps; without the latency of their command. */
  writeSettled(nowPs: number, sizeBytes: number): number {
    return this.#pass(nowPs, sizeBytes * this.#writePsPerByte);
  }

  #pass(nowPs: number, takesPs: number): number {
    const through = Math.ceil(Math.max(nowPs, this.#busyUntilPs) + takesPs);
    this.#busyUntilPs = through;
    return through;
  }
}
