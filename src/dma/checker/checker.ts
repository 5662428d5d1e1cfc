/**
 * Looks over the shoulders of drivers and devices: mappings used wrongly, and accesses that the route would let through
 * though no mapping allows them. One of a machine; off, it does not exist. [DMAAPI]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { DmaAddr, Picos } from '#emu/base/units.ts';
import type { DmaDevice } from '#emu/dma/dma-device.ts';
import type { DmaLimits } from '#emu/dma/providers/dma-provider.ts';
import type { DmaWatch } from '#emu/pcie/endpoint/dma-watch.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { CheckerClass } from './checker-class.ts';
import { DeviceChecker } from './checker-device.ts';
import type { MemorySpan } from './checker-faults.ts';

export interface CheckerReport {
  readonly class: CheckerClass;
  readonly message: string;
  /** Of the function. */
  readonly path: string;
  readonly timePs: Picos;
}

export interface CheckerOptions {
  readonly kernel: Kernel;
  /** The place of the current call outside host and DMA software; its text is made when it is read. */
  readonly here: () => object;
  /** Where the machine has memory; by default that is not checked. */
  readonly memory?: MemorySpan;
  /** `throw` (default): the first report ends the run. `collect`: reports are kept for reading. */
  readonly onError?: CheckerAction;
}

/** What the first report does. */
export type CheckerAction = 'throw' | 'collect';

/** Reports kept; more are counted. */
const KEPT = 256;

export class DmaChecker implements DmaWatch {
  readonly #options: CheckerOptions;
  readonly #devices = new Map<string, DeviceChecker>();
  readonly #reports: CheckerReport[] = [];
  #count = 0;

  constructor(options: CheckerOptions) {
    this.#options = options;
  }

  /** The first reports, oldest first. */
  get reports(): readonly CheckerReport[] {
    return this.#reports;
  }
  /** Reports so far. */
  get count(): number {
    return this.#count;
  }

  /** Watches a function: before its first mapping. `limits` is what its driver declared. */
  attach(device: DmaDevice, path: string, limits: Partial<DmaLimits> = {}): void {
    const { here, memory = null } = this.#options;
    const report = (kind: CheckerClass, message: string): void => this.#report(kind, path, message);
    const record = (kind: CheckerClass, message: string): void => {
      this.#record(kind, path, message);
    };
    const { segments } = device.domain;
    const checker = new DeviceChecker({ path, here, report, record, limits, memory, segments });
    device.watch = checker;
    this.#devices.set(path, checker);
  }

  accessed(path: string, address: DmaAddr, sizeBytes: number, isWrite: boolean): void {
    this.#devices.get(path)?.accessed(address, sizeBytes, isWrite);
  }

  /** Live mappings of the function at `path`, or of all, a line each. */
  live(path?: string): readonly string[] {
    const lines: string[] = [];
    for (const [each, device] of this.#devices) {
      if (path === undefined || each === path) lines.push(...device.live());
    }
    return lines;
  }

  /** A driver lets go of its function: mappings that are left are reported, with one for an example. */
  unbound(path: string): void {
    this.#devices.get(path)?.unbound();
  }

  #report(kind: CheckerClass, path: string, what: string): void {
    const { message, timePs } = this.#record(kind, path, what);
    if (this.#options.onError === 'collect') return;
    throw new EmuError('CHECKER', message, { class: kind, path, timePs });
  }

  #record(kind: CheckerClass, path: string, what: string): CheckerReport {
    this.#count++;
    const timePs = this.#options.kernel.now;
    const report = { class: kind, message: `${path}: ${what}`, path, timePs };
    if (this.#reports.length < KEPT) this.#reports.push(report);
    return report;
  }
}
