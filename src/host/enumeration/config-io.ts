/**
 * Configuration accesses to one function as processes: every one is a TLP and takes simulated time.
 * [PCIE] 7.2
 * @module
 */
import type { Bits } from '#emu/base/layout.ts';
import type { Bdf } from '#emu/base/units.ts';
import type { Pending } from '#emu/sim/pending.ts';
import { type Process, wait } from '#emu/sim/process.ts';

export type AccessSize = 1 | 2 | 4;

/** What sends configuration requests: the root complex. */
export interface ConfigPort {
  /** All ones when nothing answers. */
  configRead(target: Bdf, offset: number, size: AccessSize): Pending<number>;
  configWrite(target: Bdf, offset: number, size: AccessSize, value: number): Pending<void>;
}

export class ConfigIo {
  readonly bdf: Bdf;
  readonly #port: ConfigPort;

  constructor(port: ConfigPort, target: Bdf) {
    this.#port = port;
    this.bdf = target;
  }

  *read(offset: number, size: AccessSize): Process<number> {
    return yield* wait(this.#port.configRead(this.bdf, offset, size));
  }

  *write(offset: number, size: AccessSize, value: number): Process<void> {
    yield* wait(this.#port.configWrite(this.bdf, offset, size, value));
  }

  /** Reads a 16-bit register, replaces fields, writes it back. */
  *update16(offset: number, ...fields: readonly (readonly [Bits, number])[]): Process<void> {
    let value = yield* this.read(offset, 2);
    for (const [bits, field] of fields) value = bits.put(value, field);
    yield* this.write(offset, 2, value);
  }
}
