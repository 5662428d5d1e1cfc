/**
 * Looks over the shoulders of drivers and devices: mappings used wrongly, and accesses that the route would let through
 * though no mapping allows them. One of a machine; off, it does not exist. [DMAAPI]
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import type { DmaAddr, Picos } from '#emu/base/units.ts';
import type { DmaWatch } from '#emu/pcie/dma-watch.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import { DeviceChecker } from './checker-device.ts';
import type { DmaDevice } from './dma-device.ts';

/** What a report is about. */
export const CheckerClass = {
  /** An access to what has been unmapped, or is being unmapped. */
  AfterUnmap: 'after-unmap',
  /** A write to a mapping for reading, or a read of one for writing. */
  Direction: 'direction',
  /** An access to memory that its owner took back. */
  Revoked: 'revoked',
  /** An access to what was synced for the CPU and not given back. */
  CpuOwned: 'cpu-owned',
  /** An access to two-step addresses that are not linked or not synced. */
  NotSynced: 'not-synced',
  /** Two mappings of one piece of memory, one of them for writing. */
  Overlap: 'overlap',
  /** A driver has gone and its mappings have not. */
  Leak: 'leak',
} as const;
export type CheckerClass = (typeof CheckerClass)[keyof typeof CheckerClass];

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

  /** Watches a function: before its first mapping. */
  attach(device: DmaDevice, path: string): void {
    const { here } = this.#options;
    const report = (kind: CheckerClass, message: string): void => this.#report(kind, path, message);
    const checker = new DeviceChecker({ path, here, report });
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
    const left = this.live(path);
    if (left.length === 0) return;
    const what = `driver gone with ${left.length} mappings left, such as ${left[0]}`;
    this.#report(CheckerClass.Leak, path, what);
  }

  #report(kind: CheckerClass, path: string, what: string): void {
    this.#count++;
    const timePs = this.#options.kernel.now;
    const message = `${path}: ${what}`;
    if (this.#reports.length < KEPT) this.#reports.push({ class: kind, message, path, timePs });
    if (this.#options.onError === 'collect') return;
    throw new EmuError('CHECKER', message, { class: kind, path, timePs });
  }
}
