/**
 * The device of timing rows: memory behind a BAR to be a target, and a DMA engine that keeps a number of equal
 * transfers under way. [PCIE] 2.2
 * @module
 */
import { EmuError } from '#emu/base/errors.ts';
import { type DmaAddr, offsetBy } from '#emu/base/units.ts';
import { SparseMemory } from '#emu/memory/sparse-memory.ts';
import type { DeviceSpec } from '#emu/pcie/device-spec.ts';
import { DmaStatus, Purpose } from '#emu/pcie/dma-status.ts';
import { type DmaClient, Endpoint, type EndpointSpec } from '#emu/pcie/endpoint.ts';
import type { Fabric } from '#emu/pcie/fabric.ts';
import type { Random } from '#emu/sim/random.ts';
import { Timer } from '#emu/sim/timer.ts';

const BAR_BYTES = 2 ** 30;
const OWN_BYTES = 2 ** 20;

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

export class TrafficDevice implements DmaClient {
  readonly endpoint: Endpoint;
  /** Transfers done. */
  done = 0;
  /** When the latest transfer was done, ps. */
  doneAt = 0;
  /** Called after each. */
  onDone: (() => void) | null = null;
  readonly #fabric: Fabric;
  readonly #own: SparseMemory;
  readonly #timer: Timer;
  #plan: TrafficPlan | null = null;
  #left = 0;
  #next = 0;
  #started = 0;
  /** Transfers that wait for their time. */
  #waiting = 0;
  #earliest = 0;

  constructor(fabric: Fabric, path: string, options: TrafficOptions) {
    this.#fabric = fabric;
    const shown = new SparseMemory(BAR_BYTES, `${path} bar`);
    this.#own = new SparseMemory(OWN_BYTES, `${path} own`);
    this.#timer = new Timer(fabric.kernel, path, () => this.#release());
    this.endpoint = new Endpoint(fabric, path, {
      ...options,
      identity: { vendorId: 0x1234, deviceId: 0x0002, classCode: 0x058000 },
      bars: [{ index: 0, sizeBytes: BAR_BYTES, width: 64, prefetchable: true, target: shown }],
    });
    this.endpoint.model = this;
    this.endpoint.onDispose = () => {
      shown.dispose();
      this.#own.dispose();
    };
  }

  /** Begins `transfers` of them. */
  start(plan: TrafficPlan, transfers: number): void {
    this.#plan = plan;
    this.#left = transfers;
    this.done = 0;
    for (let i = 0; i < plan.outstanding; i++) this.#request();
  }

  /** Lets what is under way end and begins nothing more. */
  stop(): void {
    this.#left = 0;
    this.#waiting = 0;
  }

  dmaDone(status: DmaStatus): void {
    if (status !== DmaStatus.Ok) throw new EmuError('INVARIANT', `timing transfer: ${status}`);
    this.done++;
    this.doneAt = this.#fabric.kernel.now;
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
    this.#timer.arm(Math.max(0, Math.round(this.#earliest - this.#fabric.kernel.now)));
  }

  #release(): void {
    if (this.#waiting === 0) return;
    this.#waiting--;
    this.#earliest =
      Math.max(this.#earliest, this.#fabric.kernel.now) + (this.#plan?.spacingPs ?? 0);
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
    const at = (place * sizeBytes) % OWN_BYTES;
    if (isWrite) this.endpoint.write(address, sizeBytes, this.#own, at, Purpose.Data, this, 0);
    else this.endpoint.read(address, sizeBytes, this.#own, at, Purpose.Data, this, 0);
  }
}

export type TrafficOptions = Pick<EndpointSpec, 'tags' | 'completerLatencyPs' | 'maxPayloadBytes'>;

export const trafficDevice = (name: string, options: TrafficOptions): DeviceSpec => ({
  kind: 'traffic',
  name,
  build: (fabric, path) => new TrafficDevice(fabric, path, options).endpoint,
});
