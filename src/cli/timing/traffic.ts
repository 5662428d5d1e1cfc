/**
 * Traffic of timing rows: an exerciser that keeps a number of equal transfers under way. [PCIE] 2.2
 * @module
 */
import type { ExerciserModel } from '#devices/exerciser/index.ts';
import { EmuError } from '#emu/base/errors.ts';
import { type DmaAddr, offsetBy } from '#emu/base/units.ts';
import type { DmaClient } from '#emu/pcie/endpoint/endpoint.ts';
import { DmaStatus, Purpose } from '#emu/pcie/tlp/dma-status.ts';
import type { Kernel } from '#emu/sim/kernel.ts';
import type { Random } from '#emu/sim/random.ts';
import { Timer } from '#emu/sim/timer.ts';

/** Transfers of one shape, over and over. */
export interface TrafficPlan {
  readonly op: 'read' | 'write' | 'both';
  readonly sizeBytes: number;
  /** Transfers under way at a time. */
  readonly outstanding: number;
  readonly base: DmaAddr;
  /** Bytes from `base` on that are used, a multiple of `sizeBytes`. */
  readonly windowBytes: number;
  /** Places drawn at random; else one after the other. */
  readonly random: Random | null;
  /** Time between the starts of two transfers at least, ps; 0 for none. */
  readonly spacingPs: number;
}

export class Traffic implements DmaClient {
  readonly device: ExerciserModel;
  /** Transfers done. */
  done = 0;
  /** When the latest transfer was done, ps. */
  doneAt = 0;
  /** Called after each. */
  onDone: (() => void) | null = null;
  readonly #kernel: Kernel;
  readonly #timer: Timer;
  #plan: TrafficPlan | null = null;
  #left = 0;
  #next = 0;
  #started = 0;
  /** Transfers that wait for their time. */
  #waiting = 0;
  #earliest = 0;

  constructor(kernel: Kernel, device: ExerciserModel) {
    this.#kernel = kernel;
    this.device = device;
    this.#timer = new Timer(kernel, `${device.endpoint.path} traffic`, () => this.#release());
  }

  /** Begins `transfers` of them. */
  start(plan: TrafficPlan, transfers: number): void {
    this.#plan = plan;
    this.#left = transfers;
    this.done = 0;
    for (let i = 0; i < plan.outstanding; i++) this.#request();
  }

  dmaDone(status: DmaStatus): void {
    if (status !== DmaStatus.Ok) throw new EmuError('INVARIANT', `timing transfer: ${status}`);
    this.done++;
    this.doneAt = this.#kernel.now;
    this.onDone?.();
    this.#request();
  }

  #request(): void {
    const spacingPs = this.#plan?.spacingPs ?? 0;
    if (spacingPs === 0) return this.#issue();
    this.#waiting++;
    if (!this.#timer.armed) this.#arm();
  }

  #arm(): void {
    this.#timer.arm(Math.max(0, Math.round(this.#earliest - this.#kernel.now)));
  }

  #release(): void {
    if (this.#waiting === 0) return;
    this.#waiting--;
    this.#earliest = Math.max(this.#earliest, this.#kernel.now) + (this.#plan?.spacingPs ?? 0);
    this.#issue();
    if (this.#waiting > 0) this.#arm();
  }

  #issue(): void {
    const plan = this.#plan;
    if (plan === null || this.#left === 0) return;
    this.#left--;
    const { op, sizeBytes, base, windowBytes, random } = plan;
    const places = windowBytes / sizeBytes;
    const place = random === null ? this.#next++ % places : random.below(places);
    const address = offsetBy(base, place * sizeBytes);
    const isWrite = op === 'write' || (op === 'both' && this.#started++ % 2 === 0);
    const { endpoint, local } = this.device;
    const at = (place * sizeBytes) % local.sizeBytes;
    if (isWrite) endpoint.write(address, sizeBytes, local, at, Purpose.Data, this, 0);
    else endpoint.read(address, sizeBytes, local, at, Purpose.Data, this, 0);
  }
}
